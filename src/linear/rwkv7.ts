import type { Tensor } from '@tensorflow/tfjs-core';
import { checkShapes } from '../tensor/shape';
import { defineDelta, deltaAttrs } from './delta';
import { type Recurrent, type RecurrentOptions, recurrentResult } from './recurrent';

const { op } = defineDelta('rwkv7');

/**
 * RWKV-7: a generalized delta rule with a diagonal plus low-rank transition,
 * `S_t = diag(exp(w_t)) S_{t-1} + b_t (a_t^T S_{t-1}) + k_t v_t^T`, `o_t = scale S_t^T r_t`. The model takes
 * `a = -kk`, `b = kk * eta` with kk the normalised removal key and eta its in-context learning rate. The state is
 * `[K, V]`, the transpose of what RWKV's own kernels keep.
 *
 * @param r `[B, T, H, K]`, the receptance, which reads
 * @param w `[B, T, H, K]`, log decay
 * @param k `[B, T, H, K]`
 * @param v `[B, T, H, V]`
 * @param a `[B, T, H, K]`, what is read of the state before its decay
 * @param b `[B, T, H, K]`, where that is written
 * @param options.scale multiplies the output; default 1, as in RWKV
 * @param options.initialState `[N, H, K, V]`, zeros by default
 * @param options.outputFinalState returns `{ output, finalState }` instead of the output alone
 * @param options.cuSeqlens bounds of sequences packed along T, with B = 1
 * @returns `[B, T, H, V]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Peng et al., "RWKV-7 Goose with Expressive Dynamic State Evolution", equation 17
 * @example
 * ```ts
 * import { mul, neg, randomNormal, randomUniform } from '@tensorflow/tfjs-core';
 * import { l2Norm, ready, rwkv7 } from 'linnet';
 *
 * await ready();
 * const r = randomNormal([1, 64, 4, 16]);
 * const w = randomUniform([1, 64, 4, 16], -0.1, 0);
 * const k = randomNormal([1, 64, 4, 16]);
 * const v = randomNormal([1, 64, 4, 32]);
 * const kk = l2Norm(randomNormal([1, 64, 4, 16]));
 * const eta = randomUniform([1, 64, 4, 16]);
 * const { output, finalState } = rwkv7(r, w, k, v, neg(kk), mul(kk, eta), { outputFinalState: true });
 * console.log(output.shape, finalState.shape); // [1, 64, 4, 32] [1, 4, 16, 32]
 * ```
 */
export function rwkv7(
  r: Tensor,
  w: Tensor,
  k: Tensor,
  v: Tensor,
  a: Tensor,
  b: Tensor,
  options: RecurrentOptions & { outputFinalState: true },
): Recurrent;
export function rwkv7(
  r: Tensor,
  w: Tensor,
  k: Tensor,
  v: Tensor,
  a: Tensor,
  b: Tensor,
  options?: RecurrentOptions,
): Tensor;
export function rwkv7(
  r: Tensor,
  w: Tensor,
  k: Tensor,
  v: Tensor,
  a: Tensor,
  b: Tensor,
  options: RecurrentOptions = {},
): Tensor | Recurrent {
  const sizes = checkShapes('rwkv7', [
    ['r', r, 'B T H K'],
    ['w', w, 'B T H K'],
    ['k', k, 'B T H K'],
    ['v', v, 'B T H V'],
    ['a', a, 'B T H K'],
    ['b', b, 'B T H K'],
  ]);
  const attrs = deltaAttrs('rwkv7', 'dplr', { ...options, scale: options.scale ?? 1 }, sizes);
  const { initialState } = options;
  checkShapes('rwkv7', [
    ['initialState?', initialState, `${attrs.offsets.length - 1} ${sizes.H} ${sizes.K} ${sizes.V}`],
  ]);
  return recurrentResult(op.run({ q: r, k, v, g: w, a, b, initialState }, attrs));
}
