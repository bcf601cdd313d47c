import type { Tensor } from '@tensorflow/tfjs-core';
import { checkShapes } from '../tensor/shape';
import { defineDelta, deltaAttrs } from './delta';
import { type Recurrent, type RecurrentOptions, recurrentResult } from './recurrent';

const { op } = defineDelta('iplrDeltaRule');

/**
 * Generalized delta rule with an identity plus low-rank transition:
 * `S_t = S_{t-1} + b_t (a_t^T S_{t-1}) + k_t v_t^T`, `o_t = scale S_t^T q_t`.
 *
 * @param q `[B, T, H, K]`
 * @param k `[B, T, H, K]`
 * @param v `[B, T, H, V]`
 * @param a `[B, T, H, K]`, what is read of the state
 * @param b `[B, T, H, K]`, where that is written
 * @param options.scale multiplies the output; default `K ** -0.5`
 * @param options.initialState `[N, H, K, V]`, zeros by default
 * @param options.outputFinalState returns `{ output, finalState }` instead of the output alone
 * @param options.cuSeqlens bounds of sequences packed along T, with B = 1
 * @returns `[B, T, H, V]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Yang et al., "Parallelizing Linear Transformers with the Delta Rule over Sequence Length"
 * @example
 * ```ts
 * import { neg, randomNormal } from '@tensorflow/tfjs-core';
 * import { iplrDeltaRule, l2Norm, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 64, 4, 16]);
 * const k = randomNormal([1, 64, 4, 16]);
 * const v = randomNormal([1, 64, 4, 32]);
 * const a = l2Norm(randomNormal([1, 64, 4, 16]));
 * const b = neg(a);
 * const output = iplrDeltaRule(q, k, v, a, b); // [1, 64, 4, 32]
 * ```
 */
export function iplrDeltaRule(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  a: Tensor,
  b: Tensor,
  options: RecurrentOptions & { outputFinalState: true },
): Recurrent;
export function iplrDeltaRule(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  a: Tensor,
  b: Tensor,
  options?: RecurrentOptions,
): Tensor;
export function iplrDeltaRule(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  a: Tensor,
  b: Tensor,
  options: RecurrentOptions = {},
): Tensor | Recurrent {
  const sizes = checkShapes('iplrDeltaRule', [
    ['q', q, 'B T H K'],
    ['k', k, 'B T H K'],
    ['v', v, 'B T H V'],
    ['a', a, 'B T H K'],
    ['b', b, 'B T H K'],
  ]);
  const attrs = deltaAttrs('iplrDeltaRule', 'dplr', options, sizes);
  const { initialState } = options;
  checkShapes('iplrDeltaRule', [
    ['initialState?', initialState, `${attrs.offsets.length - 1} ${sizes.H} ${sizes.K} ${sizes.V}`],
  ]);
  return recurrentResult(op.run({ q, k, v, a, b, initialState }, attrs));
}
