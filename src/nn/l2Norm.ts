import type { Tensor } from '@tensorflow/tfjs-core';
import { defineNnOp } from './family';
import { l2NormBackwardReference, l2NormReference } from './l2Norm.reference';
import { checkRows, launchNorm, launchNormBackward } from './norm';

export interface L2NormOptions {
  /** Added to the sum of squares; default 1e-6. */
  eps?: number;
}
export interface L2NormAttrs {
  eps: number;
}

const op = defineNnOp<'x', L2NormAttrs>({
  name: 'l2Norm',
  outputs: ({ x }) => [x!],
  kernel: (call) => launchNorm(call, 1, { ...call.attrs, offset: 0 }),
  reference: l2NormReference,
  gradient: ({ inputs, dy, attrs }) => ({ x: () => backward.run({ x: inputs.x, dy: dy[0] }, attrs)[0] }),
});

const backward = defineNnOp<'x' | 'dy', L2NormAttrs>({
  name: 'l2NormBackward',
  outputs: ({ x }) => [x!],
  kernel: (call) => launchNormBackward(call, 1, { ...call.attrs, offset: 0 }),
  reference: l2NormBackwardReference,
});

/**
 * Euclidean normalisation over the last axis: `y = x / sqrt(sum(x^2) + eps)`, so a row of zeros stays zero.
 *
 * @param x `[..., D]`
 * @returns `[..., D]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Henry et al., "Query-Key Normalization for Transformers"; flash-linear-attention's `l2norm`
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { l2Norm, ready } from 'linnet';
 *
 * await ready();
 * const x = randomNormal([1, 64, 2, 16]);
 * const y = l2Norm(x); // [1, 64, 2, 16]
 * ```
 */
export function l2Norm(x: Tensor, options: L2NormOptions = {}): Tensor {
  const { eps = 1e-6 } = options;
  checkRows('l2Norm', x, undefined, eps);
  return op.run({ x }, { eps })[0];
}
