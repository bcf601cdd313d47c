import { INT8_ROUNDING, INT16_PRODUCTS } from './bounds';
import type { CatalogEntry, InputSpec } from './types';

const SAGE = { title: 'SageAttention', url: 'https://arxiv.org/abs/2410.02367' };

/** Words of four int8, as drawn from a fixed sequence; the bytes from `channels` on are 0. */
function words(rows: readonly [number, number, number], channels: number): InputSpec {
  const size = 16 * Math.ceil(channels / 16);
  const count = rows.reduce((n, d) => n * d, 1);
  const bytes = Int8Array.from({ length: count * size }, (_, i) =>
    i % size < channels ? ((i * 2654435761) >>> 9) & 255 : 0,
  );
  return { shape: [...rows, size / 4], dtype: 'int32', values: [...new Int32Array(bytes.buffer)] };
}

export const int8: CatalogEntry[] = [
  {
    name: 'quantizeInt8',
    family: 'sparse',
    summary: 'Rows in int8 with a scale each',
    paper: SAGE,
    bounds: { r: 1e-7, m: 1e-7, gradient: 0 },
    cases: [
      {
        id: 'B2-T5-H3-D19',
        inputs: { x: { shape: [2, 5, 3, 19] } },
        call: (ops, { x }) => {
          const { values, scales } = ops.quantizeInt8(x);
          return [values, scales];
        },
        differentiable: [],
      },
    ],
  },
  {
    name: 'int8Attention',
    family: 'sparse',
    summary: 'Attention over keys and values in int8',
    paper: SAGE,
    bounds: INT16_PRODUCTS,
    cases: [
      {
        id: 'B2-Tq1-Tk75-Hq4-Hkv2-D16',
        inputs: {
          q: { shape: [2, 1, 4, 16] },
          k: words([2, 75, 2], 16),
          ks: { shape: [2, 75, 2], scale: 0.01 },
          v: words([2, 75, 2], 16),
          vs: { shape: [2, 75, 2], scale: 0.01 },
        },
        call: (ops, { q, k, ks, v, vs }) =>
          ops.int8Attention(q, { values: k, scales: ks }, { values: v, scales: vs }),
        differentiable: [],
      },
      {
        id: 'Tq3-Tk40-length37-Hq7-window20-D21-Dv5',
        inputs: {
          q: { shape: [1, 3, 7, 21] },
          k: words([1, 40, 1], 21),
          ks: { shape: [1, 40, 1], scale: 0.01 },
          v: words([1, 40, 1], 5),
          vs: { shape: [1, 40, 1], scale: 0.01 },
        },
        call: (ops, { q, k, ks, v, vs }) =>
          ops.int8Attention(
            q,
            { values: k, scales: ks },
            { values: v, scales: vs },
            { valueDim: 5, kvLength: 37, window: 20 },
          ),
        differentiable: [],
      },
      {
        id: 'splits-Tq2-Tk1025-Hq10-Hkv2-D40-Dv48',
        inputs: {
          q: { shape: [1, 2, 10, 40] },
          k: words([1, 1025, 2], 40),
          ks: { shape: [1, 1025, 2], scale: 0.01 },
          v: words([1, 1025, 2], 48),
          vs: { shape: [1, 1025, 2], scale: 0.01 },
        },
        call: (ops, { q, k, ks, v, vs }) =>
          ops.int8Attention(q, { values: k, scales: ks }, { values: v, scales: vs }, { valueDim: 48 }),
        differentiable: [],
      },
    ],
  },
  {
    name: 'sageAttention',
    family: 'sparse',
    summary: 'SageAttention: queries and keys in int8, the mean key taken out',
    paper: SAGE,
    bounds: INT8_ROUNDING,
    cases: [
      {
        id: 'B2-T70-Hq4-Hkv2-D16-causal',
        inputs: {
          q: { shape: [2, 70, 4, 16] },
          k: { shape: [2, 70, 2, 16], shift: 1 },
          v: { shape: [2, 70, 2, 16] },
        },
        call: (ops, { q, k, v }) => {
          const { output, lse } = ops.sageAttention(q, k, v, { isCausal: true, returnLse: true });
          return [output, lse];
        },
        differentiable: [],
      },
      {
        id: 'Tq9-Tk130-Hq6-Hkv2-D21-Dv5-blocks',
        inputs: {
          q: { shape: [1, 9, 6, 21] },
          k: { shape: [1, 130, 2, 21] },
          v: { shape: [1, 130, 2, 5] },
        },
        call: (ops, { q, k, v }) => ops.sageAttention(q, k, v, { smoothK: false, blockSize: 64, scale: 0.3 }),
        differentiable: [],
      },
    ],
  },
];
