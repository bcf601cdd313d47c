import { addN, mul } from '@tensorflow/tfjs-core';
import { rmsNorm } from '../../ops';
import type { MixerFactory } from './mixer';

/** Mixers side by side, whose scaled outputs are added (Falcon-H1), normed before (Hymba). */
export interface ParallelSpec<Inner> {
  type: 'parallel';
  branches: readonly {
    /** Where its weights lie. */
    name: string;
    mixer: Inner;
    /** Default 1. */
    inputScale?: number;
    outputScale?: number;
    /** Root mean square norm of the output, before its scale; default none. */
    norm?: { name: string; size: number; eps: number };
  }[];
}

export function parallelOf<Inner>(make: MixerFactory<Inner>): MixerFactory<ParallelSpec<Inner>> {
  return (weights, { branches }) => {
    const parts = branches.map(({ name, mixer, norm }) => ({
      mix: make(weights.at(name), mixer),
      weight: norm && weights.tensor(`${norm.name}.weight`, [norm.size]),
    }));
    return (x, step) =>
      addN(
        branches.map(({ name, inputScale = 1, outputScale = 1, norm }, i) => {
          const { mix, weight } = parts[i];
          const output = mix(mul(x, inputScale), { ...step, state: step.stateOf(name) });
          return mul(norm === undefined ? output : rmsNorm(output, weight!.value, norm), outputScale);
        }),
      );
  };
}
