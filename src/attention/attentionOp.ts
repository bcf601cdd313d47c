import type { AttentionKernels } from '../generated/attention';
import type { GradientCall, KernelCall, NdArray, Shape } from '../op/define';
import { defineAttentionOp } from './family';
import { keyRanges } from './keyRanges';
import type { AttentionAttrs, AttentionInput } from './scaledDotProductAttention.attrs';
import {
  attentionBackwardReference,
  scaledDotProductAttentionReference,
} from './scaledDotProductAttention.reference';

export type BackwardInput = AttentionInput | 'output' | 'lse' | 'dOutput' | 'dLse';
type Call<I extends string> = KernelCall<I, AttentionAttrs, AttentionKernels>;

/** Rows (query, head) that share the packing of a key block: 256 hold Q and O in 128 KiB at D = 64. */
const ROWS_PER_ITEM = 256;
const KEYS = 64;
/** Keys of one work item when a single query reads a cache. */
const SPLIT = 512;
/** The backward pass goes over 32 rows at a time, and splits them where there are fewer work items than this. */
const BACKWARD_ROWS = 32;
/** Its blocks have up to so many keys, and so many floats of keys and values. */
const BACKWARD_KEYS = 256;
const BACKWARD_FLOATS = 2 ** 16;
const BACKWARD_ITEMS = 8;
const MIN_SPLIT_ROWS = 256;
/** Words that the kernels keep of a row besides its numbers. */
const TABLE = 8;

const ceil = (n: number, multiple: number) => Math.ceil(n / multiple) * multiple;
const sizeOf = (shape: Shape | undefined) => shape?.reduce((n, d) => n * d, 1) ?? 0;

function sizesOf({ q, k, v }: { readonly [name in BackwardInput]?: Shape }) {
  const [B, Tq, Hq, D] = q!;
  const [, Tk, Hkv] = k!;
  return { B, Tq, Hq, D, Tk, Hkv, Dv: v![3], group: Hkv === 0 ? 0 : Hq / Hkv };
}

/** Element strides along [B, H, Tq, Tk]; an axis of size 1, or a leading one that is not there, has stride 0. */
function broadcastStrides(shape: Shape = []): number[] {
  const strides = [0, 0, 0, 0];
  let stride = 1;
  for (let axis = 3, i = shape.length - 1; i >= 0; axis--, i--) {
    if (shape[i] !== 1) strides[axis] = stride;
    stride *= shape[i];
  }
  return strides;
}

type Modified = { readonly [name in AttentionInput]?: Shape };

/** The table of key ranges of a call, on its scratch. */
function rangesOf<I extends AttentionInput>(call: Call<I>): number {
  const { B, Tq, Tk } = sizesOf(call.shape as Modified);
  const table = keyRanges(call.attrs, B, Tq, Tk);
  const ranges = call.scratch(table.byteLength);
  new Int32Array(call.buffer(), ranges, table.length).set(table);
  return ranges;
}

/** What changes the scores of a call, on its scratch. */
function modifiersOf<I extends AttentionInput>(call: Call<I>): number {
  const input = call.input as Partial<Record<AttentionInput, number>>;
  const shape = call.shape as Modified;
  const { B, Tk, Hq } = sizesOf(shape);
  const modifiers = call.scratch(64);
  const sums = shape.gate ? call.scratch(8 * B * Tk * Hq) : 0;
  if (shape.gate) call.launch('forgetSums', B * Hq, input.gate!, sums, Tk, Hq);
  const fields = new Int32Array(call.buffer(), modifiers, 13);
  fields.set([input.mask ?? 0, ...broadcastStrides(shape.mask)], 0);
  fields.set([input.bias ?? 0, ...broadcastStrides(shape.bias)], 5);
  fields.set([input.alibiSlopes ?? 0, sums], 10);
  new Float32Array(call.buffer(), modifiers, 13)[12] = call.attrs.softcap;
  return modifiers;
}

export function attentionKernel(call: Call<AttentionInput>): void {
  const { input, output, attrs, shape, workspace, launch } = call;
  const { B, Tq, Hq, D, Tk, Hkv, Dv, group } = sizesOf(shape);
  const ranges = rangesOf(call);
  const modified = shape.mask || shape.bias || shape.alibiSlopes || shape.gate || attrs.softcap > 0;
  if (Tq === 1 && Tk > 0 && !modified && D % 4 === 0 && Dv % 8 === 0) {
    const splits = Math.ceil(Tk / SPLIT);
    // heads with keys of their own share tiles, which have eight lanes
    const bundle = group > 1 ? group : Math.min(8, Hq);
    const bundles = Math.ceil(Hq / bundle);
    const parts = call.scratch(B * bundles * splits * Math.ceil(bundle / 8) * (128 + 32 * Dv));
    // biome-ignore format: one argument list per line of the entry point
    launch('attentionDecode', B * splits,
      input.q, input.k, input.v, ranges, parts, Tk, Hq, Hkv, D, Dv, attrs.scale, SPLIT, bundle,
      workspace(4 * KEYS * 8));
    // biome-ignore format: one argument list per line of the entry point
    launch('attentionMerge', B * bundles,
      parts, output[0], output[1], input.sink, splits, Hq, Dv, Dv, bundle);
    return;
  }
  const rows = Math.min(ROWS_PER_ITEM, ceil(Tq * group, 8));
  const pitchV = ceil(Dv, 8);
  const floats = rows * (D + pitchV + 4 + TABLE) + KEYS * (D + pitchV + 8);
  // biome-ignore format: one argument list per line of the entry point
  launch('attentionForward', B * Hkv * Math.ceil((Tq * group) / rows),
    input.q, input.k, input.v, output[0], output[1], ranges, input.sink, modifiersOf(call),
    Tq, Tk, Hq, Hkv, D, Dv, attrs.scale, rows, workspace(4 * floats));
}

export const attentionOp = defineAttentionOp<AttentionInput, AttentionAttrs>({
  name: 'scaledDotProductAttention',
  outputs: ({ q, v }) => [
    [q![0], q![1], q![2], v![3]],
    [q![0], q![1], q![2]],
  ],
  kernel: attentionKernel,
  reference: scaledDotProductAttentionReference,
  saveOutputs: [true, true],
  gradient: attentionGradient,
});

function attentionGradient({ inputs, outputs, dy, attrs }: GradientCall<AttentionInput, AttentionAttrs>) {
  const [output, lse] = outputs;
  const given = { ...inputs, output, lse, dOutput: dy[0], dLse: dy[1] };
  const [q, k, v, sink, gate] = backward.run(given, attrs);
  return { q, k, v, sink, gate, bias: () => biasGradient.run(given, attrs)[0] };
}

/** How the backward pass is cut into work items, for sizes and nothing else. */
function backwardItems({ B, Tq, Hkv, group }: ReturnType<typeof sizesOf>) {
  const rows = Tq * group;
  const wanted = Math.min(Math.ceil(BACKWARD_ITEMS / (B * Hkv)), Math.ceil(rows / MIN_SPLIT_ROWS));
  const splitRows = ceil(Math.ceil(rows / wanted), BACKWARD_ROWS);
  const splits = Math.ceil(rows / splitRows);
  return { splitRows, splits, items: B * Hkv * splits };
}

/** Runs the backward kernel; a pointer of 0 is a gradient that is not wanted. */
function runBackward(
  call: Call<BackwardInput>,
  to: Record<'q' | 'k' | 'v' | 'bias' | 'sink' | 'gate', number>,
) {
  const { input, attrs } = call;
  const sizes = sizesOf(call.shape);
  const { B, Tq, Hq, D, Tk, Hkv, Dv } = sizes;
  const [ranges, modifiers] = [rangesOf(call), modifiersOf(call)];
  const { splitRows, splits, items } = backwardItems(sizes);
  const [pitch, pitchV] = [ceil(D, 8), ceil(Dv, 8)];
  const fitting = Math.floor(BACKWARD_FLOATS / (pitch + pitchV) / 4) * 4;
  const blockKeys = Math.min(ceil(Tk, 4), Math.max(KEYS, Math.min(BACKWARD_KEYS, fitting)));
  const floats =
    splitRows * (pitch + 2 + TABLE + 0.5) +
    2 * blockKeys * (pitch + pitchV) +
    2 * BACKWARD_ROWS * (pitch + pitchV) +
    3 * blockKeys * BACKWARD_ROWS +
    8;
  const workspace = call.workspace(4 * floats);
  // work items that add to the same element of a broadcast bias must not run at once
  const [overB, overH, overQ] = broadcastStrides(call.shape.bias).map((stride) => stride === 0);
  const atOnce = to.bias === 0 ? items : overQ ? 1 : overH ? splits : overB ? Hkv * splits : items;
  for (let first = 0; first < items; first += atOnce) {
    // biome-ignore format: one argument list per line of the entry point
    call.launch('attentionBackward', atOnce,
      input.q, input.k, input.v, input.output, input.lse, input.dOutput, input.dLse, ranges,
      input.sink, modifiers, to.q, to.k, to.v, to.bias, to.sink, to.gate,
      B, Tq, Tk, Hq, Hkv, D, Dv, attrs.scale, splitRows, blockKeys, first, workspace);
  }
}

const referenceOf =
  (...names: ('q' | 'k' | 'v' | 'bias' | 'sink' | 'gate')[]) =>
  (inputs: { readonly [name in BackwardInput]?: NdArray }, attrs: AttentionAttrs) => {
    const gradients = attentionBackwardReference(inputs, attrs);
    return names.map((name) => gradients[name]);
  };

export function attentionBackwardKernel(call: Call<BackwardInput>): void {
  const { shape, output, launch } = call;
  const sizes = sizesOf(shape);
  const { B, Hq, Tk, Hkv, group } = sizes;
  const { splits, items } = backwardItems(sizes);
  const [sizeK, sizeV] = [sizeOf(shape.k), sizeOf(shape.v)];
  const [k, v] = splits === 1 ? output.slice(1, 3) : [sizeK, sizeV].map((n) => call.scratch(4 * splits * n));
  const sink = shape.sink ? call.scratch(4 * items * group) : 0;
  const gate = shape.gate ? call.scratch(4 * items * Tk * group) : 0;
  runBackward(call, { q: output[0], k, v, bias: 0, sink, gate });
  if (splits > 1) {
    launch('sumRows', Math.ceil(sizeK / 64), k, output[1], splits, sizeK);
    launch('sumRows', Math.ceil(sizeV / 64), v, output[2], splits, sizeV);
  }
  if (shape.gate) launch('forgetGradient', B * Hq, gate, output[4], Tk, Hq, Hkv, splits);
  if (shape.sink) {
    const parts = new Float32Array(call.buffer(), sink, items * group);
    const sums = new Float64Array(Hq);
    parts.forEach((x, i) => {
      sums[(Math.floor(i / group / splits) % Hkv) * group + (i % group)] += x;
    });
    new Float32Array(call.buffer(), output[3], Hq).set(sums);
  }
}

const backward = defineAttentionOp<BackwardInput, AttentionAttrs>({
  name: 'attentionBackward',
  outputs: ({ q, k, v, sink, gate }) => [q!, k!, v!, sink ?? [0], gate ?? [0]],
  kernel: attentionBackwardKernel,
  reference: referenceOf('q', 'k', 'v', 'sink', 'gate'),
});

const biasGradient = defineAttentionOp<BackwardInput, AttentionAttrs>({
  name: 'attentionBiasGradient',
  outputs: ({ bias }) => [bias!],
  kernel: (call) => {
    const bias = call.output[0];
    new Float32Array(call.buffer(), bias, sizeOf(call.shape.bias)).fill(0);
    runBackward(call, { q: 0, k: 0, v: 0, bias, sink: 0, gate: 0 });
  },
  reference: referenceOf('bias'),
});
