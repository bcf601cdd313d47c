import type { Tensor } from '@tensorflow/tfjs-core';
import type { Shape } from '../op/define';
import { checkFinite } from '../tensor/shape';
import { defineNnOp } from './family';
import { checkRows, launchNorm, launchNormBackward, type NormAttrs } from './norm';
import { rmsNormBackwardReference, rmsNormReference } from './rmsNorm.reference';

export interface RmsNormOptions {
  /** Added to the mean square; default 1e-6. */
  eps?: number;
  /** Added to the weight: 1 for Gemma, whose weights are stored around zero; default 0. */
  weightOffset?: number;
}

const op = defineNnOp<'x' | 'weight', NormAttrs>({
  name: 'rmsNorm',
  outputs: ({ x }) => [x!],
  kernel: (call) => launchNorm(call, shareOf(call.shape.x!), call.attrs),
  reference: rmsNormReference,
  gradient: ({ inputs, dy, attrs }) => {
    const [dx, dweight] = backward.run({ ...inputs, dy: dy[0] }, attrs);
    return { x: dx, weight: dweight };
  },
});

const backward = defineNnOp<'x' | 'weight' | 'dy', NormAttrs>({
  name: 'rmsNormBackward',
  outputs: ({ x, weight }) => (weight === undefined ? [x!] : [x!, weight]),
  kernel: (call) => launchNormBackward(call, shareOf(call.shape.x!), call.attrs),
  reference: rmsNormBackwardReference,
});

function shareOf(shape: Shape): number {
  return 1 / shape.at(-1)!;
}

/**
 * Root mean square normalisation over the last axis: `y = x / sqrt(mean(x^2) + eps) * (weightOffset + weight)`.
 *
 * @param x `[..., D]`
 * @param weight `[D]`, or undefined for none
 * @returns `[..., D]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Zhang and Sennrich, "Root Mean Square Layer Normalization", equation 4
 * @example
 * ```ts
 * import { ones, randomNormal } from '@tensorflow/tfjs-core';
 * import { ready, rmsNorm } from 'linnet';
 *
 * await ready();
 * const x = randomNormal([1, 64, 32]);
 * const weight = ones([32]);
 * const y = rmsNorm(x, weight); // [1, 64, 32]
 * ```
 */
export function rmsNorm(x: Tensor, weight?: Tensor, options: RmsNormOptions = {}): Tensor {
  const { eps = 1e-6, weightOffset = 0 } = options;
  checkRows('rmsNorm', x, weight, eps);
  checkFinite('rmsNorm', 'weightOffset', weightOffset);
  return op.run({ x, weight }, { eps, offset: weightOffset })[0];
}
