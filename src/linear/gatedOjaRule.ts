import type { Tensor } from '@tensorflow/tfjs-core';
import type { Shape } from '../op/define';
import { checkShapes } from '../tensor/shape';
import { heapOffsets } from './delta';
import { defineLinearOp } from './family';
import { gatedOjaRuleBackwardReference, gatedOjaRuleReference } from './gatedOjaRule.reference';
import {
  type Recurrent,
  type RecurrentOptions,
  recurrentResult,
  scaleOf,
  sequenceOffsets,
} from './recurrent';

export interface GatedOjaRuleOptions extends RecurrentOptions {
  /** Divides q by its norm, `x / sqrt(x.x + 1e-6)`; default false. */
  useQL2norm?: boolean;
  /** Divides k by its norm; default false. */
  useKL2norm?: boolean;
}
export type OjaInput = 'q' | 'k' | 'v' | 'gv' | 'beta' | 'initialState';
export interface OjaAttrs {
  scale: number;
  finalState: boolean;
  offsets: readonly number[];
  normalizeQ: boolean;
  normalizeK: boolean;
}
type Shapes = { readonly [name in OjaInput]?: Shape };

function sizesOf({ k, v }: Shapes, { offsets, normalizeQ, normalizeK, scale }: OjaAttrs) {
  const [, , H, K] = k!;
  const V = v![3];
  return {
    items: (offsets.length - 1) * H,
    numbers: [normalizeQ ? 1 : 0, normalizeK ? 1 : 0, H, K, V, scale] as const,
    /** floats of a step's vectors, padded to multiples of 4, and of a state */
    vectors: 2 * ((K + 3) & ~3) + 3 * ((V + 3) & ~3) + 16,
    state: K * ((V + 3) & ~3),
  };
}

const op = defineLinearOp<OjaInput, OjaAttrs>({
  name: 'gatedOjaRule',
  outputs: ({ v, k }, { offsets, finalState }) =>
    finalState ? [v!, [offsets.length - 1, v![2], k![3], v![3]]] : [v!],
  kernel: (call) => {
    const { input, shape, output, attrs, workspace, launch } = call;
    const { items, numbers, vectors, state } = sizesOf(shape, attrs);
    const offsets = heapOffsets(call, attrs.offsets);
    const { q, k, v, gv, beta, initialState } = input;
    const work = workspace(4 * (vectors + state));
    launch(
      'gatedOjaRule',
      items,
      q,
      k,
      v,
      gv,
      beta,
      initialState,
      output[0],
      output[1],
      offsets,
      work,
      ...numbers,
    );
  },
  reference: gatedOjaRuleReference,
  gradient: ({ inputs, dy, attrs }) => {
    const [q, k, v, gv, beta, initialState] = backward.run(
      { ...inputs, dOutput: dy[0], dFinal: dy[1] },
      attrs,
    );
    return { q, k, v, gv, beta, initialState };
  },
});

const backward = defineLinearOp<OjaInput | 'dOutput' | 'dFinal', OjaAttrs>({
  name: 'gatedOjaRuleBackward',
  outputs: ({ q, k, v, gv, beta, initialState }) =>
    initialState ? [q!, k!, v!, gv!, beta!, initialState] : [q!, k!, v!, gv!, beta!],
  kernel: (call) => {
    const { input, shape, output, attrs, workspace, launch } = call;
    const { items, numbers, vectors, state } = sizesOf(shape, attrs);
    const longest = attrs.offsets.reduce((most, end, i, all) => Math.max(most, end - (all[i - 1] ?? end)), 1);
    const segment = Math.ceil(Math.sqrt(longest));
    const states = 1 + segment + 1 + Math.ceil(longest / segment);
    const offsets = heapOffsets(call, attrs.offsets);
    const { q, k, v, gv, beta, initialState, dOutput, dFinal } = input;
    const [dq, dk, dv, dg, dBeta, dInitial] = output;
    const work = workspace(4 * (2 * vectors + states * state));
    launch(
      'gatedOjaRuleBackward',
      items,
      q,
      k,
      v,
      gv,
      beta,
      initialState,
      dOutput,
      dFinal,
      dq,
      dk,
      dv,
      dg,
      dBeta,
      dInitial,
      offsets,
      work,
      ...numbers,
      segment,
    );
  },
  reference: gatedOjaRuleBackwardReference,
});

/**
 * Gated Oja rule: the delta rule's mirror image, which corrects the key by what the state holds at the value. With
 * `S' = S_{t-1} diag(exp(gv_t))`, `S_t = S' + beta_t (k_t - S' v_t) v_t^T`, `o_t = scale S_t^T q_t`.
 *
 * @param q `[B, T, H, K]`
 * @param k `[B, T, H, K]`
 * @param v `[B, T, H, V]`, of unit norm
 * @param gv `[B, T, H, V]`, log decay of the state's columns
 * @param beta `[B, T, H]`, step sizes in [0, 1]
 * @param options.scale multiplies the output; default `K ** -0.5`
 * @param options.initialState `[N, H, K, V]`, zeros by default
 * @param options.outputFinalState returns `{ output, finalState }` instead of the output alone
 * @param options.cuSeqlens bounds of sequences packed along T, with B = 1
 * @param options.useQL2norm divides q by its norm; default false
 * @param options.useKL2norm divides k by its norm; default false
 * @returns `[B, T, H, V]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Oja, "Simplified neuron model as a principal component analyzer"
 * @example
 * ```ts
 * import { randomNormal, randomUniform } from '@tensorflow/tfjs-core';
 * import { gatedOjaRule, l2Norm, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 64, 4, 16]);
 * const k = randomNormal([1, 64, 4, 16]);
 * const v = l2Norm(randomNormal([1, 64, 4, 32]));
 * const gv = randomUniform([1, 64, 4, 32], -0.1, 0);
 * const beta = randomUniform([1, 64, 4]);
 * const output = gatedOjaRule(q, k, v, gv, beta); // [1, 64, 4, 32]
 * ```
 */
export function gatedOjaRule(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  gv: Tensor,
  beta: Tensor,
  options: GatedOjaRuleOptions & { outputFinalState: true },
): Recurrent;
export function gatedOjaRule(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  gv: Tensor,
  beta: Tensor,
  options?: GatedOjaRuleOptions,
): Tensor;
export function gatedOjaRule(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  gv: Tensor,
  beta: Tensor,
  options: GatedOjaRuleOptions = {},
): Tensor | Recurrent {
  const { initialState } = options;
  const { B, T, H, K, V } = checkShapes('gatedOjaRule', [
    ['q', q, 'B T H K'],
    ['k', k, 'B T H K'],
    ['v', v, 'B T H V'],
    ['gv', gv, 'B T H V'],
    ['beta', beta, 'B T H'],
  ]);
  const offsets = sequenceOffsets('gatedOjaRule', options.cuSeqlens, B, T);
  checkShapes('gatedOjaRule', [['initialState?', initialState, `${offsets.length - 1} ${H} ${K} ${V}`]]);
  const attrs = {
    scale: scaleOf('gatedOjaRule', options.scale, K),
    finalState: options.outputFinalState === true,
    offsets,
    normalizeQ: options.useQL2norm === true,
    normalizeK: options.useKL2norm === true,
  };
  return recurrentResult(op.run({ q, k, v, gv, beta, initialState }, attrs));
}
