import type { SparseKernels } from '../generated/sparse';
import type { GradientCall, KernelCall, Shape } from '../op/define';
import { type BlockTable, queryBlocks } from './blockTable';
import { defineSparseOp } from './family';
import type { FlexAttrs, FlexBackwardInput, FlexInput } from './flexAttention.attrs';
import { flexAttentionReference, flexBackwardReference } from './flexAttention.reference';

/** Rows (query, head) that share the packing of a key block: 256 hold Q and O in 128 KiB at D = 64. */
const ROWS_PER_ITEM = 256;
/** Keys of a packed block, and rows of a tile of the backward pass, as in the kernels. */
const KEYS = 64;
const BACKWARD_ROWS = 32;
/** Keys of a mean run from which on rows are gathered, and rows whose sums wait together. */
const MEAN_RUN = 16;
const SCATTERED_ROWS = 1024;

const ceil8 = (n: number) => Math.ceil(n / 8) * 8;

function sizesOf({ q, k, v }: { readonly [name in FlexInput]?: Shape }, { table }: FlexAttrs) {
  const [B, Tq, Hq, D] = q!;
  const [, Tkv, Hkv] = k!;
  // query heads of one mask and one key head
  const share = Hkv === 0 ? 1 : Math.min(Hq / Hkv, Hq / table.H);
  const rows = ceil8(Math.min(table.blockQ, Tq) * share);
  return { B, Tq, Hq, D, Tkv, Hkv, Dv: v![3], share, rows: Math.min(ROWS_PER_ITEM, rows) };
}

/** Writes the block table and the score modifications of a call to scratch. */
function describe<I extends FlexInput>(call: KernelCall<I, FlexAttrs, SparseKernels>) {
  const { attrs, scratch, launch } = call;
  const { Tq, Hq, Tkv, share } = sizesOf(call.shape as { readonly [name in FlexInput]?: Shape }, attrs);
  const { offsets, runs, bitmaps, B, H, blockQ } = attrs.table;
  const packed = bitmaps.packed();
  const blocks = scratch(7 * 4);
  const mods = scratch(3 * 4);
  const pointers = [offsets, runs, packed.data].map((data) => {
    const pointer = scratch(data.byteLength);
    new Uint8Array(call.buffer(), pointer, data.byteLength).set(
      new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
    );
    return pointer;
  });
  const input = call.input as Partial<Record<FlexInput, number>>;
  const bytes = (Hq / share) * ((Tq + Tkv - 1) * share + 8) * 4;
  const terms = [input.before, input.after].map((given) => (given ? scratch(bytes) : 0));
  new Int32Array(call.buffer(), blocks, 7).set([...pointers, packed.bytes, B, H, blockQ]);
  new Int32Array(call.buffer(), mods, 2).set(terms);
  new Float32Array(call.buffer(), mods, 3)[2] = attrs.softcap;
  [input.before, input.after].forEach((given, i) => {
    if (given) launch('layTerms', Hq / share, given, terms[i], Tq, Tkv, share);
  });
  return { blocks, mods, termBytes: bytes };
}

/**
 * Attention over the key runs of a block table, any query block size down to 1: the kernel under `flexAttention` and the
 * ops that choose their blocks by content. The table must fit q and k, its heads divide Hq and divide Hkv or be a
 * multiple of it. Outputs are output [B, Tq, Hq, Dv] and lse [B, Tq, Hq]; gradients of all inputs.
 */
export const blockAttention = defineSparseOp<FlexInput, FlexAttrs>({
  name: 'flexAttention',
  outputs: ({ q, v }) => [
    [q![0], q![1], q![2], v![3]],
    [q![0], q![1], q![2]],
  ],
  kernel: (call) => {
    const { input, output, attrs, workspace, launch } = call;
    const { B, Tq, Hq, D, Tkv, Hkv, Dv, share, rows } = sizesOf(call.shape, attrs);
    const modified = input.before || input.after || attrs.softcap > 0;
    if (!modified && isOfQueries(attrs.table))
      return isScattered(attrs.table) ? scatterForward(call) : gatherForward(call);
    const { blocks, mods } = describe(call);
    const parts = Math.ceil((attrs.table.blockQ * share) / rows);
    const floats = rows * (D + ceil8(Dv) + 4) + KEYS * (D + ceil8(Dv) + 8) + 8 + (3 * KEYS) / 4;
    // biome-ignore format: one argument list per line of the entry point
    launch('flexForward', B * (Hq / share) * queryBlocks(attrs.table) * parts,
      input.q, input.k, input.v, output[0], output[1], blocks, mods,
      Tq, Tkv, Hq, Hkv, D, Dv, attrs.scale, share, rows, workspace(4 * floats));
  },
  reference: flexAttentionReference,
  saveOutputs: [true, true],
  gradient: ({ inputs, outputs, dy, attrs }: GradientCall<FlexInput, FlexAttrs>) => {
    const [output, lse] = outputs;
    const [q, k, v, before, after] = backward.run(
      { ...inputs, output, lse, dOutput: dy[0], dLse: dy[1] },
      attrs,
    );
    return { q, k, v, before, after };
  },
});

/** Whether every query has a list of keys of its own. */
function isOfQueries({ blockQ, bitmaps }: BlockTable): boolean {
  return blockQ === 1 && bitmaps.count === 0;
}

/** Whether the runs are so long that it pays to gather the queries of a block of keys. */
function isScattered({ runs }: BlockTable): boolean {
  let keys = 0;
  for (let i = 0; i < runs.length; i += 3) keys += runs[i + 1] - runs[i];
  return keys >= (runs.length / 3) * MEAN_RUN;
}

/** The greatest number of (run, block of keys) pairs of `queries` neighbouring queries. */
function mostEntries({ offsets, runs, Tq }: BlockTable, queries: number): number {
  let most = 0;
  for (let first = 0; first + 1 < offsets.length; first += Tq) {
    for (let i = first; i < first + Tq; i += queries) {
      let entries = 0;
      const end = 3 * offsets[Math.min(i + queries, first + Tq)];
      for (let run = 3 * offsets[i]; run < end; run += 3) {
        entries += Math.ceil(runs[run + 1] / KEYS) - Math.floor(runs[run] / KEYS);
      }
      most = Math.max(most, entries);
    }
  }
  return most;
}

function scatterForward(call: KernelCall<FlexInput, FlexAttrs, SparseKernels>): void {
  const { input, output, attrs, workspace, launch } = call;
  const { B, Tq, Hq, D, Tkv, Hkv, Dv, share } = sizesOf(call.shape, attrs);
  const { blocks } = describe(call);
  const queries = Math.max(1, Math.min(Tq, Math.floor(SCATTERED_ROWS / share)));
  const entries = mostEntries(attrs.table, queries);
  const pitchD = 4 * Math.ceil(D / 4);
  const floats =
    queries * share * (pitchD + ceil8(Dv) + 2) +
    Math.ceil(Tkv / KEYS) +
    1 +
    3 * entries +
    32 +
    8 * (D + ceil8(Dv)) +
    KEYS * (D + ceil8(Dv)) +
    8 * (KEYS + 1) +
    8;
  // biome-ignore format: one argument list per line of the entry point
  launch('scatterForward', B * (Hq / share) * Math.ceil(Tq / queries),
    input.q, input.k, input.v, output[0], output[1], blocks,
    Tq, Tkv, Hq, Hkv, D, Dv, attrs.scale, share, queries, entries, workspace(4 * floats));
}

function gatherForward(call: KernelCall<FlexInput, FlexAttrs, SparseKernels>): void {
  const { input, output, attrs, workspace, launch } = call;
  const { B, Tq, Hq, D, Tkv, Hkv, Dv, share } = sizesOf(call.shape, attrs);
  const { blocks } = describe(call);
  // biome-ignore format: one argument list per line of the entry point
  launch('gatherForward', B * (Hq / share) * Tq,
    input.q, input.k, input.v, output[0], output[1], blocks,
    Tq, Tkv, Hq, Hkv, D, Dv, attrs.scale, share, workspace(8 * KEYS + 16 + 8 * share));
}

const backward = defineSparseOp<FlexBackwardInput, FlexAttrs>({
  name: 'flexAttentionBackward',
  outputs: ({ q, k, v, before, after }) => [q!, k!, v!, before ?? [0], after ?? [0]],
  kernel: (call) => {
    const { input, shape, output, attrs, scratch, workspace, launch } = call;
    const { B, Tq, Hq, D, Tkv, Hkv, Dv, share, rows } = sizesOf(shape, attrs);
    const { blocks, mods, termBytes } = describe(call);
    const modified = input.before || input.after || attrs.softcap > 0;
    for (const [i, size] of [shape.k!, shape.v!].entries()) {
      new Uint8Array(call.buffer(), output[1 + i], 4 * size.reduce((n, d) => n * d, 1)).fill(0);
    }
    if (!modified && isOfQueries(attrs.table)) {
      // biome-ignore format: one argument list per line of the entry point
      launch('gatherBackward', B * Hkv,
        input.q, input.k, input.v, input.output, input.lse, input.dOutput, input.dLse, blocks,
        output[0], output[1], output[2],
        Tq, Tkv, Hq, Hkv, D, Dv, attrs.scale, workspace(12 * KEYS + 16));
      return;
    }
    const padded = Math.ceil(rows / BACKWARD_ROWS) * BACKWARD_ROWS;
    const [pitch, pitchV] = [ceil8(D), ceil8(Dv)];
    const floats = padded * (3 * pitch + 2 * pitchV + 3) + 2 * KEYS * (pitch + pitchV + BACKWARD_ROWS);
    const partials = [shape.before, shape.after].map((given) => (given ? scratch(B * termBytes) : 0));
    // biome-ignore format: one argument list per line of the entry point
    launch('flexBackward', B * Hkv,
      input.q, input.k, input.v, input.output, input.lse, input.dOutput, input.dLse, blocks, mods,
      output[0], output[1], output[2], partials[0], partials[1],
      Tq, Tkv, Hq, Hkv, D, Dv, attrs.scale, share, rows, workspace(4 * floats));
    partials.forEach((partial, i) => {
      if (partial) launch('gatherTerms', Hq / share, partial, output[3 + i], B, Hq / share, Tq, Tkv, share);
    });
  },
  reference: flexBackwardReference,
});
