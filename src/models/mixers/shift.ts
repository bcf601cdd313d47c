import type { Tensor } from '@tensorflow/tfjs-core';
import { tokenShift } from '../../ops';
import type { MixerState } from '../cache';

/** The difference of each token to the one before it, whose last one is kept under a name. */
export function shifted(x: Tensor, state: MixerState, name: string): Tensor {
  const { output, cache } = tokenShift(x, { cache: state.get(name), outputCache: true });
  state.set(name, cache);
  return output;
}
