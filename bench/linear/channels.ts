import type { Workload } from '../types';

const logSigmoid = { draw: 'logSigmoid' as const };

/** Recurrences of single channels, and what prepares their inputs: read and written once, so bound by memory. */
export const channels: Workload[] = [
  {
    op: 'hgrn',
    id: 'T2048 D1024',
    inputs: { x: { shape: [1, 2048, 1024] }, g: { ...logSigmoid, shape: [1, 2048, 1024] } },
    // a decay and a sum, the exponential counted as one
    flops: 3 * 2048 * 1024,
    differentiable: ['x', 'g'],
    call: (ops, { x, g }) => ops.hgrn(x, g),
  },
  {
    op: 'rwkv4',
    id: 'T2048 C1024',
    inputs: {
      w: { shape: [1024] },
      u: { shape: [1024] },
      k: { shape: [1, 2048, 1024] },
      v: { shape: [1, 2048, 1024] },
    },
    // numerator and denominator with the token's own bonus and without, each behind a running maximum
    flops: 20 * 2048 * 1024,
    differentiable: ['w', 'u', 'k', 'v'],
    call: (ops, { w, u, k, v }) => ops.rwkv4(w, u, k, v),
  },
  {
    op: 'tokenShift',
    id: 'T2048 D1024',
    inputs: { x: { shape: [1, 2048, 1024] } },
    flops: 2048 * 1024,
    differentiable: ['x'],
    call: (ops, { x }) => ops.tokenShift(x),
  },
  {
    op: 'kdaGate',
    id: 'T2048 H8 K64',
    inputs: { g: { shape: [1, 2048, 8, 64] }, aLog: { shape: [8] }, dtBias: { shape: [512] } },
    // a bias, softplus as an exponential, a sum and a logarithm, and the rate
    flops: 5 * 2048 * 8 * 64,
    differentiable: ['g', 'aLog', 'dtBias'],
    call: (ops, { g, aLog, dtBias }) => ops.kdaGate(g, aLog, dtBias),
  },
];
