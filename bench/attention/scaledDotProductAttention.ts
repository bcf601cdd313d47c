import { concat, matMul, mul, reshape, slice, softmax, type Tensor, transpose } from '@tensorflow/tfjs-core';
import type { Workload } from '../types';

/** What one writes first: batched products and a softmax over the T x T scores. Causal workloads leave its mask out, in its favour. */
function naive({ q, k, v }: Record<string, Tensor>): Tensor {
  const [qh, kh, vh] = [q, k, v].map((x) => transpose(x, [0, 2, 1, 3]));
  return transpose(matMul(softmax(mul(matMul(qh, kh, false, true), q.shape[3]! ** -0.5)), vh), [0, 2, 1, 3]);
}

/** The fastest form tfjs-wasm has: one 2-D product per head, keys transposed beforehand. */
function tuned({ q, k, v }: Record<string, Tensor>): Tensor {
  const [, T, H, D] = q.shape as number[];
  const head = (x: Tensor, h: number) => reshape(slice(x, [0, 0, h, 0], [1, T, 1, D]), [T, D]);
  const heads = Array.from({ length: H }, (_, h) =>
    reshape(matMul(softmax(mul(matMul(head(q, h), transpose(head(k, h))), D ** -0.5)), head(v, h)), [
      1,
      T,
      1,
      D,
    ]),
  );
  return concat(heads, 2);
}

function workload(T: number, isCausal: boolean, quick: boolean): Workload {
  const [H, D] = [8, 64];
  const x = { shape: [1, T, H, D] };
  return {
    op: 'scaledDotProductAttention',
    id: `${isCausal ? 'causal' : 'full'} T${T} H${H} D${D}`,
    quick,
    inputs: { q: x, k: x, v: x },
    flops: (4 * T * T * H * D) / (isCausal ? 2 : 1),
    call: (ops, { q, k, v }) => ops.scaledDotProductAttention(q, k, v, { isCausal }),
    rivals: { naive, tuned },
  };
}

export const scaledDotProductAttention: Workload[] = [
  workload(32, true, true),
  workload(512, true, true),
  workload(512, false, true),
  workload(1024, true, false),
  workload(2048, true, false),
  workload(2048, false, false),
];
