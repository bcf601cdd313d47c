import { SOFTMAX_ATTENTION } from './bounds';
import type { CatalogEntry } from './types';

const qkv = (B: number, T: number, Hq: number, Hkv: number, D: number, Dv = D) => ({
  q: { shape: [B, T, Hq, D] },
  k: { shape: [B, T, Hkv, D] },
  v: { shape: [B, T, Hkv, Dv] },
});

export const clusteredSparse: CatalogEntry[] = [
  {
    name: 'lshAttention',
    family: 'sparse',
    summary: 'Reformer: attention within hash buckets',
    paper: { title: 'Reformer', url: 'https://arxiv.org/abs/2001.04451' },
    bounds: SOFTMAX_ATTENTION,
    cases: [
      {
        id: 'B2-T23-H2-D5-Dv3',
        inputs: { qk: { shape: [2, 23, 2, 5] }, v: { shape: [2, 23, 2, 3] } },
        call: (ops, { qk, v }) => ops.lshAttention(qk, v, { buckets: 4, hashes: 2, chunkSize: 5, seed: 1 }),
      },
    ],
  },
  {
    name: 'routingAttention',
    family: 'sparse',
    summary: 'Routing transformer: attention within clusters of a centroid',
    paper: { title: 'Routing Transformers', url: 'https://arxiv.org/abs/2003.05997' },
    bounds: SOFTMAX_ATTENTION,
    cases: [
      {
        id: 'B2-T21-Hq4-Hkv2-D5-C3',
        inputs: { ...qkv(2, 21, 4, 2, 5), centroids: { shape: [4, 3, 5] } },
        call: (ops, { q, k, v, centroids }) => ops.routingAttention(q, k, v, centroids, { topk: 9 }),
        differentiable: ['q', 'k', 'v'],
      },
    ],
  },
  {
    name: 'sinkhornAttention',
    family: 'sparse',
    summary: 'Sparse Sinkhorn attention: the own block and a matched one',
    paper: { title: 'Sparse Sinkhorn Attention', url: 'https://arxiv.org/abs/2002.11296' },
    bounds: SOFTMAX_ATTENTION,
    cases: [
      {
        id: 'B2-T21-Hq4-Hkv2-D5-block4',
        inputs: { ...qkv(2, 21, 4, 2, 5), logits: { shape: [2, 4, 6, 6] } },
        call: (ops, { q, k, v, logits }) => ops.sinkhornAttention(q, k, v, logits, { blockSize: 4 }),
        differentiable: ['q', 'k', 'v'],
      },
    ],
  },
  {
    name: 'memorizingAttention',
    family: 'sparse',
    summary: 'Memorizing transformer: nearest neighbours in a memory beside local attention',
    paper: { title: 'Memorizing Transformers', url: 'https://arxiv.org/abs/2203.08913' },
    bounds: SOFTMAX_ATTENTION,
    cases: [
      {
        id: 'B2-T9-M30-Hq4-Hkv2-D5-Dv3-top6',
        inputs: {
          ...qkv(2, 9, 4, 2, 5, 3),
          mk: { shape: [2, 30, 2, 5] },
          mv: { shape: [2, 30, 2, 3] },
          g: { shape: [2, 9, 4], draw: 'sigmoid' },
          l: { shape: [2, 9, 4], draw: 'sigmoid' },
        },
        call: (ops, { q, k, v, mk, mv, g, l }) => ops.memorizingAttention(q, k, v, mk, mv, g, l, { topk: 6 }),
      },
    ],
  },
  {
    name: 'mosaAttention',
    family: 'sparse',
    summary: 'Mixture of sparse attention: every head chooses its tokens',
    paper: { title: 'MoSA', url: 'https://arxiv.org/abs/2505.00315' },
    bounds: SOFTMAX_ATTENTION,
    cases: [
      {
        id: 'B2-T21-Hq4-Hkv2-D5-top8',
        inputs: { ...qkv(2, 21, 4, 2, 5), scores: { shape: [2, 21, 4], draw: 'sigmoid' } },
        call: (ops, { q, k, v, scores }) => ops.mosaAttention(q, k, v, scores, { topk: 8 }),
      },
    ],
  },
];
