import { add, concat, div, mean, mul, neg, split, sqrt, square, sum } from '@tensorflow/tfjs-core';
import type { Workload } from '../types';

const rows = { shape: [2048, 1024] };
const heads = { shape: [1, 1024, 8, 128] };
const angles = { shape: [1, 1024, 1, 128] };

/** Reading and writing memory is what these ops do; their rivals pass over it several times. */
export const nn: Workload[] = [
  {
    op: 'rmsNorm',
    id: '2048 x 1024',
    quick: true,
    inputs: { x: rows, weight: { shape: [1024] } },
    flops: 4 * 2048 * 1024,
    call: (ops, { x, weight }) => ops.rmsNorm(x, weight),
    rivals: { naive: ({ x, weight }) => mul(div(x, sqrt(add(mean(square(x), -1, true), 1e-6))), weight) },
  },
  {
    op: 'l2Norm',
    id: 'T1024 H8 D128',
    quick: false,
    inputs: { x: heads },
    flops: 3 * 1024 * 8 * 128,
    call: (ops, { x }) => ops.l2Norm(x),
    rivals: { naive: ({ x }) => div(x, sqrt(add(sum(square(x), -1, true), 1e-6))) },
  },
  {
    op: 'rope',
    id: 'T1024 H8 D128',
    quick: true,
    inputs: { x: heads, cos: angles, sin: angles },
    flops: 3 * 1024 * 8 * 128,
    call: (ops, { x }) => ops.rope(x),
    // with its cosines and sines at hand, where linnet computes them
    rivals: {
      naive: ({ x, cos, sin }) => {
        const [first, second] = split(x, 2, 3);
        return add(mul(x, cos), mul(concat([neg(second), first], 3), sin));
      },
    },
  },
];
