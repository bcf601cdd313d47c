import type { Tensor } from '@tensorflow/tfjs-core';
import { l2Norm } from '../nn/l2Norm';
import type { Shape } from '../op/define';
import { tidied } from '../op/tidied';
import { checkShapes } from '../tensor/shape';
import { launchColumns } from './additive';
import {
  type DeltaAttrs,
  type DeltaInput,
  defineDelta,
  deltaAttrs,
  isShort,
  keptShapes,
  launchForward,
} from './delta';
import { defineLinearOp } from './family';
import { gatedOjaRuleReference } from './gatedOjaRule.reference';
import { type Recurrent, type RecurrentOptions, recurrentResult } from './recurrent';
import { turnOver } from './turned';
import { heapOffsets } from './workspace';

export interface GatedOjaRuleOptions extends RecurrentOptions {
  /** Divides q by its norm, `x / sqrt(x.x + 1e-6)`; default false. */
  useQL2norm?: boolean;
  /** Divides k by its norm; default false. */
  useKL2norm?: boolean;
}
export type OjaInput = 'q' | 'k' | 'v' | 'gv' | 'beta' | 'initialState';
export interface OjaAttrs extends DeltaAttrs {
  reverse: false;
}
type Shapes = { readonly [name in OjaInput]?: Shape };

/** The rule turned over, with keys and values exchanged: what it writes, c = beta (k - S' v), is what that corrects. */
const inner = defineDelta('ojaTurned');
const deltaRoles = ({ k, v, gv, beta }: Shapes) => ({ k: v, v: k, g: gv, beta });

/** Once its writes are known it is read like any state whose columns decay. */
const op = defineLinearOp<OjaInput, OjaAttrs>({
  name: 'gatedOjaRule',
  outputs: ({ v, k }, { offsets, finalState }) =>
    finalState ? [v!, [offsets.length - 1, v![2], k![3], v![3]]] : [v!],
  kept: (shape, attrs) => (isShort(attrs) ? [] : keptShapes(deltaRoles(shape), attrs)),
  kernel: (call) => {
    const { input, shape, output, kept, attrs, scratch, workspace, launch } = call;
    const { q, k, v, gv, beta } = input;
    const [B, T, H, K] = shape.k!;
    const V = shape.v![3];
    if (isShort(attrs)) {
      // two vectors of keys, three of values and a state
      const work = workspace(4 * (2 * ((K + 3) & ~3) + (3 + K) * ((V + 3) & ~3) + 16));
      // biome-ignore format: one argument list per line of the entry point
      launch('gatedOjaRule', (attrs.offsets.length - 1) * H,
        q, k, v, gv, beta, input.initialState, output[0], output[1], heapOffsets(call, attrs.offsets), work,
        H, K, V, attrs.scale);
      return;
    }
    const state = shape.initialState ? scratch(4 * shape.initialState.reduce((a, b) => a * b)) : 0;
    if (state) launch('turnStates', (attrs.offsets.length - 1) * H, input.initialState, state, K, V);
    const written = scratch(4 * B * T * H * K);
    const roles = { k: v, v: k, g: gv, beta, initialState: state } as Record<DeltaInput, number>;
    launchForward({ ...call, input: roles, shape: deltaRoles(shape) }, [written], kept);
    const shapes = { q: shape.q, k: shape.k, s: shape.v, g: shape.gv };
    const columns = { q, k: written, s: v, g: gv, initialState: input.initialState };
    launchColumns(call, shapes, columns, output);
  },
  reference: gatedOjaRuleReference,
  gradient: ({ inputs, kept: [corrections, checkpoints], dy: [dOutput, dFinal], attrs }) => {
    const { q, k, v, gv, beta, initialState } = inputs;
    const roles = { q: dOutput, k: v, v: k, g: gv, beta, initialState: turnOver(initialState) };
    const [, dv, dk, dgv, dBeta, dInitial] = inner.backward.run(
      { ...roles, dOutput: q, dFinal: turnOver(dFinal), corrections, checkpoints },
      attrs,
    );
    return {
      q: () => inner.op.run(roles, { ...attrs, finalState: false })[0],
      k: dk,
      v: dv,
      gv: dgv,
      beta: dBeta,
      initialState: () => turnOver(dInitial)!,
    };
  },
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
  const { scale, cuSeqlens, outputFinalState } = options;
  const given = deltaAttrs('gatedOjaRule', 'delta', { scale, cuSeqlens, outputFinalState }, { B, T, K });
  const N = given.offsets.length - 1;
  checkShapes('gatedOjaRule', [['initialState?', initialState, `${N} ${H} ${K} ${V}`]]);
  return tidied(() => {
    const [query, key] = [
      options.useQL2norm === true ? l2Norm(q) : q,
      options.useKL2norm === true ? l2Norm(k) : k,
    ];
    const inputs = { q: query, k: key, v, gv, beta, initialState };
    return recurrentResult(op.run(inputs, { ...given, reverse: false }));
  });
}
