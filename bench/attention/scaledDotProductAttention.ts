import { concat, matMul, mul, reshape, slice, softmax, type Tensor, transpose } from '@tensorflow/tfjs-core';
import { blockedAttention, decodeAttention } from '../onnx/attention';
import type { Workload } from '../types';

/** What one writes first: batched products and a softmax over the T x T scores. Causal workloads leave its mask out, in its favour. */
function naive({ q, k, v }: Record<string, Tensor>): Tensor {
  const [qh, kh, vh] = [q, k, v].map((x) => transpose(x, [0, 2, 1, 3]));
  return transpose(matMul(softmax(mul(matMul(qh, kh, false, true), q.shape[3]! ** -0.5)), vh), [0, 2, 1, 3]);
}

/** The fastest form tfjs-wasm has: one 2-D product per head, keys transposed beforehand, no mask. */
function tuned({ q, k, v }: Record<string, Tensor>): Tensor {
  const [, Tq, Hq, D] = q.shape as number[];
  const [, Tk, Hkv] = k.shape as number[];
  const head = (x: Tensor, T: number, h: number) => reshape(slice(x, [0, 0, h, 0], [1, T, 1, D]), [T, D]);
  const keys = Array.from({ length: Hkv }, (_, h) => transpose(head(k, Tk, h)));
  const values = Array.from({ length: Hkv }, (_, h) => head(v, Tk, h));
  const heads = Array.from({ length: Hq }, (_, h) => {
    const kv = Math.floor((h * Hkv) / Hq);
    const scores = softmax(mul(matMul(head(q, Tq, h), keys[kv]), D ** -0.5));
    return reshape(matMul(scores, values[kv]), [1, Tq, 1, D]);
  });
  return concat(heads, 2);
}

interface Sizes {
  Tq: number;
  Tk?: number;
  Hq?: number;
  Hkv?: number;
  D?: number;
  isCausal?: boolean;
  window?: number;
}

function workload(id: string, sizes: Sizes, options: Partial<Workload> = {}): Workload {
  const { Tq, Tk = Tq, Hq = 8, Hkv = Hq, D = 64, isCausal = false, window } = sizes;
  const pairs = Array.from({ length: Tq }, (_, i) => Math.min(isCausal ? i + 1 + Tk - Tq : Tk, window ?? Tk));
  return {
    op: 'scaledDotProductAttention',
    id: `${id} H${Hq}${Hkv === Hq ? '' : `/${Hkv}`} D${D}`,
    inputs: {
      q: { shape: [1, Tq, Hq, D] },
      k: { shape: [1, Tk, Hkv, D] },
      v: { shape: [1, Tk, Hkv, D] },
    },
    flops: 4 * Hq * D * pairs.reduce((a, b) => a + b, 0),
    call: (ops, { q, k, v }) => ops.scaledDotProductAttention(q, k, v, { isCausal, window }),
    rivals: { tuned },
    onnx: { blocked: (tensors) => blockedAttention(tensors, { isCausal, window }) },
    ...options,
  };
}

const differentiable = ['q', 'k', 'v'];
const lengths = [512, 1024, 2048];

export const scaledDotProductAttention: Workload[] = [
  workload('full T16', { Tq: 16 }, { rivals: { naive }, onnx: {} }),
  workload('causal T32', { Tq: 32, isCausal: true }, { quick: true, rivals: { naive }, onnx: {} }),
  workload('full T64', { Tq: 64 }, { rivals: { naive }, onnx: {} }),
  ...lengths.flatMap((T) => [
    workload(
      `causal T${T}`,
      { Tq: T, isCausal: true },
      { quick: T === 512, rivals: { naive, tuned }, differentiable },
    ),
    workload(`full T${T}`, { Tq: T }, { quick: T === 512, rivals: { naive, tuned }, differentiable }),
  ]),
  workload('causal T4096', { Tq: 4096, isCausal: true }, { rivals: { tuned }, differentiable }),
  workload('full T4096', { Tq: 4096 }, { rivals: { tuned } }),
  workload('full T1024', { Tq: 1024, D: 128 }),
  workload('causal T1024', { Tq: 1024, Hq: 16, Hkv: 4, D: 128, isCausal: true }, { differentiable }),
  workload('causal window 256 T4096', { Tq: 4096, isCausal: true, window: 256 }),
  ...[4096, 16384].map((Tk) =>
    workload(
      `decode ${Tk} keys`,
      { Tq: 1, Tk, Hq: 16, Hkv: 4, D: 128, isCausal: true },
      { onnx: { GroupQueryAttention: decodeAttention } },
    ),
  ),
];
