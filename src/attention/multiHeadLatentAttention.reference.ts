import type { NdArray } from '../op/define';
import type { AttentionAttrs } from './scaledDotProductAttention.attrs';
import {
  attentionBackwardReference,
  scaledDotProductAttentionReference,
} from './scaledDotProductAttention.reference';

type Inputs<I extends string> = { readonly [name in I]?: NdArray };
export type LatentInput = 'qNope' | 'qRope' | 'latent' | 'kRope' | 'kvUp' | 'mask';
export type LatentBackwardInput = LatentInput | 'output' | 'lse' | 'dOutput' | 'dLse';

function sizesOf({ qNope, qRope, latent, kvUp }: Inputs<LatentInput>) {
  const [B, Tq, H, Dn] = qNope!.shape;
  const [, Tk, C] = latent!.shape;
  const Dr = qRope!.shape[3];
  return { B, Tq, H, Dn, Dr, Tk, C, Dv: kvUp!.shape[1] - Dn, D: Dn + Dr };
}

/** q = [qNope; qRope], k = [W_k latent; kRope] and v = W_v latent, for every head. */
function expanded<I extends LatentInput>(x: Inputs<I>) {
  const { qNope, qRope, latent, kRope, kvUp, mask } = x as Inputs<LatentInput>;
  const { B, Tq, H, Dn, Dr, Tk, C, Dv, D } = sizesOf(x as Inputs<LatentInput>);
  const q = new Float64Array(B * Tq * H * D);
  for (let row = 0; row < B * Tq * H; row++) {
    for (let d = 0; d < Dn; d++) q[row * D + d] = qNope!.data[row * Dn + d];
    for (let d = 0; d < Dr; d++) q[row * D + Dn + d] = qRope!.data[row * Dr + d];
  }
  const k = new Float64Array(B * Tk * H * D);
  const v = new Float64Array(B * Tk * H * Dv);
  for (let token = 0; token < B * Tk; token++) {
    for (let h = 0; h < H; h++) {
      const row = token * H + h;
      for (let n = 0; n < Dn + Dv; n++) {
        let sum = 0;
        for (let c = 0; c < C; c++)
          sum += kvUp!.data[(h * (Dn + Dv) + n) * C + c] * latent!.data[token * C + c];
        if (n < Dn) k[row * D + n] = sum;
        else v[row * Dv + n - Dn] = sum;
      }
      for (let d = 0; d < Dr; d++) k[row * D + Dn + d] = kRope!.data[token * Dr + d];
    }
  }
  return {
    q: { data: q, shape: [B, Tq, H, D] },
    k: { data: k, shape: [B, Tk, H, D] },
    v: { data: v, shape: [B, Tk, H, Dv] },
    mask,
  };
}

/** Softmax attention over the expanded keys and values. */
export function multiHeadLatentAttentionReference(
  x: Inputs<LatentInput>,
  attrs: AttentionAttrs,
): [output: Float64Array, lse: Float64Array] {
  return scaledDotProductAttentionReference(expanded(x), attrs);
}

/** The gradients of q, k and v, carried through the expansion: dlatent = sum W^T d[k; v], dW = sum d[k; v] latent^T. */
export function multiHeadLatentAttentionBackwardReference(
  x: Inputs<LatentBackwardInput>,
  attrs: AttentionAttrs,
): Float64Array[] {
  const { B, Tq, H, Dn, Dr, Tk, C, Dv, D } = sizesOf(x);
  const { output, lse, dOutput, dLse } = x;
  const gradient = attentionBackwardReference({ ...expanded(x), output, lse, dOutput, dLse }, attrs);
  const dqNope = new Float64Array(B * Tq * H * Dn);
  const dqRope = new Float64Array(B * Tq * H * Dr);
  for (let row = 0; row < B * Tq * H; row++) {
    for (let d = 0; d < Dn; d++) dqNope[row * Dn + d] = gradient.q[row * D + d];
    for (let d = 0; d < Dr; d++) dqRope[row * Dr + d] = gradient.q[row * D + Dn + d];
  }
  const dlatent = new Float64Array(B * Tk * C);
  const dkRope = new Float64Array(B * Tk * Dr);
  const dkvUp = new Float64Array(H * (Dn + Dv) * C);
  for (let token = 0; token < B * Tk; token++) {
    for (let h = 0; h < H; h++) {
      const row = token * H + h;
      for (let d = 0; d < Dr; d++) dkRope[token * Dr + d] += gradient.k[row * D + Dn + d];
      for (let n = 0; n < Dn + Dv; n++) {
        const g = n < Dn ? gradient.k[row * D + n] : gradient.v[row * Dv + n - Dn];
        for (let c = 0; c < C; c++) {
          const at = (h * (Dn + Dv) + n) * C + c;
          dlatent[token * C + c] += g * x.kvUp!.data[at];
          dkvUp[at] += g * x.latent!.data[token * C + c];
        }
      }
    }
  }
  return [dqNope, dqRope, dlatent, dkRope, dkvUp];
}
