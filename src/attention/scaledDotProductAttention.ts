import { reshape, type Tensor } from '@tensorflow/tfjs-core';
import type { AttentionKernels } from '../generated/attention';
import type { GradientCall, KernelCall, Shape } from '../op/define';
import { type Integers, integers } from '../tensor/integers';
import { checkFinite, checkMultiple, checkShapes } from '../tensor/shape';
import { defineAttentionOp } from './family';
import { keyRanges } from './keyRanges';
import type { AttentionAttrs, AttentionInput } from './scaledDotProductAttention.attrs';
import {
  attentionBackwardReference,
  scaledDotProductAttentionReference,
} from './scaledDotProductAttention.reference';

type BackwardInput = AttentionInput | 'output' | 'lse' | 'dOutput' | 'dLse';

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
  /** Added to the scaled scores, shapes as for `mask`; differentiable when given with all four axes. */
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
/** Rows (query, head) that share the packing of a key block: 256 hold Q and O in 128 KiB at D = 64. */
const ROWS_PER_ITEM = 256;
const KEYS = 64;
/** Keys of one work item when a single query reads a cache. */
const SPLIT = 512;
const BACKWARD_ROWS = 32;

const ceil8 = (n: number) => Math.ceil(n / 8) * 8;

function sizesOf({ q, k, v }: { readonly [name in BackwardInput]?: Shape }) {
  const [B, Tq, Hq, D] = q!;
  const [, Tk, Hkv] = k!;
  return { B, Tq, Hq, D, Tk, Hkv, Dv: v![3], group: Hkv === 0 ? 0 : Hq / Hkv };
}

/** Element strides of a [B|1, H|1, Tq|1, Tk|1] tensor; a broadcast axis has stride 0. */
function broadcastStrides(shape: Shape | undefined): number[] {
  if (shape === undefined) return [0, 0, 0, 0];
  let stride = 1;
  return shape
    .map((size) => size)
    .reverse()
    .map((size) => {
      const own = size === 1 ? 0 : stride;
      stride *= size;
      return own;
    })
    .reverse();
}

/** Writes the table of key ranges and the modifiers of a call to scratch. */
function describe<I extends AttentionInput>(call: KernelCall<I, AttentionAttrs, AttentionKernels>) {
  const input = call.input as Partial<Record<AttentionInput, number>>;
  const shape = call.shape as { readonly [name in AttentionInput]?: Shape };
  const { B, Tq, Tk } = sizesOf(shape);
  const table = keyRanges(call.attrs, B, Tq, Tk);
  const ranges = call.scratch(table.byteLength);
  const modifiers = call.scratch(64);
  new Int32Array(call.buffer(), ranges, table.length).set(table);
  const fields = new Int32Array(call.buffer(), modifiers, 13);
  fields.set([input.mask ?? 0, ...broadcastStrides(shape.mask)], 0);
  fields.set([input.bias ?? 0, ...broadcastStrides(shape.bias)], 5);
  fields.set([input.alibiSlopes ?? 0, input.cumulativeGate ?? 0], 10);
  new Float32Array(call.buffer(), modifiers, 13)[12] = call.attrs.softcap;
  return { ranges, modifiers };
}

export const attentionOp = defineAttentionOp<AttentionInput, AttentionAttrs>({
  name: NAME,
  outputs: ({ q, v }) => [
    [q![0], q![1], q![2], v![3]],
    [q![0], q![1], q![2]],
  ],
  kernel: (call) => {
    const { input, output, attrs, workspace, launch } = call;
    const { B, Tq, Hq, D, Tk, Hkv, Dv, group } = sizesOf(call.shape);
    const { ranges, modifiers } = describe(call);
    const { mask, bias, alibiSlopes, cumulativeGate } = call.shape;
    const modified = mask || bias || alibiSlopes || cumulativeGate || attrs.softcap > 0;
    if (Tq === 1 && Tk > 0 && !modified && D % 4 === 0 && Dv % 8 === 0) {
      const splits = Math.ceil(Tk / SPLIT);
      const parts = call.scratch(B * Hkv * splits * Math.ceil(group / 8) * (128 + 32 * Dv));
      // biome-ignore format: one argument list per line of the entry point
      launch('attentionDecode', B * Hkv * splits,
        input.q, input.k, input.v, ranges, parts, Tk, Hq, Hkv, D, Dv, attrs.scale, SPLIT, workspace(4 * KEYS * 8));
      launch('attentionMerge', B * Hkv, parts, output[0], output[1], input.sink, Tk, Hq, Hkv, Dv, SPLIT);
      return;
    }
    const rows = Math.min(ROWS_PER_ITEM, ceil8(Tq * group));
    const floats = rows * (D + ceil8(Dv) + 4) + KEYS * (D + ceil8(Dv) + 8);
    // biome-ignore format: one argument list per line of the entry point
    launch('attentionForward', B * Hkv * Math.ceil((Tq * group) / rows),
      input.q, input.k, input.v, output[0], output[1], ranges, input.sink, modifiers,
      Tq, Tk, Hq, Hkv, D, Dv, attrs.scale, rows, workspace(4 * floats));
  },
  reference: scaledDotProductAttentionReference,
  saveOutputs: [true, true],
  gradient: attentionGradient,
});

function attentionGradient({ inputs, outputs, dy, attrs }: GradientCall<AttentionInput, AttentionAttrs>) {
  const [output, lse] = outputs;
  const [q, k, v, bias, sink, cumulativeGate] = backward.run(
    { ...inputs, output, lse, dOutput: dy[0], dLse: dy[1] },
    attrs,
  );
  return { q, k, v, bias, sink, cumulativeGate };
}

const backward = defineAttentionOp<BackwardInput, AttentionAttrs>({
  name: 'attentionBackward',
  outputs: ({ q, k, v, bias, sink, cumulativeGate }) => [
    q!,
    k!,
    v!,
    bias ?? [0],
    sink ?? [0],
    cumulativeGate ?? [0],
  ],
  kernel: (call) => {
    const { input, shape, output, attrs, launch } = call;
    const { B, Tq, Hq, D, Tk, Hkv, Dv, group } = sizesOf(shape);
    const { ranges, modifiers } = describe(call);
    const rows = Math.ceil((Tq * group) / BACKWARD_ROWS) * BACKWARD_ROWS;
    const [pitch, pitchV] = [ceil8(D), ceil8(Dv)];
    const floats =
      rows * (pitch + 2) +
      2 * KEYS * (pitch + pitchV) +
      2 * BACKWARD_ROWS * (pitch + pitchV) +
      3 * KEYS * BACKWARD_ROWS +
      16;
    const summed = [shape.bias, shape.sink, shape.cumulativeGate].map((given, i) =>
      given ? output[3 + i] : 0,
    );
    const sizes = [shape.bias, shape.sink, shape.cumulativeGate].map(
      (given) => given?.reduce((n, d) => n * d, 1) ?? 0,
    );
    const workspace = call.workspace(4 * floats);
    summed.forEach((pointer, i) => {
      if (pointer !== 0) new Float32Array(call.buffer(), pointer, sizes[i]).fill(0);
    });
    // biome-ignore format: one argument list per line of the entry point
    launch('attentionBackward', B * Hkv,
      input.q, input.k, input.v, input.output, input.lse, input.dOutput, input.dLse, ranges,
      input.sink, modifiers, output[0], output[1], output[2], summed[0], summed[1], summed[2],
      Tq, Tk, Hq, Hkv, D, Dv, attrs.scale, workspace);
  },
  reference: attentionBackwardReference,
});

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

/** A mask or bias with all four axes; the missing leading ones are 1. */
function fourAxes(tensor: Tensor | undefined): Tensor | undefined {
  if (tensor?.shape === undefined || tensor.shape.length >= 4 || tensor.shape.length < 2) return tensor;
  return reshape(tensor, [...Array(4 - tensor.shape.length).fill(1), ...tensor.shape]);
}

/** Checks the options shared by all attention ops and turns them into inputs and attributes of the kernel. */
export function resolveAttention(op: string, q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions) {
  const [mask, bias] = [fourAxes(options.mask), fourAxes(options.bias)];
  const { alibiSlopes, sink, isCausal = false, causalAlign = 'bottom-right', softcap = 0, window } = options;
  const { B, Tq, Tk, Hq, Hkv, D } = checkShapes(op, [
    ['q', q, 'B Tq Hq D'],
    ['k', k, 'B Tk Hkv D'],
    ['v', v, 'B Tk Hkv Dv'],
    ['mask', mask, 'B|1 Hq|1 Tq|1 Tk|1', 'bool'],
    ['bias', bias, 'B|1 Hq|1 Tq|1 Tk|1'],
    ['alibiSlopes', alibiSlopes, 'Hq'],
    ['sink', sink, 'Hq'],
  ]);
  checkMultiple(op, 'Hq', Hq, 'Hkv', Hkv);
  const scale = options.scale ?? D ** -0.5;
  checkFinite(op, 'scale', scale);
  checkFinite(op, 'softcap', softcap);
  const [left, right] = typeof window === 'number' ? [window, Infinity] : (window ?? [Infinity, Infinity]);
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
    const given = options.cuSeqlens as { q?: Integers; k?: Integers };
    const own = given.q !== undefined && given.k !== undefined;
    const packed = options.cuSeqlens as Integers;
    cuSeqlens = {
      q: bounds(op, own ? 'cuSeqlens.q' : 'cuSeqlens', own ? given.q! : packed, Tq, 'Tq'),
      k: bounds(op, own ? 'cuSeqlens.k' : 'cuSeqlens', own ? given.k! : packed, Tk, 'Tk'),
    };
    if (cuSeqlens.q.length !== cuSeqlens.k.length) {
      throw new RangeError(
        `${op}: cuSeqlens.q has ${cuSeqlens.q.length} bounds and cuSeqlens.k ${cuSeqlens.k.length}; expected as many`,
      );
    }
  }
  const attrs: AttentionAttrs = {
    scale,
    softcap,
    isCausal,
    causalAlign,
    queryOffset,
    window: window === undefined ? undefined : [left, right],
    kvLengths,
    cuSeqlens,
  };
  return { inputs: { q, k, v, mask, bias, alibiSlopes, sink }, attrs };
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
  if (inputs.mask !== options.mask) inputs.mask!.dispose();
  if (options.returnLse) return { output, lse };
  lse.dispose();
  return output;
}
