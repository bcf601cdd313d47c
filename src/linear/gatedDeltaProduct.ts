import type { Tensor } from '@tensorflow/tfjs-core';
import { checkMultiple, checkShapes } from '../tensor/shape';
import { type DeltaRuleOptions, defineDelta, deltaAttrs } from './delta';
import { type Recurrent, recurrentResult } from './recurrent';

const { op } = defineDelta('gatedDeltaProduct');

export interface GatedDeltaProductOptions extends DeltaRuleOptions {
  /** Delta steps per token; default 1. */
  numHouseholder?: number;
}

/**
 * Gated DeltaProduct: every token decays the state once and takes n delta steps, a product of n Householder-like
 * transitions. With `S' = exp(g_t) S_{t-1}` before the first step of token t and `S' = S` before the others,
 * `S = S' + beta k (v - S'^T k)^T` for each step, `o_t = scale S_t^T q_t` after the last.
 *
 * @param q `[B, T, H, K]`
 * @param k `[B, T * n, H, K]`, step j of token t at `t * n + j`, of unit norm unless `useQkL2norm`
 * @param v `[B, T * n, HV, V]`, HV a multiple of H: value head h has key head `h / (HV / H)`, rounded down
 * @param g `[B, T, HV]`, log decay, or undefined for DeltaProduct without a gate
 * @param beta `[B, T * n, HV]`, step sizes in [0, 1], or up to 2 for negative eigenvalues
 * @param options.numHouseholder n; default 1
 * @param options.scale multiplies the output; default `K ** -0.5`
 * @param options.initialState `[N, HV, K, V]`, zeros by default
 * @param options.outputFinalState returns `{ output, finalState }` instead of the output alone
 * @param options.cuSeqlens bounds of sequences packed along T, in tokens, with B = 1
 * @param options.useQkL2norm divides q and k by their norms; default false
 * @param options.betaSigmoid takes beta before its sigmoid; default false
 * @returns `[B, T, HV, V]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Siems et al., "DeltaProduct: Improving State-Tracking in Linear RNNs via Householder Products"
 * @example
 * ```ts
 * import { randomNormal, randomUniform } from '@tensorflow/tfjs-core';
 * import { gatedDeltaProduct, l2Norm, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 64, 2, 16]);
 * const k = l2Norm(randomNormal([1, 128, 2, 16]));
 * const v = randomNormal([1, 128, 4, 32]);
 * const g = randomUniform([1, 64, 4], -0.1, 0);
 * const beta = randomUniform([1, 128, 4]);
 * const output = gatedDeltaProduct(q, k, v, g, beta, { numHouseholder: 2 }); // [1, 64, 4, 32]
 * ```
 */
export function gatedDeltaProduct(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  g: Tensor | undefined,
  beta: Tensor,
  options: GatedDeltaProductOptions & { outputFinalState: true },
): Recurrent;
export function gatedDeltaProduct(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  g: Tensor | undefined,
  beta: Tensor,
  options?: GatedDeltaProductOptions,
): Tensor;
export function gatedDeltaProduct(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  g: Tensor | undefined,
  beta: Tensor,
  options: GatedDeltaProductOptions = {},
): Tensor | Recurrent {
  const { numHouseholder = 1, initialState } = options;
  if (!Number.isInteger(numHouseholder) || numHouseholder < 1) {
    throw new RangeError(
      `gatedDeltaProduct: numHouseholder must be a positive integer; got ${numHouseholder}`,
    );
  }
  const tokens = checkShapes('gatedDeltaProduct', [['q', q, 'B T H K']]);
  const steps = `${tokens.T * numHouseholder}`;
  const sizes = checkShapes('gatedDeltaProduct', [
    ['q', q, 'B T H K'],
    ['k', k, `B ${steps} H K`],
    ['v', v, `B ${steps} HV V`],
    ['g?', g, 'B T HV'],
    ['beta', beta, `B ${steps} HV`],
  ]);
  checkMultiple('gatedDeltaProduct', 'HV', sizes.HV, 'H', sizes.H);
  const attrs = deltaAttrs('gatedDeltaProduct', 'delta', options, tokens, numHouseholder);
  checkShapes('gatedDeltaProduct', [
    ['initialState?', initialState, `${attrs.offsets.length - 1} ${sizes.HV} ${tokens.K} ${sizes.V}`],
  ]);
  return recurrentResult(op.run({ q, k, v, g, beta, initialState }, attrs));
}
