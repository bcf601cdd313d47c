import type { Tensor } from '@tensorflow/tfjs-core';
import { checkMultiple, checkShapes } from '../tensor/shape';
import { type AdditiveOptions, additiveAttrs, defineAdditive } from './additive';
import { type Recurrent, recurrentResult } from './recurrent';

const { op } = defineAdditive('rwkv6');

/**
 * RWKV-6 (Finch): a token is read before the state decays, and meets itself through the bonus u:
 * `o_t = scale (S_{t-1} + diag(u) k_t v_t^T)^T r_t`, `S_t = diag(exp(w_t)) S_{t-1} + k_t v_t^T`.
 *
 * @param r `[B, T, H, K]`, receptance, the query
 * @param k `[B, T, H, K]`
 * @param v `[B, T, HV, V]`, HV a multiple of H: value head h has key head `h / (HV / H)`, rounded down
 * @param w `[B, T, HV, K]`, log decay: `-exp(w)` of RWKV's own w
 * @param u `[H, K]`
 * @param options.scale multiplies the output; default `K ** -0.5`, as flash-linear-attention has it; RWKV-6 itself uses 1
 * @param options.initialState `[N, HV, K, V]`, zeros by default
 * @param options.outputFinalState returns `{ output, finalState }` instead of the output alone
 * @param options.cuSeqlens bounds of sequences packed along T, with B = 1
 * @param options.reverse runs every sequence from its last token to its first; default false
 * @returns `[B, T, HV, V]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Peng et al., "Eagle and Finch: RWKV with Matrix-Valued States and Dynamic Recurrence", section 4
 * @example
 * ```ts
 * import { randomNormal, randomUniform } from '@tensorflow/tfjs-core';
 * import { ready, rwkv6 } from 'linnet';
 *
 * await ready();
 * const r = randomNormal([1, 64, 4, 16]);
 * const k = randomNormal([1, 64, 4, 16]);
 * const v = randomNormal([1, 64, 4, 32]);
 * const w = randomUniform([1, 64, 4, 16], -0.1, 0);
 * const u = randomNormal([4, 16]);
 * const { output, finalState } = rwkv6(r, k, v, w, u, { outputFinalState: true });
 * console.log(output.shape, finalState.shape); // [1, 64, 4, 32] [1, 4, 16, 32]
 * ```
 */
export function rwkv6(
  r: Tensor,
  k: Tensor,
  v: Tensor,
  w: Tensor,
  u: Tensor,
  options: AdditiveOptions & { outputFinalState: true },
): Recurrent;
export function rwkv6(
  r: Tensor,
  k: Tensor,
  v: Tensor,
  w: Tensor,
  u: Tensor,
  options?: AdditiveOptions,
): Tensor;
export function rwkv6(
  r: Tensor,
  k: Tensor,
  v: Tensor,
  w: Tensor,
  u: Tensor,
  options: AdditiveOptions = {},
): Tensor | Recurrent {
  const sizes = checkShapes('rwkv6', [
    ['r', r, 'B T H K'],
    ['k', k, 'B T H K'],
    ['v', v, 'B T HV V'],
    ['w', w, 'B T HV K'],
    ['u', u, 'H K'],
  ]);
  checkMultiple('rwkv6', 'HV', sizes.HV, 'H', sizes.H);
  const attrs = additiveAttrs('rwkv6', options, sizes);
  const { initialState } = options;
  checkShapes('rwkv6', [
    ['initialState?', initialState, `${attrs.offsets.length - 1} ${sizes.HV} ${sizes.K} ${sizes.V}`],
  ]);
  return recurrentResult(op.run({ q: r, k, v, g: w, u, initialState }, attrs));
}
