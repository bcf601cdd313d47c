import { concat, slice, sub, zeros } from '@tensorflow/tfjs-core';
import { LINEAR } from './bounds';
import type { CatalogEntry } from './types';

export const tokenShift: CatalogEntry = {
  name: 'tokenShift',
  family: 'linear',
  summary: 'Difference of each token to the one before it (RWKV)',
  paper: {
    title: 'RWKV: Reinventing RNNs for the Transformer Era',
    url: 'https://arxiv.org/abs/2305.13048',
  },
  bounds: LINEAR,
  cases: [
    {
      id: 'B2-T9-D16',
      inputs: { x: { shape: [2, 9, 16] } },
      call: (ops, { x }) => ops.tokenShift(x),
      naive: ({ x }) => sub(concat([zeros([2, 1, 16]), slice(x, [0, 0, 0], [2, 8, 16])], 1), x),
    },
    {
      id: 'T5-D7-cache',
      inputs: { x: { shape: [2, 5, 7] }, cache: { shape: [2, 7] } },
      call: (ops, { x, cache }) => {
        const result = ops.tokenShift(x, { cache, outputCache: true });
        return [result.output, result.cache];
      },
    },
    {
      id: 'packed',
      inputs: { x: { shape: [1, 9, 3] }, cache: { shape: [4, 3] } },
      call: (ops, { x, cache }) => {
        const result = ops.tokenShift(x, { cache, outputCache: true, cuSeqlens: [0, 1, 1, 6, 9] });
        return [result.output, result.cache];
      },
    },
  ],
};
