import {
  concat,
  matMul,
  mul,
  reshape,
  slice,
  softmax,
  type Tensor,
  tile,
  transpose,
} from '@tensorflow/tfjs-core';
import type { Workload } from '../types';

/** Heads and widths of DeepSeek-V2-Lite. */
const [H, Dn, Dr, Dv, C] = [16, 128, 64, 128, 512];

/** Keys and values expanded; causal workloads leave the mask out, in its favour. Cutting kvUp by heads takes tfjs longer. */
function expanded({ qNope, qRope, latent, kRope, kvUp }: Record<string, Tensor>): Tensor {
  const Tk = latent.shape[1]!;
  const kv = matMul(reshape(latent, [Tk, C]), transpose(reshape(kvUp, [H * (Dn + Dv), C])));
  const heads = transpose(reshape(kv, [1, Tk, H, Dn + Dv]), [0, 2, 1, 3]);
  const shared = tile(reshape(kRope, [1, 1, Tk, Dr]), [1, H, 1, 1]);
  const k = concat([slice(heads, [0, 0, 0, 0], [1, H, Tk, Dn]), shared], 3);
  const v = slice(heads, [0, 0, 0, Dn], [1, H, Tk, Dv]);
  const q = transpose(concat([qNope, qRope], 3), [0, 2, 1, 3]);
  const scores = mul(matMul(q, k, false, true), (Dn + Dr) ** -0.5);
  return transpose(matMul(softmax(scores), v), [0, 2, 1, 3]);
}

/** One query over the latents themselves. */
function absorbed({ qNope, qRope, latent, kRope, kvUp }: Record<string, Tensor>): Tensor {
  const Tk = latent.shape[1]!;
  const moved = matMul(reshape(qNope, [H, 1, Dn]), slice(kvUp, [0, 0, 0], [H, Dn, C]));
  const q = reshape(concat([moved, reshape(qRope, [H, 1, Dr])], 2), [H, C + Dr]);
  const tokens = reshape(latent, [Tk, C]);
  const k = transpose(concat([tokens, reshape(kRope, [Tk, Dr])], 1));
  const mixed = matMul(softmax(mul(matMul(q, k), (Dn + Dr) ** -0.5)), tokens);
  const output = matMul(reshape(mixed, [H, 1, C]), slice(kvUp, [0, Dn, 0], [H, Dv, C]), false, true);
  return reshape(output, [1, 1, H, Dv]);
}

function workload(id: string, Tq: number, Tk: number, flops: number, options: Partial<Workload>): Workload {
  return {
    op: 'multiHeadLatentAttention',
    id: `${id} H${H} C${C} D${Dn}+${Dr}`,
    inputs: {
      qNope: { shape: [1, Tq, H, Dn] },
      qRope: { shape: [1, Tq, H, Dr] },
      latent: { shape: [1, Tk, C] },
      kRope: { shape: [1, Tk, Dr] },
      kvUp: { shape: [H, Dn + Dv, C], scale: C ** -0.5 },
    },
    flops,
    call: (ops, { qNope, qRope, latent, kRope, kvUp }) =>
      ops.multiHeadLatentAttention(qNope, qRope, latent, kRope, kvUp, { isCausal: true }),
    ...options,
  };
}

export const multiHeadLatentAttention: Workload[] = [
  ...[128, 512].map((T) =>
    workload(`causal T${T}`, T, T, 2 * H * (T * C * (Dn + Dv) + ((T * (T + 1)) / 2) * (Dn + Dr + Dv)), {
      quick: T === 128,
      rivals: { expanded },
      differentiable: ['qNope', 'qRope', 'latent', 'kRope', 'kvUp'],
    }),
  ),
  ...[512, 4096].map((Tk) =>
    workload(`decode ${Tk} keys`, 1, Tk, 2 * H * (C * (Dn + Dv) + Tk * (2 * C + Dr)), {
      quick: Tk === 512,
      rivals: { absorbed },
    }),
  ),
];
