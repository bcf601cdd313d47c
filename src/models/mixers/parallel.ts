import { addN, mul } from '@tensorflow/tfjs-core';
import type { Mixer, MixerFactory } from './mixer';

/** Mixers side by side, whose scaled outputs are added (Falcon-H1, Hymba). */
export interface ParallelSpec<Inner> {
  type: 'parallel';
  branches: readonly {
    /** Where its weights lie. */
    name: string;
    mixer: Inner;
    /** Default 1. */
    inputScale?: number;
    outputScale?: number;
  }[];
}

export function parallelOf<Inner>(make: MixerFactory<Inner>): MixerFactory<ParallelSpec<Inner>> {
  return (weights, { branches }) => {
    const mixers = branches.map(({ name, mixer }): Mixer => make(weights.at(name), mixer));
    return (x, step) =>
      addN(
        branches.map(({ name, inputScale = 1, outputScale = 1 }, i) => {
          const own = { ...step, state: step.stateOf(name) };
          return mul(mixers[i](mul(x, inputScale), own), outputScale);
        }),
      );
  };
}
