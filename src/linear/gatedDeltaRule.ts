import type { Tensor } from '@tensorflow/tfjs-core';
import { checkMultiple, checkShapes } from '../tensor/shape';
import { type DeltaRuleOptions, defineDelta, deltaAttrs } from './delta';
import { type Recurrent, recurrentResult } from './recurrent';

const { op } = defineDelta('gatedDeltaRule');

/**
 * Gated delta rule: the state decays, then is corrected. With `S' = exp(g_t) S_{t-1}`,
 * `S_t = S' + beta_t k_t (v_t - S'^T k_t)^T`, `o_t = scale S_t^T q_t`.
 *
 * @param q `[B, T, H, K]`
 * @param k `[B, T, H, K]`, of unit norm unless `useQkL2norm`
 * @param v `[B, T, HV, V]`, HV a multiple of H: value head h has key head `h / (HV / H)`, rounded down
 * @param g `[B, T, HV]`, log decay
 * @param beta `[B, T, HV]`, step sizes in [0, 1]
 * @param options.scale multiplies the output; default `K ** -0.5`
 * @param options.initialState `[N, HV, K, V]`, zeros by default
 * @param options.outputFinalState returns `{ output, finalState }` instead of the output alone
 * @param options.cuSeqlens bounds of sequences packed along T, with B = 1
 * @param options.useQkL2norm divides q and k by their norms; default false
 * @param options.betaSigmoid takes beta before its sigmoid; default false
 * @returns `[B, T, HV, V]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Yang, Kautz and Hatamizadeh, "Gated Delta Networks: Improving Mamba2 with Delta Rule"
 * @example
 * ```ts
 * import { randomNormal, randomUniform } from '@tensorflow/tfjs-core';
 * import { gatedDeltaRule, l2Norm, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 64, 2, 16]);
 * const k = l2Norm(randomNormal([1, 64, 2, 16]));
 * const v = randomNormal([1, 64, 4, 32]);
 * const g = randomUniform([1, 64, 4], -0.1, 0);
 * const beta = randomUniform([1, 64, 4]);
 * const { output, finalState } = gatedDeltaRule(q, k, v, g, beta, { outputFinalState: true });
 * console.log(output.shape, finalState.shape); // [1, 64, 4, 32] [1, 4, 16, 32]
 * ```
 */
export function gatedDeltaRule(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  g: Tensor,
  beta: Tensor,
  options: DeltaRuleOptions & { outputFinalState: true },
): Recurrent;
export function gatedDeltaRule(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  g: Tensor,
  beta: Tensor,
  options?: DeltaRuleOptions,
): Tensor;
export function gatedDeltaRule(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  g: Tensor,
  beta: Tensor,
  options: DeltaRuleOptions = {},
): Tensor | Recurrent {
  const sizes = checkShapes('gatedDeltaRule', [
    ['q', q, 'B T H K'],
    ['k', k, 'B T H K'],
    ['v', v, 'B T HV V'],
    ['g', g, 'B T HV'],
    ['beta', beta, 'B T HV'],
  ]);
  checkMultiple('gatedDeltaRule', 'HV', sizes.HV, 'H', sizes.H);
  const attrs = deltaAttrs('gatedDeltaRule', 'delta', options, sizes);
  const { initialState } = options;
  checkShapes('gatedDeltaRule', [
    ['initialState?', initialState, `${attrs.offsets.length - 1} ${sizes.HV} ${sizes.K} ${sizes.V}`],
  ]);
  return recurrentResult(op.run({ q, k, v, g, beta, initialState }, attrs));
}
