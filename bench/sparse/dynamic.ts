import type { Tensor } from '@tensorflow/tfjs-core';
import { scaledDotProductAttention } from '../../src/attention';
import type { Workload } from '../types';

type Tensors = Readonly<Record<string, Tensor>>;

const causal = ({ q, k, v }: Tensors) => scaledDotProductAttention(q, k, v, { isCausal: true });

const T = 16384;
const D = 64;
const inputs = (Hq: number, Hkv: number, length = T) => ({
  q: { shape: [1, length, Hq, D] },
  k: { shape: [1, length, Hkv, D] },
  v: { shape: [1, length, Hkv, D] },
});
const gate = (H: number) => ({ shape: [1, T, H], draw: 'sigmoid' }) as const;

/** Keys in blocks of 64: 16 chosen, a window of 512 and the means of those before. */
const NSA = { blockSize: 64, blockCounts: 16, windowSize: 512 };
/** A query and the means of blocks of 64 keys. */
const compressed = {
  q: { shape: [1, T, 4, D] },
  kCmp: { shape: [1, T / 64, 1, D] },
  vCmp: { shape: [1, T / 64, 1, D] },
};
/** Four different blocks of a sequence of 4096, among them that of the query or a later, empty one. */
const selected = Array.from({ length: 4096 }, (_, t) => [0, 1, 2, Math.max(3, t >> 6)]).flat();
/** Own chunk and two others of 512 keys. */
const MOBA = { chunkSize: 512, topk: 3 };

/** Attention of the model against dense causal attention, and in int8. */
export const dynamic: Workload[] = [
  {
    op: 'nativeSparseAttention',
    id: `T${T} Hq4 Hkv1 D${D}`,
    inputs: { ...inputs(4, 1), gCmp: gate(4), gSlc: gate(4), gSwa: gate(4) },
    flops: 4 * D * 4 * T * (16 * 64 - 32 + 512 + T / 128),
    call: (ops, { q, k, v, gCmp, gSlc, gSwa }) => ops.nativeSparseAttention(q, k, v, gCmp, gSlc, gSwa, NSA),
    rivals: { dense: causal },
  },
  {
    op: 'nsaCompress',
    id: `T${T} Hq4 Hkv1 D${D}`,
    inputs: compressed,
    flops: 4 * D * 4 * T * (T / 128),
    differentiable: ['q', 'kCmp', 'vCmp'],
    call: (ops, { q, kCmp, vCmp }) => ops.nsaCompress(q, kCmp, vCmp, { blockSize: 64 }),
  },
  {
    op: 'nsaTopK',
    id: `T${T} Hq4 Hkv1 D${D}`,
    inputs: compressed,
    flops: 2 * D * 4 * T * (T / 128),
    call: (ops, { q, kCmp }) => ops.nsaTopK(q, kCmp, { blockSize: 64, blockCounts: 16 }),
  },
  {
    op: 'nsaSelect',
    id: `T4096 Hq4 Hkv1 D${D} own and first 3 blocks`,
    inputs: { ...inputs(4, 1, 4096), indices: { shape: [1, 4096, 1, 4], dtype: 'int32', values: selected } },
    flops: 4 * D * 4 * 4096 * (4 * 64 - 32),
    differentiable: ['q', 'k', 'v'],
    call: (ops, { q, k, v, indices }) => ops.nsaSelect(q, k, v, indices, { blockSize: 64 }),
  },
  {
    op: 'deepseekSparseAttention',
    id: `T4096 Hq4 Hkv4 D${D} indexer 4 x 32 top-512`,
    inputs: {
      ...inputs(4, 4, 4096),
      qIdx: { shape: [1, 4096, 4, 32] },
      kIdx: { shape: [1, 4096, 32] },
      wIdx: { shape: [1, 4096, 4] },
    },
    flops: 4 * 4096 * (32 * 4096 + 4 * D * 512),
    differentiable: ['q', 'k', 'v'],
    call: (ops, { q, k, v, qIdx, kIdx, wIdx }) =>
      ops.deepseekSparseAttention(q, k, v, qIdx, kIdx, wIdx, { topk: 512 }),
    rivals: { dense: causal },
  },
  {
    op: 'mobaAttention',
    id: `T${T} H2 D${D}`,
    inputs: inputs(2, 2),
    flops: 4 * D * 2 * T * (2 * 512 + 256),
    call: (ops, { q, k, v }) => ops.mobaAttention(q, k, v, MOBA),
    rivals: { dense: causal },
  },
  {
    op: 'sageAttention',
    id: `causal T2048 H4 D${D}`,
    quick: true,
    inputs: inputs(4, 4, 2048),
    flops: 2 * D * 4 * 2048 * 2048,
    call: (ops, { q, k, v }) => ops.sageAttention(q, k, v, { isCausal: true }),
    rivals: { dense: causal },
  },
  {
    op: 'attentionMass',
    id: `Tq16 Tk${T} Hq8 Hkv2 D${D}`,
    inputs: { q: { shape: [1, 16, 8, D] }, k: { shape: [1, T, 2, D] } },
    flops: 2 * D * 8 * 16 * T,
    call: (ops, { q, k }) => ops.attentionMass(q, k),
  },
  {
    op: 'quantizeInt8',
    id: `T4096 H8 D${D}`,
    inputs: { x: { shape: [1, 4096, 8, D] } },
    flops: 4 * 4096 * 8 * D,
    call: (ops, { x }) => {
      const { values, scales } = ops.quantizeInt8(x);
      return [values, scales];
    },
  },
];

/** int32 words of a row of D int8. */
const words = D / 4;

function decode(Hq: number, Hkv: number): Workload {
  const rows = [1, T, Hkv];
  const int8 = {
    shape: [...rows, words],
    dtype: 'int32',
    values: Array.from({ length: T * Hkv * words }, (_, i) => Math.imul(i, 2654435761) | 0),
  } as const;
  const float = { shape: [...rows, D] };
  const scales = { shape: rows, scale: 0.01 };
  return {
    op: 'int8Attention',
    id: `decode Tk${T} Hq${Hq} Hkv${Hkv} D${D}`,
    inputs: {
      q: { shape: [1, 1, Hq, D] },
      k: int8,
      ks: scales,
      v: int8,
      vs: scales,
      kFloat: float,
      vFloat: float,
    },
    flops: 4 * D * Hq * T,
    bytes: 2 * T * Hkv * (D + 4),
    call: (ops, { q, k, ks, v, vs }) =>
      ops.int8Attention(q, { values: k, scales: ks }, { values: v, scales: vs }),
    rivals: { float32: ({ q, kFloat, vFloat }) => scaledDotProductAttention(q, kFloat, vFloat) },
  };
}

export const int8Decode: Workload[] = [decode(8, 2), decode(8, 8)];
