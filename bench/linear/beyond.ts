import type { Workload } from '../types';

const logSigmoid = { draw: 'logSigmoid' as const };
const sigmoid = { draw: 'sigmoid' as const };
const unit = { draw: 'unit' as const };

function memory(
  op: 'tttLinear' | 'titansLinear',
  flops: number,
  gates: Workload['inputs'],
  call: Workload['call'],
) {
  const [T, H, D] = [2048, 8, 64];
  const inputs = {
    q: { shape: [1, T, H, D] },
    k: { ...unit, shape: [1, T, H, D] },
    v: { shape: [1, T, H, D] },
    w: { shape: [H, D], scale: 0.2, shift: 1 },
    b: { shape: [H, D], scale: 0.2 },
    ...gates,
  };
  return {
    op,
    id: `T${T} H${H} D${D}`,
    inputs,
    flops: flops * T * H,
    differentiable: Object.keys(inputs),
    call,
  } satisfies Workload;
}

const perToken = { shape: [1, 2048, 8, 1] };

function mLstm(): Workload {
  const [T, H, K, V] = [2048, 8, 64, 64];
  return {
    op: 'mLstm',
    id: `T${T} H${H} K${K} V${V}`,
    inputs: {
      q: { shape: [1, T, H, K] },
      k: { shape: [1, T, H, K] },
      v: { shape: [1, T, H, V] },
      i: { shape: [1, T, H] },
      f: { shape: [1, T, H], shift: 2 },
    },
    // the normalizer is one more column of the state
    flops: 5 * T * H * K * (V + 1),
    differentiable: ['q', 'k', 'v', 'i', 'f'],
    call: (ops, { q, k, v, i, f }) => ops.mLstm(q, k, v, i, f),
  };
}

function sLstm(): Workload {
  const [T, H, D] = [512, 4, 64];
  return {
    op: 'sLstm',
    id: `T${T} H${H} D${D}`,
    inputs: { x: { shape: [1, T, 4, H, D] }, r: { shape: [4, H, D, D], scale: D ** -0.5 } },
    // four products with the last output, and about 24 steps a channel for the gates
    flops: T * H * (8 * D * D + 24 * D),
    differentiable: ['x', 'r'],
    call: (ops, { x, r }) => ops.sLstm(x, r),
  };
}

function logLinear(): Workload {
  const [T, H, K, V] = [2048, 8, 64, 64];
  const levels = 1 + Math.log2(T);
  return {
    op: 'logLinearAttention',
    id: `T${T} H${H} K${K} V${V}`,
    inputs: {
      q: { shape: [1, T, H, K] },
      k: { shape: [1, T, H, K] },
      v: { shape: [1, T, H, V] },
      g: { ...logSigmoid, shift: 2, shape: [1, T, H] },
      levelScales: { ...sigmoid, shape: [1, T, H, levels] },
    },
    // a token is written once and merged once on the mean, and reads the states of the set bits of its number, half of the levels
    flops: (3 + Math.log2(T)) * T * H * K * V,
    differentiable: ['q', 'k', 'v', 'g', 'levelScales'],
    call: (ops, { q, k, v, g, levelScales }) => ops.logLinearAttention(q, k, v, g, levelScales),
  };
}

function path(): Workload {
  const [T, H, D, V] = [1024, 4, 64, 64];
  return {
    op: 'pathAttention',
    id: `T${T} H${H} D${D} V${V}`,
    inputs: {
      q: { shape: [1, T, H, D] },
      k: { shape: [1, T, H, D] },
      v: { shape: [1, T, H, V] },
      w: { ...unit, shape: [1, T, H, D] },
      beta: { ...sigmoid, shape: [1, T, H] },
    },
    // for every pair a score, a value, and a reflection of the query: a product with w and a multiple of it taken away
    flops: ((T * (T + 1)) / 2) * H * (2 * D + 2 * V + 4 * D),
    differentiable: ['q', 'k', 'v', 'w', 'beta'],
    call: (ops, { q, k, v, w, beta }) => ops.pathAttention(q, k, v, w, beta),
  };
}

function mesa(): Workload {
  const [T, H, K, V] = [512, 4, 64, 64];
  return {
    op: 'mesaNet',
    id: `T${T} H${H} K${K} V${V}`,
    inputs: {
      q: { shape: [1, T, H, K] },
      k: { ...unit, shape: [1, T, H, K] },
      v: { shape: [1, T, H, V] },
      g: { ...logSigmoid, shift: 2, shape: [1, T, H] },
      beta: { ...sigmoid, shape: [1, T, H] },
      lamb: { shape: [H, K], scale: 0.1, shift: 1 },
    },
    // half of a symmetric matrix and all of the other decay and are written, a factorization, two solves, a read
    flops: T * H * ((3 * K * K) / 2 + 3 * K * V + K ** 3 / 3 + 2 * K * K + 2 * K * V),
    differentiable: ['q', 'k', 'v', 'g', 'beta', 'lamb'],
    call: (ops, { q, k, v, g, beta, lamb }) => ops.mesaNet(q, k, v, g, beta, lamb),
  };
}

export const beyond: Workload[] = [
  mLstm(),
  sLstm(),
  logLinear(),
  path(),
  mesa(),
  // keys and queries times the state, its update, and half of the pairs of a mini-batch of 16
  memory(
    'tttLinear',
    6 * 64 ** 2 + 2 * 16 * 64,
    { eta: { ...perToken, scale: 0.01, shift: 0.02 } },
    (ops, { q, k, v, w, b, eta }) => ops.tttLinear(q, k, v, w, b, eta),
  ),
  // keys and queries times the memory, the momentum (decayed and written) and the memory (decayed and moved)
  memory(
    'titansLinear',
    9 * 64 ** 2,
    {
      theta: { ...perToken, scale: 0.01, shift: 0.02 },
      alpha: { ...perToken, ...sigmoid, shift: -4 },
      eta: { ...perToken, ...sigmoid },
    },
    (ops, { q, k, v, w, b, theta, alpha, eta }) => ops.titansLinear(q, k, v, w, b, theta, alpha, eta),
  ),
];
