import { tidy } from '@tensorflow/tfjs-core';

/** What `run` returns; every other tensor that it makes is disposed, also when it throws. */
export function tidied<T>(run: () => T): T {
  return tidy(run as never) as T;
}
