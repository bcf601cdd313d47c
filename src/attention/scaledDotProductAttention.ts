import type { Tensor } from '@tensorflow/tfjs-core';
import { type Integers, integers } from '../tensor/integers';
import { checkFinite, checkMultiple, checkShapes } from '../tensor/shape';
import { attentionOp } from './attentionOp';
import type { AttentionAttrs } from './scaledDotProductAttention.attrs';

export interface AttentionOptions {
  /** Query i sees keys up to its own position; default false. */
  isCausal?: boolean;
  /**
   * Where query 0 stands when Tq differs from Tk: `'bottom-right'` (default) puts the last query at the last key, as a
   * cache needs; `'top-left'` puts the first query at the first key.
   */
  causalAlign?: 'bottom-right' | 'top-left';
  /**
   * Position of query 0 among the keys, one for all or per batch entry, in place of `causalAlign`: where the queries stand
   * in a cache that is not full. Not together with `cuSeqlens`.
   */
  queryOffset?: number | Integers;
  /** bool, true = attend, `[Tq, Tk]`, `[H, Tq, Tk]` or `[B, H, Tq, Tk]`, any axis 1 to broadcast. */
  mask?: Tensor;
  /** Added to the scaled scores, shapes as for `mask`; differentiable. */
  bias?: Tensor;
  /** Default `D ** -0.5`. */
  scale?: number;
  /** Query at position p sees keys j with `p - left < j`, and with `[left, right]` also `j <= p + right`. */
  window?: number | readonly [left: number, right: number];
  /** Scores become `softcap * tanh(score / softcap)`. */
  softcap?: number;
  /** `[Hq]`: adds `slope * (j - p)` to the scores. */
  alibiSlopes?: Tensor;
  /** `[Hq]`: one more logit per head, which takes part in the softmax and has no value; differentiable. */
  sink?: Tensor;
  /** Keys in use, per batch entry. */
  kvLengths?: Integers;
  /** Bounds of packed sequences from 0 to T; B must be 1. With `{ q, k }` queries and keys have their own. */
  cuSeqlens?: Integers | { q: Integers; k: Integers };
  /** Return `{ output, lse }`, lse the log sum exp of each row. */
  returnLse?: boolean;
}

export interface AttentionResult {
  /** `[B, Tq, Hq, Dv]` */
  output: Tensor;
  /** `[B, Tq, Hq]` */
  lse: Tensor;
}

const NAME = 'scaledDotProductAttention';
/** Bounds of packed sequences: ascending from 0 to `end`. */
export function bounds(op: string, name: string, given: Integers, end: number, endName: string): number[] {
  const values = integers(op, name, given);
  const ascending = values.every((value, i) => i === 0 || value >= values[i - 1]);
  if (values.length < 2 || values[0] !== 0 || values.at(-1) !== end || !ascending) {
    throw new RangeError(
      `${op}: ${name} is [${values}]; expected ascending bounds from 0 to ${endName} = ${end}`,
    );
  }
  return values;
}

/** The notation of a mask or bias that may lack leading axes. */
export function broadcastOver(tensor: Tensor | undefined, heads: 'H' | 'Hq' = 'Hq') {
  const axes = ['B|1', `${heads}|1`, 'Tq|1', 'Tk|1'];
  const rank = tensor?.shape?.length ?? 4;
  return (rank === 2 || rank === 3 ? axes.slice(-rank) : axes).join(' ') as 'B|1 Hq|1 Tq|1 Tk|1';
}

/** Checks the options that are no tensors of their own and turns them into attributes of the kernel. */
export function attentionAttrs(
  op: string,
  { B, Tq, Tk, D }: Record<'B' | 'Tq' | 'Tk' | 'D', number>,
  options: AttentionOptions,
): AttentionAttrs {
  const { isCausal = false, causalAlign = 'bottom-right', softcap = 0, window } = options;
  const scale = options.scale ?? D ** -0.5;
  checkFinite(op, 'scale', scale);
  checkFinite(op, 'softcap', softcap);
  const sides = Array.isArray(window) ? window : [window ?? Infinity, Infinity];
  const [left, right] = sides as readonly [number, number];
  if (!(left >= 0 && right >= 0))
    throw new RangeError(`${op}: window is ${window}; expected sizes of at least 0`);
  let kvLengths: number[] | undefined;
  if (options.kvLengths !== undefined) {
    kvLengths = integers(op, 'kvLengths', options.kvLengths);
    if (kvLengths.length !== B || kvLengths.some((length) => length < 0 || length > Tk)) {
      throw new RangeError(
        `${op}: kvLengths is [${kvLengths}]; expected B = ${B} lengths from 0 to Tk = ${Tk}`,
      );
    }
  }
  let queryOffset: number[] | undefined;
  if (options.queryOffset !== undefined) {
    const given = options.queryOffset;
    queryOffset = integers(op, 'queryOffset', typeof given === 'number' ? Array(B).fill(given) : given);
    if (queryOffset.length !== B)
      throw new RangeError(`${op}: queryOffset is [${queryOffset}]; expected B = ${B} positions`);
    if (options.cuSeqlens !== undefined)
      throw new RangeError(`${op}: queryOffset cannot be combined with cuSeqlens`);
  }
  let cuSeqlens: AttentionAttrs['cuSeqlens'];
  if (options.cuSeqlens !== undefined) {
    if (B !== 1)
      throw new RangeError(`${op}: cuSeqlens needs sequences packed along T with B = 1; got B = ${B}`);
    const given = options.cuSeqlens as { q?: Integers; k?: Integers } | null;
    const own = given?.q !== undefined && given.k !== undefined ? given : undefined;
    const packed = options.cuSeqlens as Integers;
    cuSeqlens = {
      q: bounds(op, own ? 'cuSeqlens.q' : 'cuSeqlens', own?.q ?? packed, Tq, 'Tq'),
      k: bounds(op, own ? 'cuSeqlens.k' : 'cuSeqlens', own?.k ?? packed, Tk, 'Tk'),
    };
    if (cuSeqlens.q.length !== cuSeqlens.k.length) {
      throw new RangeError(
        `${op}: cuSeqlens.q has ${cuSeqlens.q.length} bounds and cuSeqlens.k ${cuSeqlens.k.length}; expected as many`,
      );
    }
  }
  return {
    scale,
    softcap,
    isCausal,
    causalAlign,
    queryOffset,
    window: window === undefined ? undefined : [left, right],
    kvLengths,
    cuSeqlens,
  };
}

/** Checks the options shared by all attention ops and turns them into inputs and attributes of the kernel. */
export function resolveAttention(op: string, q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions) {
  const { mask, bias, alibiSlopes, sink } = options;
  const { B, Tq, Tk, Hq, Hkv, D } = checkShapes(op, [
    ['q', q, 'B Tq Hq D'],
    ['k', k, 'B Tk Hkv D'],
    ['v', v, 'B Tk Hkv Dv'],
    ['mask?', mask, broadcastOver(mask), 'bool'],
    ['bias?', bias, broadcastOver(bias)],
    ['alibiSlopes?', alibiSlopes, 'Hq'],
    ['sink?', sink, 'Hq'],
  ]);
  checkMultiple(op, 'Hq', Hq, 'Hkv', Hkv);
  return {
    inputs: { q, k, v, mask, bias, alibiSlopes, sink },
    attrs: attentionAttrs(op, { B, Tq, Tk, D }, options),
  };
}

/**
 * Softmax attention without a T x T buffer (FlashAttention-2 order):
 * `output = softmax(scale q k^T + bias) v` over the keys that each query may see.
 *
 * A query that sees no key gives zeros and lse -Infinity. Heads are grouped when Hq is a multiple of Hkv.
 * Differentiable in q, k, v, bias and sink, through output and lse.
 *
 * @param q `[B, Tq, Hq, D]`
 * @param k `[B, Tk, Hkv, D]`
 * @param v `[B, Tk, Hkv, Dv]`
 * @returns `[B, Tq, Hq, Dv]`, or `{ output, lse }` with `returnLse: true`
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see Dao, "FlashAttention-2: Faster Attention with Better Parallelism and Work Partitioning", algorithms 1 and 2
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { ready, scaledDotProductAttention } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 128, 4, 32]);
 * const k = randomNormal([1, 128, 2, 32]);
 * const v = randomNormal([1, 128, 2, 32]);
 * const output = scaledDotProductAttention(q, k, v, { isCausal: true, window: 64 }); // [1, 128, 4, 32]
 * ```
 */
export function scaledDotProductAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions & { returnLse: true },
): AttentionResult;
export function scaledDotProductAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options?: AttentionOptions,
): Tensor;
export function scaledDotProductAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions = {},
): Tensor | AttentionResult {
  const { inputs, attrs } = resolveAttention(NAME, q, k, v, options);
  const [output, lse] = attentionOp.run(inputs, attrs);
  if (options.returnLse) return { output, lse };
  lse.dispose();
  return output;
}
