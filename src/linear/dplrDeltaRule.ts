import type { Tensor } from '@tensorflow/tfjs-core';
import { checkShapes } from '../tensor/shape';
import { defineDelta, deltaAttrs } from './delta';
import { type Recurrent, type RecurrentOptions, recurrentResult } from './recurrent';

const { op } = defineDelta('dplrDeltaRule');

/**
 * Generalized delta rule with a diagonal plus low-rank transition:
 * `S_t = diag(exp(gk_t)) S_{t-1} + b_t (a_t^T S_{t-1}) + k_t v_t^T`, `o_t = scale S_t^T q_t`.
 *
 * @param q `[B, T, H, K]`
 * @param k `[B, T, H, K]`
 * @param v `[B, T, H, V]`
 * @param a `[B, T, H, K]`, what is read of the state before its decay
 * @param b `[B, T, H, K]`, where that is written
 * @param gk `[B, T, H, K]`, log decay
 * @param options.scale multiplies the output; default `K ** -0.5`
 * @param options.initialState `[N, H, K, V]`, zeros by default
 * @param options.outputFinalState returns `{ output, finalState }` instead of the output alone
 * @param options.cuSeqlens bounds of sequences packed along T, with B = 1
 * @returns `[B, T, H, V]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Peng et al., "RWKV-7 Goose with Expressive Dynamic State Evolution", section 3
 * @example
 * ```ts
 * import { neg, randomNormal, randomUniform } from '@tensorflow/tfjs-core';
 * import { dplrDeltaRule, l2Norm, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 64, 4, 16]);
 * const k = randomNormal([1, 64, 4, 16]);
 * const v = randomNormal([1, 64, 4, 32]);
 * const a = l2Norm(randomNormal([1, 64, 4, 16]));
 * const g = randomUniform([1, 64, 4, 16], -0.1, 0);
 * const b = neg(a);
 * const output = dplrDeltaRule(q, k, v, a, b, g); // [1, 64, 4, 32]
 * ```
 */
export function dplrDeltaRule(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  a: Tensor,
  b: Tensor,
  gk: Tensor,
  options: RecurrentOptions & { outputFinalState: true },
): Recurrent;
export function dplrDeltaRule(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  a: Tensor,
  b: Tensor,
  gk: Tensor,
  options?: RecurrentOptions,
): Tensor;
export function dplrDeltaRule(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  a: Tensor,
  b: Tensor,
  gk: Tensor,
  options: RecurrentOptions = {},
): Tensor | Recurrent {
  const sizes = checkShapes('dplrDeltaRule', [
    ['q', q, 'B T H K'],
    ['k', k, 'B T H K'],
    ['v', v, 'B T H V'],
    ['a', a, 'B T H K'],
    ['b', b, 'B T H K'],
    ['gk', gk, 'B T H K'],
  ]);
  const attrs = deltaAttrs('dplrDeltaRule', 'dplr', options, sizes);
  const { initialState } = options;
  checkShapes('dplrDeltaRule', [
    ['initialState?', initialState, `${attrs.offsets.length - 1} ${sizes.H} ${sizes.K} ${sizes.V}`],
  ]);
  return recurrentResult(op.run({ q, k, v, g: gk, a, b, initialState }, attrs));
}
