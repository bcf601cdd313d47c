import type { Tensor } from '@tensorflow/tfjs-core';
import { checkMultiple, checkShapes } from '../tensor/shape';
import { type DeltaRuleOptions, defineDelta, deltaAttrs } from './delta';
import { type Recurrent, recurrentResult } from './recurrent';

const { op } = defineDelta('deltaRule');

/**
 * Delta rule: the state is a linear map from keys to values, moved at every step towards `v` at `k`:
 * `S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T`, `o_t = scale S_t^T q_t`.
 *
 * @param q `[B, T, H, K]`
 * @param k `[B, T, H, K]`, of unit norm unless `useQkL2norm`
 * @param v `[B, T, HV, V]`, HV a multiple of H: value head h has key head `h / (HV / H)`, rounded down
 * @param beta `[B, T, HV]`, step sizes in [0, 1], or up to 2 for negative eigenvalues
 * @param options.scale multiplies the output; default `K ** -0.5`
 * @param options.initialState `[N, HV, K, V]`, zeros by default
 * @param options.outputFinalState returns `{ output, finalState }` instead of the output alone
 * @param options.cuSeqlens bounds of sequences packed along T, with B = 1
 * @param options.useQkL2norm divides q and k by their norms; default false
 * @param options.betaSigmoid takes beta before its sigmoid; default false
 * @returns `[B, T, HV, V]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Schlag, Irie and Schmidhuber, "Linear Transformers Are Secretly Fast Weight Programmers"; Yang et al.,
 * "Parallelizing Linear Transformers with the Delta Rule over Sequence Length"
 * @example
 * ```ts
 * import { randomNormal, randomUniform } from '@tensorflow/tfjs-core';
 * import { deltaRule, l2Norm, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 64, 2, 16]);
 * const k = l2Norm(randomNormal([1, 64, 2, 16]));
 * const v = randomNormal([1, 64, 4, 32]);
 * const beta = randomUniform([1, 64, 4]);
 * const { output, finalState } = deltaRule(q, k, v, beta, { outputFinalState: true });
 * console.log(output.shape, finalState.shape); // [1, 64, 4, 32] [1, 4, 16, 32]
 * ```
 */
export function deltaRule(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  beta: Tensor,
  options: DeltaRuleOptions & { outputFinalState: true },
): Recurrent;
export function deltaRule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, options?: DeltaRuleOptions): Tensor;
export function deltaRule(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  beta: Tensor,
  options: DeltaRuleOptions = {},
): Tensor | Recurrent {
  const sizes = checkShapes('deltaRule', [
    ['q', q, 'B T H K'],
    ['k', k, 'B T H K'],
    ['v', v, 'B T HV V'],
    ['beta', beta, 'B T HV'],
  ]);
  checkMultiple('deltaRule', 'HV', sizes.HV, 'H', sizes.H);
  const attrs = deltaAttrs('deltaRule', 'delta', options, sizes);
  const { initialState } = options;
  checkShapes('deltaRule', [
    ['initialState?', initialState, `${attrs.offsets.length - 1} ${sizes.HV} ${sizes.K} ${sizes.V}`],
  ]);
  return recurrentResult(op.run({ q, k, v, beta, initialState }, attrs));
}
