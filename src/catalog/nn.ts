import { add, div, mean, mul, sqrt, square } from '@tensorflow/tfjs-core';
import { NORM } from './bounds';
import type { CatalogEntry } from './types';

export const nn: CatalogEntry[] = [
  {
    name: 'rmsNorm',
    family: 'nn',
    summary: 'Root mean square normalisation',
    paper: { title: 'Root Mean Square Layer Normalization', url: 'https://arxiv.org/abs/1910.07467' },
    bounds: NORM,
    cases: [
      {
        id: 'B2-T5-D64',
        inputs: { x: { shape: [2, 5, 64] }, weight: { shape: [64] } },
        call: (ops, { x, weight }) => ops.rmsNorm(x, weight),
        naive: ({ x, weight }) => mul(div(x, sqrt(add(mean(square(x), -1, true), 1e-6))), weight),
      },
      {
        id: 'D7-offset',
        inputs: { x: { shape: [3, 7] }, weight: { shape: [7] } },
        call: (ops, { x, weight }) => ops.rmsNorm(x, weight, { weightOffset: 1, eps: 1e-5 }),
      },
      {
        id: 'D1-plain',
        inputs: { x: { shape: [3, 1] } },
        call: (ops, { x }) => ops.rmsNorm(x, undefined, { eps: 0.5 }),
      },
    ],
  },
];
