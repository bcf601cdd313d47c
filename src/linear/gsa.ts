import type { Tensor } from '@tensorflow/tfjs-core';
import { routingSoftmax } from '../moe/softmax';
import { tidied } from '../op/tidied';
import { checkMultiple, checkShapes } from '../tensor/shape';
import {
  type AdditiveAttrs,
  type AdditiveOptions,
  additiveAttrs,
  checkpointsShape,
  defineAdditive,
  launchColumns,
  turnedRoles,
} from './additive';
import { additiveBackwardReference, additiveReference } from './additive.reference';
import { defineLinearOp } from './family';
import { turnedArray, turnOver } from './turned';

export interface GsaOptions extends Omit<AdditiveOptions, 'initialState'> {
  /** States of keys `[N, H, K, M]` and values `[N, H, M, V]`; default zeros. */
  initialState?: readonly [Tensor, Tensor];
}

export interface GsaResult {
  /** `[B, T, HQ, V]` */
  output: Tensor;
  /** States of keys `[N, H, K, M]` and values `[N, H, M, V]`. */
  finalState: [Tensor, Tensor];
}

const NAME = 'gsa';

const inner = defineAdditive('gsaTurned');

/**
 * Scores of slots, o_t = scale hk_t^T q_t with hk_t = hk_{t-1} diag(e^g_t) + k_t s_t^T. The slots decay, which are columns
 * here: turned over, this is what the gradient of q is in the recurrence with keys s, values k and dO = q. Both are the
 * same sum, so the gradients of one are found by the kernels of the other.
 */
const scores = defineLinearOp<'q' | 'k' | 's' | 'g' | 'initialState', AdditiveAttrs>({
  name: 'gsaScores',
  outputs: (shape, { offsets, finalState }) => {
    const [[, , H, K], M] = [shape.k!, shape.s![3]];
    return [turnedRoles(shape).q!, ...(finalState ? [[offsets.length - 1, H, K, M]] : [])];
  },
  kept: (shape, attrs) => [checkpointsShape(turnedRoles(shape), attrs)],
  kernel: (call) => launchColumns(call, call.shape, call.input, call.output, call.kept[0]),
  reference: ({ q, k, s, g, initialState }, attrs) => {
    const shape = turnedRoles({ q: q!.shape, s: s!.shape }).q!;
    const unread = { data: new Float64Array(shape.reduce((a, b) => a * b)), shape };
    const roles = { q: unread, k: s, v: k, g, initialState: initialState && turnedArray(initialState) };
    const [output] = additiveBackwardReference({ ...roles, dOutput: q }, attrs);
    if (!attrs.finalState) return [output];
    const [, data] = additiveReference(roles, attrs);
    const [, , H, K] = k!.shape;
    return [output, turnedArray({ data, shape: [attrs.offsets.length - 1, H, shape[3], K] }).data];
  },
  gradient: ({ inputs: { q, k, s, g, initialState }, kept: [checkpoints], dy: [dScores, dFinal], attrs }) => {
    const roles = { q: dScores, k: s, v: k, g, initialState: turnOver(initialState) };
    const [, ds, dk, dg, dInitial] = inner.backward.run(
      { ...roles, dOutput: q, dFinal: turnOver(dFinal), checkpoints },
      attrs,
    );
    return {
      q: () => inner.op.run(roles, { ...attrs, finalState: false })[0],
      k: dk,
      s: ds,
      g: dg,
      initialState: () => turnOver(dInitial)!,
    };
  },
});

const values = defineAdditive('gsaValues').op;

/**
 * Gated slot attention: M slots hold keys and values, a softmax over the slots reads them. Two passes,
 * `hk_t = hk_{t-1} diag(exp(g_t)) + k_t s_t^T`, `p_t = softmax(scale hk_t^T q_t)`, then
 * `hv_t = diag(exp(g_t)) hv_{t-1} + s_t v_t^T`, `o_t = hv_t^T p_t`.
 *
 * @param q `[B, T, HQ, K]`, HQ a multiple of H: query head h reads the slots of head `h / (HQ / H)`, rounded down
 * @param k `[B, T, H, K]`
 * @param v `[B, T, H, V]`
 * @param s `[B, T, H, M]`, how much of a token each slot takes: `1 - exp(g)` in the paper
 * @param g `[B, T, H, M]`, log decay of the slots
 * @param options.scale multiplies the scores; default `K ** -0.5`
 * @param options.initialState `[N, H, K, M]` and `[N, H, M, V]`, zeros by default
 * @param options.outputFinalState returns `{ output, finalState }`, the latter a pair like `initialState`
 * @param options.cuSeqlens bounds of sequences packed along T, with B = 1
 * @param options.reverse runs every sequence from its last token to its first; default false
 * @returns `[B, T, HQ, V]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Zhang et al., "Gated Slot Attention for Efficient Linear-Time Sequence Modeling", equations 8 to 10
 * @example
 * ```ts
 * import { randomNormal, randomUniform } from '@tensorflow/tfjs-core';
 * import { gsa, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 64, 4, 16]);
 * const k = randomNormal([1, 64, 4, 16]);
 * const v = randomNormal([1, 64, 4, 32]);
 * const s = randomUniform([1, 64, 4, 8]);
 * const g = randomUniform([1, 64, 4, 8], -0.1, 0);
 * const output = gsa(q, k, v, s, g); // [1, 64, 4, 32]
 * ```
 */
export function gsa(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  s: Tensor,
  g: Tensor,
  options: GsaOptions & { outputFinalState: true },
): GsaResult;
export function gsa(q: Tensor, k: Tensor, v: Tensor, s: Tensor, g: Tensor, options?: GsaOptions): Tensor;
export function gsa(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  s: Tensor,
  g: Tensor,
  options: GsaOptions = {},
): Tensor | GsaResult {
  const sizes = checkShapes(NAME, [
    ['q', q, 'B T HQ K'],
    ['k', k, 'B T H K'],
    ['v', v, 'B T H V'],
    ['s', s, 'B T H M'],
    ['g', g, 'B T H M'],
  ]);
  checkMultiple(NAME, 'HQ', sizes.HQ, 'H', sizes.H);
  return runSlots(NAME, { q, k, v, s, g }, options, sizes);
}

/** Both passes, under the name of the op they are. */
export function runSlots(
  name: string,
  { q, k, v, s, g }: Record<'q' | 'k' | 'v' | 's' | 'g', Tensor>,
  options: GsaOptions,
  sizes: Record<'B' | 'T' | 'H' | 'K' | 'M' | 'V', number>,
): Tensor | GsaResult {
  const [keys, contents] = options.initialState ?? [];
  const attrs = additiveAttrs(name, { ...options, initialState: undefined }, sizes);
  const N = attrs.offsets.length - 1;
  checkShapes(name, [
    ['initialState[0]?', keys, `${N} ${sizes.H} ${sizes.K} ${sizes.M}`],
    ['initialState[1]?', contents, `${N} ${sizes.H} ${sizes.M} ${sizes.V}`],
  ]);
  return tidied(() => {
    const [read, finalKeys] = scores.run({ q, k, s, g, initialState: keys }, attrs);
    const [output, finalContents] = values.run(
      { q: routingSoftmax(read, 'columns'), k: s, v, g, initialState: contents },
      { ...attrs, scale: 1 },
    );
    return attrs.finalState ? { output, finalState: [finalKeys, finalContents] } : output;
  });
}
