import type { Tensor } from '@tensorflow/tfjs-core';
import { scaledDotProductAttention } from '../../src/attention';
import type { Workload } from '../types';

const [T, H, D] = [4096, 4, 64];
const tokens = { shape: [1, T, H, D] };
const qkv = { q: tokens, k: tokens, v: tokens };
const gate = { shape: [1, T, H], draw: 'sigmoid' } as const;
const dense = {
  dense: ({ q, k, v }: Readonly<Record<string, Tensor>>) =>
    scaledDotProductAttention(q, k, v, { isCausal: true }),
};
/** Of scores and values: a query and a key. */
const pair = 4 * D * H;

/** Attention of tokens that belong together by hash, cluster, match or choice, against dense causal attention. */
export const clustered: Workload[] = [
  {
    op: 'lshAttention',
    id: `T${T} H${H} D${D} 2 hashes chunks of 64`,
    inputs: { qk: tokens, v: tokens },
    flops: pair * T * 2 * 128,
    differentiable: ['qk', 'v'],
    call: (ops, { qk, v }) => ops.lshAttention(qk, v, { buckets: 64, hashes: 2, chunkSize: 64, seed: 1 }),
    rivals: { dense: ({ qk, v }) => scaledDotProductAttention(qk, qk, v, { isCausal: true }) },
  },
  {
    op: 'routingAttention',
    id: `T${T} H${H} D${D} 16 clusters of 256`,
    inputs: { ...qkv, centroids: { shape: [H, 16, D] } },
    flops: pair * 16 * 256 * 128,
    differentiable: ['q', 'k', 'v'],
    call: (ops, { q, k, v, centroids }) => ops.routingAttention(q, k, v, centroids, { topk: 256 }),
    rivals: dense,
  },
  {
    op: 'sinkhornAttention',
    id: `T${T} H${H} D${D} blocks of 64`,
    inputs: { ...qkv, logits: { shape: [1, H, T / 64, T / 64] } },
    flops: pair * T * 128,
    differentiable: ['q', 'k', 'v'],
    call: (ops, { q, k, v, logits }) => ops.sinkhornAttention(q, k, v, logits, { blockSize: 64 }),
    rivals: dense,
  },
  {
    op: 'memorizingAttention',
    id: `T512 H${H} D${D} memory ${T} top-32`,
    inputs: {
      q: { shape: [1, 512, H, D] },
      k: { shape: [1, 512, H, D] },
      v: { shape: [1, 512, H, D] },
      memoryKeys: tokens,
      memoryValues: tokens,
      g: { shape: [1, 512, H], draw: 'sigmoid' },
      l: { shape: [1, 512, H], draw: 'sigmoid' },
    },
    flops: pair * 512 * (T / 2 + 32 + 256),
    differentiable: ['q', 'k', 'v', 'memoryKeys', 'memoryValues'],
    call: (ops, { q, k, v, memoryKeys, memoryValues, g, l }) =>
      ops.memorizingAttention(q, k, v, memoryKeys, memoryValues, g, l, { topk: 32 }),
  },
  {
    op: 'mosaAttention',
    id: `T${T} H${H} D${D} top-512`,
    inputs: { ...qkv, scores: gate },
    flops: pair * 512 * 256,
    differentiable: ['q', 'k', 'v', 'scores'],
    call: (ops, { q, k, v, scores }) => ops.mosaAttention(q, k, v, scores, { topk: 512 }),
    rivals: dense,
  },
];
