import { add, depthwiseConv2d, pad, reshape, type Tensor4D, transpose } from '@tensorflow/tfjs-core';
import { scanModel, ssdModel } from '../onnx/ssm';
import type { Workload } from '../types';

const step = { draw: 'sigmoid' as const, shift: -3 };
const decay = { draw: 'logSigmoid' as const, shift: -1 };

function selectiveScan(T: number, quick: boolean): Workload {
  const [d, N] = [1024, 16];
  return {
    op: 'selectiveScan',
    id: `T${T} D${d} N${N}`,
    quick,
    inputs: {
      u: { shape: [1, T, d] },
      delta: { ...step, shape: [1, T, d] },
      A: { ...decay, shape: [d, N] },
      b: { shape: [1, T, N] },
      c: { shape: [1, T, N] },
    },
    flops: 7 * T * d * N,
    differentiable: ['u', 'delta', 'A', 'b', 'c'],
    call: (ops, { u, delta, A, b, c }) => ops.selectiveScan(u, delta, A, b, c),
    onnx: { Scan: ({ u, delta, A, b, c }) => scanModel(u, delta, A, b, c) },
  };
}

function ssd(T: number, quick: boolean): Workload {
  const [H, P, N] = [16, 64, 64];
  return {
    op: 'ssd',
    id: `T${T} H${H} P${P} N${N}`,
    quick,
    inputs: {
      x: { shape: [1, T, H, P] },
      dt: { ...step, shape: [1, T, H] },
      A: { ...decay, shape: [H] },
      b: { shape: [1, T, 1, N] },
      c: { shape: [1, T, 1, N] },
    },
    flops: 5 * T * H * P * N,
    differentiable: ['x', 'dt', 'A', 'b', 'c'],
    call: (ops, { x, dt, A, b, c }) => ops.ssd(x, dt, A, b, c),
    onnx: { LinearAttention: ({ x, dt, A, b, c }) => ssdModel(x, dt, A, b, c) },
  };
}

function causalConv1d(T: number, activation: 'none' | 'silu'): Workload {
  const [D, W] = [1024, 4];
  return {
    op: 'causalConv1d',
    id: `T${T} D${D} W${W} ${activation}`,
    quick: T === 2048 && activation === 'none',
    inputs: { x: { shape: [1, T, D] }, weight: { shape: [D, W] }, bias: { shape: [D] } },
    flops: 2 * T * D * W,
    differentiable: ['x', 'weight', 'bias'],
    call: (ops, { x, weight, bias }) => ops.causalConv1d(x, weight, { bias, activation }),
    // without an activation, in its favour
    rivals: {
      depthwise: ({ x, weight, bias }) => {
        const past = [0, W - 1, 0, 0].map((n): [number, number] => [n, 0]);
        const rows = pad(reshape(x, [1, T, 1, D]) as Tensor4D, past);
        const filter = reshape(transpose(weight), [W, 1, D, 1]) as Tensor4D;
        return reshape(add(depthwiseConv2d(rows, filter, 1, 'valid'), bias), [1, T, D]);
      },
    },
  };
}

/** The scans and the convolution of Mamba and Mamba-2, in the sizes of a 130M model and longer. */
export const mamba: Workload[] = [
  selectiveScan(1024, true),
  selectiveScan(4096, false),
  ssd(2048, true),
  ssd(8192, false),
  causalConv1d(2048, 'none'),
  causalConv1d(2048, 'silu'),
  causalConv1d(8192, 'silu'),
];
