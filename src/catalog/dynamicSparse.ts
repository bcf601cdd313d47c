import { SOFTMAX_ATTENTION } from './bounds';
import type { CatalogEntry, InputSpec } from './types';

const qkv = (B: number, T: number, Hq: number, Hkv: number, D: number, Dv = D) => ({
  q: { shape: [B, T, Hq, D] },
  k: { shape: [B, T, Hkv, D] },
  v: { shape: [B, T, Hkv, Dv] },
});
const gate = (B: number, T: number, H: number): InputSpec => ({ shape: [B, T, H], draw: 'sigmoid' });
const compressed = (B: number, T: number, C: number, Hq: number, Hkv: number, D: number, Dv = D) => ({
  q: { shape: [B, T, Hq, D] },
  kCmp: { shape: [B, C, Hkv, D] },
  vCmp: { shape: [B, C, Hkv, Dv] },
});
const indexer = (B: number, T: number, HI: number, DI: number) => ({
  qIdx: { shape: [B, T, HI, DI] },
  kIdx: { shape: [B, T, DI] },
  wIdx: { shape: [B, T, HI] },
});

const NSA = { title: 'Native Sparse Attention', url: 'https://arxiv.org/abs/2502.11089' };

export const dynamicSparse: CatalogEntry[] = [
  {
    name: 'nativeSparseAttention',
    family: 'sparse',
    summary: 'Native sparse attention: block means, chosen blocks and a window, gated',
    paper: NSA,
    bounds: SOFTMAX_ATTENTION,
    cases: [
      {
        id: 'T37-Hq4-Hkv2-D8-block8-top3-window5',
        inputs: { ...qkv(1, 37, 4, 2, 8), gCmp: gate(1, 37, 4), gSlc: gate(1, 37, 4), gSwa: gate(1, 37, 4) },
        call: (ops, { q, k, v, gCmp, gSlc, gSwa }) =>
          ops.nativeSparseAttention(q, k, v, gCmp, gSlc, gSwa, {
            blockSize: 8,
            blockCounts: 3,
            windowSize: 5,
          }),
      },
      {
        id: 'B2-T19-Hq3-Hkv1-D5-Dv7-block4-top4-no-window',
        inputs: { ...qkv(2, 19, 3, 1, 5, 7), gCmp: gate(2, 19, 3), gSlc: gate(2, 19, 3) },
        call: (ops, { q, k, v, gCmp, gSlc }) =>
          ops.nativeSparseAttention(q, k, v, gCmp, gSlc, undefined, {
            blockSize: 4,
            blockCounts: 4,
            scale: 0.7,
          }),
      },
    ],
  },
  {
    name: 'nsaCompress',
    family: 'sparse',
    summary: 'Native sparse attention: over the summaries of finished blocks',
    paper: NSA,
    bounds: SOFTMAX_ATTENTION,
    cases: [
      {
        id: 'T37-C4-Hq4-Hkv2-D8',
        inputs: compressed(1, 37, 4, 4, 2, 8),
        call: (ops, { q, kCmp, vCmp }) => ops.nsaCompress(q, kCmp, vCmp, { blockSize: 8 }),
      },
      {
        id: 'B2-T21-C7-Hq3-Hkv1-D5-Dv9',
        inputs: compressed(2, 21, 7, 3, 1, 5, 9),
        call: (ops, { q, kCmp, vCmp }) => ops.nsaCompress(q, kCmp, vCmp, { blockSize: 3, scale: 0.7 }),
      },
    ],
  },
  {
    name: 'nsaTopK',
    family: 'sparse',
    summary: 'Native sparse attention: the blocks every query selects',
    paper: NSA,
    bounds: { r: 0, m: 0, gradient: 0 },
    cases: [
      {
        id: 'T70-C17-Hq4-Hkv2-D8-top6',
        inputs: compressed(1, 70, 17, 4, 2, 8),
        call: (ops, { q, kCmp }) => ops.nsaTopK(q, kCmp, { blockSize: 4, blockCounts: 6 }),
        differentiable: [],
      },
      {
        id: 'B2-T37-C12-Hq6-Hkv2-D5-top4',
        inputs: compressed(2, 37, 12, 6, 2, 5),
        call: (ops, { q, kCmp }) => ops.nsaTopK(q, kCmp, { blockSize: 3, blockCounts: 4, scale: 0.7 }),
        differentiable: [],
      },
    ],
  },
  {
    name: 'nsaSelect',
    family: 'sparse',
    summary: 'Native sparse attention: over the selected blocks',
    paper: NSA,
    bounds: SOFTMAX_ATTENTION,
    cases: [
      {
        id: 'T9-Hq4-Hkv2-D6-Dv3-block2',
        inputs: {
          ...qkv(1, 9, 4, 2, 6, 3),
          indices: {
            shape: [1, 9, 2, 3],
            dtype: 'int32',
            // a block after the query holds nothing, a row may be empty
            values: Array.from({ length: 18 }, () => [
              [0, 1, 4],
              [2, -1, -1],
              [-1, -1, -1],
              [0, 3, -1],
            ]).flatMap((rows, row) => rows[row % 4]),
          },
        },
        call: (ops, { q, k, v, indices }) => ops.nsaSelect(q, k, v, indices, { blockSize: 2 }),
      },
    ],
  },
  {
    name: 'mobaAttention',
    family: 'sparse',
    summary: 'Mixture of block attention: the chunks whose mean key scores highest',
    paper: { title: 'MoBA', url: 'https://arxiv.org/abs/2502.13189' },
    bounds: SOFTMAX_ATTENTION,
    cases: [
      {
        id: 'B2-T37-H2-D8-chunk8-top3',
        inputs: qkv(2, 37, 2, 2, 8),
        call: (ops, { q, k, v }) => ops.mobaAttention(q, k, v, { chunkSize: 8, topk: 3 }),
      },
      {
        id: 'packed-T40-Hq6-Hkv2-D5-Dv3-chunk3-top2',
        inputs: qkv(1, 40, 6, 2, 5, 3),
        call: (ops, { q, k, v }) =>
          ops.mobaAttention(q, k, v, { chunkSize: 3, topk: 2, scale: 0.7, cuSeqlens: [0, 1, 1, 23, 40] }),
      },
      {
        id: 'T23-H1-D4-own-chunk-only',
        inputs: qkv(1, 23, 1, 1, 4),
        call: (ops, { q, k, v }) => ops.mobaAttention(q, k, v, { chunkSize: 5, topk: 1 }),
      },
    ],
  },
  {
    name: 'deepseekSparseAttention',
    family: 'sparse',
    summary: 'DeepSeek sparse attention: the tokens a lightning indexer chooses',
    paper: { title: 'DeepSeek-V3.2', url: 'https://arxiv.org/abs/2512.02556' },
    bounds: SOFTMAX_ATTENTION,
    cases: [
      {
        id: 'B2-T33-Hq4-Hkv2-D8-HI3-DI5-top6',
        inputs: { ...qkv(2, 33, 4, 2, 8), ...indexer(2, 33, 3, 5) },
        call: (ops, { q, k, v, qIdx, kIdx, wIdx }) => {
          const options = { topk: 6, returnIndices: true } as const;
          const { output, indices } = ops.deepseekSparseAttention(q, k, v, qIdx, kIdx, wIdx, options);
          return [output, indices];
        },
        differentiable: ['q', 'k', 'v'],
      },
      {
        id: 'T21-Hq3-Hkv1-D5-Dv7-HI9-DI4-top9',
        inputs: { ...qkv(1, 21, 3, 1, 5, 7), ...indexer(1, 21, 9, 4) },
        call: (ops, { q, k, v, qIdx, kIdx, wIdx }) =>
          ops.deepseekSparseAttention(q, k, v, qIdx, kIdx, wIdx, { topk: 9, scale: 0.7, indexScale: 0.3 }),
        differentiable: ['q', 'k', 'v'],
      },
    ],
  },
];
