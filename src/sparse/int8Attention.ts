import type { Tensor } from '@tensorflow/tfjs-core';
import { checkFinite, checkMultiple, checkObject, checkShapes } from '../tensor/shape';
import { defineSparseOp } from './family';
import { int8AttentionReference, quantizeReference } from './int8Attention.reference';

/** A tensor in int8: `x = scale * int8`, row by row. */
export interface QuantizedRows {
  /** int32 `[B, T, H, words]`: four int8 each, the first in the low byte, zeros up to a multiple of 16 channels. */
  values: Tensor;
  /** `[B, T, H]` */
  scales: Tensor;
}

export interface Int8AttentionOptions {
  /** Channels of a value; default D. */
  valueDim?: number;
  /** Keys in use; default all. */
  kvLength?: number;
  /** Position of query 0 among the keys; default `kvLength - Tq`. A query sees keys up to its own position. */
  queryOffset?: number;
  /** Query at position p sees keys j with `p - window < j`. */
  window?: number;
  /** Default `D ** -0.5`. */
  scale?: number;
}

export interface Int8Attrs {
  scale: number;
  Dv: number;
  /** Keys [lo, hi) of every query. */
  ranges: Int32Array;
}

/** Keys of a block of the kernel, and of a work item. */
const KEYS = 64;
const SPLIT = 1024;

/** int32 words of a row of D channels in int8. */
export const wordsOf = (D: number) => 4 * Math.ceil(D / 16);

const quantize = defineSparseOp<'x', undefined>({
  name: 'quantizeInt8',
  outputs: ({ x }) => [
    { shape: [...x!.slice(0, 3), wordsOf(x![3])], dtype: 'int32' },
    { shape: x!.slice(0, 3), dtype: 'float32' },
  ],
  kernel: ({ input, shape, output, launch }) => {
    const [B, T, H, D] = shape.x!;
    launch('quantizeRows', B * T * H, input.x, output[0], output[1], D, 4 * wordsOf(D));
  },
  reference: ({ x }) => quantizeReference(x!, wordsOf(x!.shape[3])),
});

const op = defineSparseOp<'q' | 'keys' | 'keyScales' | 'values' | 'valueScales', Int8Attrs>({
  name: 'int8Attention',
  outputs: ({ q }, { Dv }) => [[q![0], q![1], q![2], Dv]],
  kernel: ({ input, shape, output, attrs, scratch, workspace, buffer, launch }) => {
    const { scale, Dv, ranges } = attrs;
    const [B, Tq, Hq, D] = shape.q!;
    const [, Tk, Hkv, words] = shape.keys!;
    const table = scratch(ranges.byteLength);
    new Int32Array(buffer(), table, ranges.length).set(ranges);
    const [pitch, pitchV] = [4 * words, 4 * shape.values![3]];
    const longest = ranges.reduce((most, hi, at) => (at % 2 ? Math.max(most, hi - ranges[at - 1]) : most), 1);
    const splits = Math.ceil(longest / SPLIT);
    const tiles = Math.ceil(Hq / 8);
    const parts = scratch(B * Tq * tiles * splits * (128 + 32 * pitchV));
    const lse = scratch(4 * B * Tq * Hq);
    const heads = 4 * Math.ceil(Hq / 4);
    const bytes = heads * (2 * pitch + 4) + KEYS * (32 + 8) + 16 + 2 * pitch;
    // biome-ignore format: one argument list per line of the entry point
    launch('int8Attention', B * Tq * splits,
      input.q, input.keys, input.keyScales, input.values, input.valueScales, table, parts,
      Tq, Tk, Hq, Hkv, D, pitch, pitchV, scale, splits, SPLIT, workspace(bytes));
    launch('attentionMerge', B * Tq * tiles, parts, output[0], lse, 0, splits, Hq, Dv, pitchV, 8);
  },
  reference: (x, attrs) => [int8AttentionReference(x, attrs)],
});

/**
 * Rows in int8 with a scale each, `scale = max |x| / 127`, rounded half to even. No gradient.
 *
 * @param x `[B, T, H, D]`
 * @returns `{ values, scales }`: values int32 `[B, T, H, words]`, four int8 each, and scales `[B, T, H]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Zhang et al., "SageAttention: Accurate 8-Bit Attention for Plug-and-Play Inference Acceleration"
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { quantizeInt8, ready } from 'linnet';
 *
 * await ready();
 * const x = randomNormal([1, 128, 2, 32]);
 * const { values, scales } = quantizeInt8(x); // values [1, 128, 2, 8], scales [1, 128, 2]
 * ```
 */
export function quantizeInt8(x: Tensor): QuantizedRows {
  checkShapes('quantizeInt8', [['x', x, 'B T H D']]);
  const [values, scales] = quantize.run({ x }, undefined);
  return { values, scales };
}

/**
 * Causal softmax attention over keys and values in int8, as `quantizeInt8` makes them: a quarter of the memory of
 * float32 to read. Queries and weights are rounded to int16 for integer products, an error below 1e-4 of the result. For decoding:
 * each query reads its keys by itself. No gradient.
 *
 * @param q `[B, Tq, Hq, D]`
 * @param k keys `[B, Tk, Hkv, D]` in int8
 * @param v values `[B, Tk, Hkv, Dv]` in int8
 * @returns `[B, Tq, Hq, Dv]`
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see Zhang et al., "SageAttention: Accurate 8-Bit Attention for Plug-and-Play Inference Acceleration"
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { int8Attention, quantizeInt8, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 1, 4, 32]);
 * const k = randomNormal([1, 128, 2, 32]);
 * const v = randomNormal([1, 128, 2, 32]);
 * const output = int8Attention(q, quantizeInt8(k), quantizeInt8(v)); // [1, 1, 4, 32]
 * ```
 */
export function int8Attention(
  q: Tensor,
  k: QuantizedRows,
  v: QuantizedRows,
  options: Int8AttentionOptions = {},
): Tensor {
  const name = 'int8Attention';
  checkObject(name, 'k', k, '{ values, scales }');
  checkObject(name, 'v', v, '{ values, scales }');
  const { Tq, Hq, D, Tk, Hkv } = checkShapes(name, [
    ['q', q, 'B Tq Hq D'],
    ['k.values', k.values, 'B Tk Hkv wordsK', 'int32'],
    ['k.scales', k.scales, 'B Tk Hkv'],
    ['v.values', v.values, 'B Tk Hkv wordsV', 'int32'],
    ['v.scales', v.scales, 'B Tk Hkv'],
  ]);
  checkMultiple(name, 'Hq', Hq, 'Hkv', Hkv);
  const { valueDim = D, kvLength = Tk, window = Infinity, scale = D ** -0.5 } = options;
  if (!Number.isInteger(valueDim))
    throw new RangeError(`${name}: valueDim must be an integer; got ${valueDim}`);
  for (const [of, tensor, channels] of [
    ['k', k.values, D],
    ['v', v.values, valueDim],
  ] as const) {
    if (tensor.shape[3] !== wordsOf(channels)) {
      throw new RangeError(
        `${name}: ${of}.values has ${tensor.shape[3]} words a row; expected ${wordsOf(channels)} for ${channels} channels`,
      );
    }
  }
  if (!Number.isInteger(kvLength) || kvLength < 0 || kvLength > Tk) {
    throw new RangeError(`${name}: kvLength is ${kvLength}; expected an integer from 0 to Tk = ${Tk}`);
  }
  const { queryOffset = kvLength - Tq } = options;
  if (!Number.isInteger(queryOffset))
    throw new RangeError(`${name}: queryOffset must be an integer; got ${queryOffset}`);
  if (!(window >= 0)) throw new RangeError(`${name}: window is ${window}; expected a size of at least 0`);
  checkFinite(name, 'scale', scale);
  const ranges = new Int32Array(2 * Tq);
  for (let i = 0; i < Tq; i++) {
    const own = queryOffset + i;
    ranges.set([Math.max(0, own - window + 1), Math.min(kvLength, own + 1)], 2 * i);
  }
  const inputs = { q, keys: k.values, keyScales: k.scales, values: v.values, valueScales: v.scales };
  return op.run(inputs, { scale, Dv: valueDim, ranges })[0];
}
