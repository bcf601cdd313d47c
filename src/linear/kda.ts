import type { Tensor } from '@tensorflow/tfjs-core';
import { checkMultiple, checkShapes } from '../tensor/shape';
import { type DeltaRuleOptions, defineDelta, deltaAttrs } from './delta';
import { type Recurrent, recurrentResult } from './recurrent';

const { op } = defineDelta('kda');

/**
 * Kimi delta attention: a gated delta rule whose decay has a value per channel of the key. With
 * `S' = diag(exp(g_t)) S_{t-1}`, `S_t = S' + beta_t k_t (v_t - S'^T k_t)^T`, `o_t = scale S_t^T q_t`.
 *
 * @param q `[B, T, H, K]`
 * @param k `[B, T, H, K]`, of unit norm unless `useQkL2norm`
 * @param v `[B, T, HV, V]`, HV a multiple of H: value head h has key head `h / (HV / H)`, rounded down
 * @param g `[B, T, HV, K]`, log decay, from {@link kdaGate}
 * @param beta `[B, T, HV]`, step sizes in [0, 1]
 * @param options.scale multiplies the output; default `K ** -0.5`
 * @param options.initialState `[N, HV, K, V]`, zeros by default
 * @param options.outputFinalState returns `{ output, finalState }` instead of the output alone
 * @param options.cuSeqlens bounds of sequences packed along T, with B = 1
 * @param options.useQkL2norm divides q and k by their norms; default false
 * @param options.betaSigmoid takes beta before its sigmoid; default false
 * @returns `[B, T, HV, V]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Kimi Team, "Kimi Linear: An Expressive, Efficient Attention Architecture"
 * @example
 * ```ts
 * import { randomNormal, randomUniform } from '@tensorflow/tfjs-core';
 * import { kda, l2Norm, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 64, 2, 16]);
 * const k = l2Norm(randomNormal([1, 64, 2, 16]));
 * const v = randomNormal([1, 64, 4, 32]);
 * const g = randomUniform([1, 64, 4, 16], -0.1, 0);
 * const beta = randomUniform([1, 64, 4]);
 * const { output, finalState } = kda(q, k, v, g, beta, { outputFinalState: true });
 * console.log(output.shape, finalState.shape); // [1, 64, 4, 32] [1, 4, 16, 32]
 * ```
 */
export function kda(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  g: Tensor,
  beta: Tensor,
  options: DeltaRuleOptions & { outputFinalState: true },
): Recurrent;
export function kda(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  g: Tensor,
  beta: Tensor,
  options?: DeltaRuleOptions,
): Tensor;
export function kda(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  g: Tensor,
  beta: Tensor,
  options: DeltaRuleOptions = {},
): Tensor | Recurrent {
  const sizes = checkShapes('kda', [
    ['q', q, 'B T H K'],
    ['k', k, 'B T H K'],
    ['v', v, 'B T HV V'],
    ['g', g, 'B T HV K'],
    ['beta', beta, 'B T HV'],
  ]);
  checkMultiple('kda', 'HV', sizes.HV, 'H', sizes.H);
  const attrs = deltaAttrs('kda', 'delta', options, sizes);
  const { initialState } = options;
  checkShapes('kda', [
    ['initialState?', initialState, `${attrs.offsets.length - 1} ${sizes.HV} ${sizes.K} ${sizes.V}`],
  ]);
  return recurrentResult(op.run({ q, k, v, g, beta, initialState }, attrs));
}
