import { concat, matMul, mul, reshape, slice, softmax, tile, transpose } from '@tensorflow/tfjs-core';
import { SOFTMAX_ATTENTION } from './bounds';
import type { CatalogEntry, Ops, Tensors } from './types';

const qkv = (B: number, Tq: number, Tk: number, Hq: number, Hkv: number, D: number, Dv = D) => ({
  q: { shape: [B, Tq, Hq, D] },
  k: { shape: [B, Tk, Hkv, D] },
  v: { shape: [B, Tk, Hkv, Dv] },
});

const gates = (B: number, T: number, H: number) => ({ shape: [B, T, H], draw: 'logSigmoid' as const });

const latents = (
  B: number,
  Tq: number,
  Tk: number,
  H: number,
  C: number,
  [Dn, Dr, Dv]: [Dn: number, Dr: number, Dv: number],
) => ({
  qNope: { shape: [B, Tq, H, Dn] },
  qRope: { shape: [B, Tq, H, Dr] },
  latent: { shape: [B, Tk, C] },
  kRope: { shape: [B, Tk, Dr] },
  kvUp: { shape: [H, Dn + Dv, C], scale: C ** -0.5 },
});

/** Keys and values expanded for every head, without a mask. */
function naiveLatentAttention({ qNope, qRope, latent, kRope, kvUp }: Tensors) {
  const [[B, , H, Dn], [, Tk, C]] = [qNope.shape, latent.shape] as number[][];
  const Dr = kRope.shape[2]!;
  const N = kvUp.shape[1]!;
  const kv = transpose(
    reshape(matMul(reshape(latent, [B * Tk, C]), reshape(kvUp, [H * N, C]), false, true), [B, Tk, H, N]),
    [0, 2, 1, 3],
  );
  const shared = tile(reshape(kRope, [B, 1, Tk, Dr]), [1, H, 1, 1]);
  const k = concat([slice(kv, [0, 0, 0, 0], [B, H, Tk, Dn]), shared], 3);
  const v = slice(kv, [0, 0, 0, Dn], [B, H, Tk, N - Dn]);
  const q = transpose(concat([qNope, qRope], 3), [0, 2, 1, 3]);
  return transpose(matMul(softmax(mul(matMul(q, k, false, true), (Dn + Dr) ** -0.5)), v), [0, 2, 1, 3]);
}

export const attention: CatalogEntry[] = [
  {
    name: 'scaledDotProductAttention',
    family: 'attention',
    summary: 'Softmax attention, causal, windowed, masked, packed, with grouped heads',
    paper: { title: 'FlashAttention-2', url: 'https://arxiv.org/abs/2307.08691' },
    bounds: SOFTMAX_ATTENTION,
    cases: [
      {
        id: 'B2-T33-H2-D16',
        inputs: qkv(2, 33, 33, 2, 2, 16),
        call: (ops, { q, k, v }) => ops.scaledDotProductAttention(q, k, v),
        naive: ({ q, k, v }) => {
          const [qh, kh, vh] = [q, k, v].map((x) => transpose(x, [0, 2, 1, 3]));
          return transpose(matMul(softmax(mul(matMul(qh, kh, false, true), 16 ** -0.5)), vh), [0, 2, 1, 3]);
        },
      },
      {
        id: 'causal-Tq5-Tk70-Hq4-Hkv2-D7-Dv3',
        inputs: qkv(1, 5, 70, 4, 2, 7, 3),
        call: (ops, { q, k, v }) => ops.scaledDotProductAttention(q, k, v, { isCausal: true }),
      },
      {
        id: 'window-sink-lse-T40-D8',
        inputs: { ...qkv(1, 40, 40, 3, 1, 8), sink: { shape: [3] } },
        call: (ops, { q, k, v, sink }) => {
          const { output, lse } = ops.scaledDotProductAttention(q, k, v, {
            isCausal: true,
            window: 9,
            sink,
            returnLse: true,
          });
          return [output, lse];
        },
      },
      {
        id: 'mask-bias-softcap-T19-D12',
        inputs: {
          ...qkv(2, 19, 19, 2, 1, 12),
          mask: { shape: [2, 1, 19, 19], draw: 'bool' },
          bias: { shape: [1, 2, 19, 19] },
        },
        call: (ops, { q, k, v, mask, bias }) =>
          ops.scaledDotProductAttention(q, k, v, { mask, bias, softcap: 4 }),
      },
      ...[
        [1, 9],
        [4, 9, 9],
        [2, 1, 9, 9],
      ].map((shape) => ({
        id: `bias-${shape.join('x')}-B2-T9-Hq4-Hkv2-D8`,
        inputs: { ...qkv(2, 9, 9, 4, 2, 8), bias: { shape } },
        call: (ops: Ops, { q, k, v, bias }: Tensors) =>
          ops.scaledDotProductAttention(q, k, v, { bias, isCausal: true }),
      })),
      {
        id: 'split-gradient-Tq600-Tk20-Hq2-Hkv1-D4',
        inputs: { ...qkv(1, 600, 20, 2, 1, 4), sink: { shape: [2] }, bias: { shape: [2, 1, 20] } },
        call: (ops, { q, k, v, sink, bias }) => ops.scaledDotProductAttention(q, k, v, { sink, bias }),
      },
      {
        id: 'alibi-lengths-B2-Tk20-D1',
        inputs: { ...qkv(2, 6, 20, 2, 2, 1), slopes: { shape: [2], values: [0.5, 0.25] } },
        call: (ops, { q, k, v, slopes }) =>
          ops.scaledDotProductAttention(q, k, v, {
            alibiSlopes: slopes,
            kvLengths: [20, 0],
            causalAlign: 'top-left',
          }),
        differentiable: ['q', 'k', 'v'],
      },
      {
        id: 'queryOffset-window-B2-Tq3-Tk20-D5',
        inputs: qkv(2, 3, 20, 2, 1, 5),
        call: (ops, { q, k, v }) =>
          ops.scaledDotProductAttention(q, k, v, { isCausal: true, window: 4, queryOffset: [9, 0] }),
      },
      {
        id: 'packed-T24-D8',
        inputs: qkv(1, 24, 24, 2, 2, 8),
        call: (ops, { q, k, v }) =>
          ops.scaledDotProductAttention(q, k, v, { isCausal: true, cuSeqlens: [0, 1, 11, 11, 24] }),
      },
      {
        id: 'decode-sink-B2-Tk530-Hq6-Hkv2-D12-Dv8',
        inputs: { ...qkv(2, 1, 530, 6, 2, 12, 8), sink: { shape: [6] } },
        call: (ops, { q, k, v, sink }) => ops.scaledDotProductAttention(q, k, v, { sink }),
      },
      {
        id: 'decode-lengths-B2-Tk530-H9-D8-Dv16',
        inputs: qkv(2, 1, 530, 9, 9, 8, 16),
        call: (ops, { q, k, v }) => ops.scaledDotProductAttention(q, k, v, { kvLengths: [530, 7] }),
      },
    ],
  },
  {
    name: 'forgettingAttention',
    family: 'attention',
    summary: 'Softmax attention with forget gates (FoX)',
    paper: { title: 'Forgetting Transformer', url: 'https://arxiv.org/abs/2503.02130' },
    bounds: SOFTMAX_ATTENTION,
    cases: [
      {
        id: 'B2-T37-H2-D16',
        inputs: { ...qkv(2, 37, 37, 2, 2, 16), g: gates(2, 37, 2) },
        call: (ops, { q, k, v, g }) => ops.forgettingAttention(q, k, v, g),
      },
      {
        id: 'cache-lse-Tq3-Tk70-Hq4-Hkv2-D7-Dv3',
        inputs: { ...qkv(1, 3, 70, 4, 2, 7, 3), g: gates(1, 70, 4) },
        call: (ops, { q, k, v, g }) => {
          const { output, lse } = ops.forgettingAttention(q, k, v, g, { returnLse: true });
          return [output, lse];
        },
      },
      {
        id: 'packed-window-sink-T30-D8',
        inputs: { ...qkv(1, 30, 30, 2, 1, 8), g: gates(1, 30, 2), sink: { shape: [2] } },
        call: (ops, { q, k, v, g, sink }) =>
          ops.forgettingAttention(q, k, v, g, { cuSeqlens: [0, 11, 12, 30], window: 6, sink }),
      },
    ],
  },
  {
    name: 'multiHeadLatentAttention',
    family: 'attention',
    summary: 'Multi-head latent attention (DeepSeek): keys and values from one latent',
    paper: { title: 'DeepSeek-V2', url: 'https://arxiv.org/abs/2405.04434' },
    bounds: SOFTMAX_ATTENTION,
    cases: [
      {
        id: 'B2-T17-H3-C16-Dn8-Dr4-Dv6',
        inputs: latents(2, 17, 17, 3, 16, [8, 4, 6]),
        call: (ops, { qNope, qRope, latent, kRope, kvUp }) =>
          ops.multiHeadLatentAttention(qNope, qRope, latent, kRope, kvUp, { absorb: false }),
        naive: naiveLatentAttention,
      },
      {
        id: 'absorbed-causal-B2-Tq5-Tk21-H3-C7-Dn5-Dr2-Dv3',
        inputs: latents(2, 5, 21, 3, 7, [5, 2, 3]),
        call: (ops, { qNope, qRope, latent, kRope, kvUp }) =>
          ops.multiHeadLatentAttention(qNope, qRope, latent, kRope, kvUp, { absorb: true, isCausal: true }),
      },
      {
        id: 'decode-lengths-B2-Tk40-H9-C8-Dn4-Dr4-Dv8',
        inputs: latents(2, 1, 40, 9, 8, [4, 4, 8]),
        call: (ops, { qNope, qRope, latent, kRope, kvUp }) =>
          ops.multiHeadLatentAttention(qNope, qRope, latent, kRope, kvUp, { kvLengths: [40, 17] }),
      },
      ...[false, true].map((absorb) => ({
        id: `${absorb ? 'absorbed-' : ''}mask-window-Tq3-Tk131-H2-C5-Dn3-Dr1-Dv1`,
        inputs: {
          ...latents(1, 3, 131, 2, 5, [3, 1, 1]),
          mask: { shape: [2, 1, 131], draw: 'bool' as const },
        },
        call: (ops: Ops, { qNope, qRope, latent, kRope, kvUp, mask }: Tensors) =>
          ops.multiHeadLatentAttention(qNope, qRope, latent, kRope, kvUp, {
            absorb,
            mask,
            isCausal: true,
            window: 50,
            scale: 0.4,
          }),
      })),
    ],
  },
];
