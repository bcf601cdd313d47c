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

export const int8Decode: Workload[] = [decode(8, 2)];
