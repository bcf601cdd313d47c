import { add, div, mean, mul, sqrt, square, sum } from '@tensorflow/tfjs-core';
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
  {
    name: 'l2Norm',
    family: 'nn',
    summary: 'Euclidean normalisation',
    paper: {
      title: 'Query-Key Normalization for Transformers',
      url: 'https://arxiv.org/abs/2010.04245',
    },
    bounds: NORM,
    cases: [
      {
        id: 'T5-H2-D64',
        inputs: { x: { shape: [2, 5, 2, 64] } },
        call: (ops, { x }) => ops.l2Norm(x),
        naive: ({ x }) => div(x, sqrt(add(sum(square(x), -1, true), 1e-6))),
      },
      {
        id: 'D7-eps',
        inputs: { x: { shape: [3, 7], scale: 0.1 } },
        call: (ops, { x }) => ops.l2Norm(x, { eps: 0.5 }),
      },
      { id: 'D1', inputs: { x: { shape: [4, 1] } }, call: (ops, { x }) => ops.l2Norm(x, { eps: 0.5 }) },
    ],
  },
  {
    name: 'rope',
    family: 'nn',
    summary: 'Rotary position embedding',
    paper: {
      title: 'RoFormer: Enhanced Transformer with Rotary Position Embedding',
      url: 'https://arxiv.org/abs/2104.09864',
    },
    bounds: NORM,
    cases: [
      {
        id: 'B2-T67-H2-D16',
        inputs: { x: { shape: [2, 67, 2, 16] } },
        call: (ops, { x }) => ops.rope(x),
      },
      {
        id: 'partial-D13-offset',
        inputs: { x: { shape: [1, 5, 3, 13] } },
        call: (ops, { x }) => ops.rope(x, { theta: 500, rotaryDim: 10, offset: 100000 }),
      },
      {
        id: 'interleaved-positions',
        inputs: {
          x: { shape: [2, 3, 1, 10] },
          positions: { shape: [2, 3], dtype: 'int32', values: [7, 0, 131071, -3, 64, 65] },
        },
        call: (ops, { x, positions }) =>
          ops.rope(x, { interleaved: true, positions, rotaryDim: 6, attentionScaling: 1.25 }),
      },
      {
        id: 'frequencies',
        inputs: { x: { shape: [1, 4, 1, 8] } },
        call: (ops, { x }) => ops.rope(x, { frequencies: [1, 0.25], interleaved: true }),
      },
    ],
  },
];
