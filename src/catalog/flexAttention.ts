import { matMul, mul, softmax, transpose } from '@tensorflow/tfjs-core';
import { blockMaskFromIndices, createBlockMask } from '../sparse/createBlockMask';
import * as masks from '../sparse/masks';
import * as scoreMods from '../sparse/scoreMods';
import { SOFTMAX_ATTENTION } from './bounds';
import type { CatalogEntry } from './types';

const qkv = (B: number, Tq: number, Tkv: number, Hq: number, Hkv: number, D: number, Dv = D) => ({
  q: { shape: [B, Tq, Hq, D] },
  k: { shape: [B, Tkv, Hkv, D] },
  v: { shape: [B, Tkv, Hkv, Dv] },
});

export const flexAttention: CatalogEntry = {
  name: 'flexAttention',
  family: 'sparse',
  summary: 'Softmax attention over the blocks of a mask, with score modifications',
  paper: { title: 'Flex Attention', url: 'https://arxiv.org/abs/2412.05496' },
  bounds: SOFTMAX_ATTENTION,
  cases: [
    {
      id: 'full-B2-T33-H2-D16',
      inputs: qkv(2, 33, 33, 2, 2, 16),
      call: (ops, { q, k, v }) => ops.flexAttention(q, k, v),
      naive: ({ q, k, v }) => {
        const [qh, kh, vh] = [q, k, v].map((x) => transpose(x, [0, 2, 1, 3]));
        return transpose(matMul(softmax(mul(matMul(qh, kh, false, true), 16 ** -0.5)), vh), [0, 2, 1, 3]);
      },
    },
    {
      id: 'window-Tq50-Tkv70-Hq4-Hkv2-D7-Dv3-lse',
      inputs: qkv(1, 50, 70, 4, 2, 7, 3),
      call: (ops, { q, k, v }) => {
        const blockMask = masks.slidingWindow({ Tq: 50, Tkv: 70, window: 20, blockSize: 16 });
        const { output, lse } = ops.flexAttention(q, k, v, { blockMask, returnLse: true });
        return [output, lse];
      },
    },
    {
      id: 'globalWindow-per-batch-and-head-T40-D8',
      inputs: qkv(2, 40, 40, 4, 2, 8),
      call: (ops, { q, k, v }) =>
        ops.flexAttention(q, k, v, {
          blockMask: createBlockMask((b, h, i, j) => (i + j + b) % (h + 2) === 0 && i !== 5, {
            B: 2,
            H: 4,
            Tq: 40,
            blockSize: [8, 32],
          }),
        }),
    },
    {
      id: 'alibi-softcap-decay-causal-T37-Hq6-Hkv2-D12',
      inputs: {
        ...qkv(1, 37, 37, 6, 2, 12),
        slopes: { shape: [6], scale: 0.1 },
        decay: { shape: [6], draw: 'logSigmoid', scale: 0.2 },
      },
      call: (ops, { q, k, v, slopes, decay }) =>
        ops.flexAttention(q, k, v, {
          blockMask: masks.causal({ Tq: 37, blockSize: 16 }),
          scoreMod: [scoreMods.alibi(slopes), scoreMods.softcap(3), scoreMods.causalDecay(decay)],
        }),
    },
    {
      id: 't5-relative-B2-Tq9-Tkv70-H3-D8',
      inputs: { ...qkv(2, 9, 70, 3, 1, 8), buckets: { shape: [8, 3] }, table: { shape: [3, 9] } },
      call: (ops, { q, k, v, buckets, table }) =>
        ops.flexAttention(q, k, v, {
          scoreMod: [scoreMods.t5Bias(buckets, { maxDistance: 32 }), scoreMods.relativePositionBias(table)],
        }),
    },
    {
      id: 'listed-blocks-of-6-Tq37-Tkv67-Hq4-Hkv2-D8-Dv5',
      inputs: qkv(1, 37, 67, 4, 2, 8, 5),
      call: (ops, { q, k, v }) =>
        ops.flexAttention(q, k, v, {
          blockMask: blockMaskFromIndices(
            [
              [0, 2, 3, 5, 7, 8, 11],
              [1, 2, 11],
              [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
            ],
            { Tq: 37, Tkv: 67, blockSize: [16, 6] },
          ),
        }),
    },
    {
      id: 'one-query-blocks-T24-Hq4-Hkv1-D4',
      inputs: qkv(1, 24, 24, 4, 1, 4),
      call: (ops, { q, k, v }) =>
        ops.flexAttention(q, k, v, { blockMask: masks.strided({ Tq: 24, stride: 5, blockSize: [1, 8] }) }),
    },
  ],
};
