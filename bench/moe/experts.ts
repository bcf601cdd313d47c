import type { Workload } from '../types';

const [N, D] = [1024, 256];
const hidden = { shape: [N, D] };
/** Different numbers below `n`, `topK` a token, spread by an odd step. */
const chosen = (topK: number, n: number, tokens = N) =>
  ({
    shape: [tokens, topK],
    dtype: 'int32',
    values: Array.from({ length: tokens * topK }, (_, i) => (Math.floor(i / topK) * 7 + (i % topK)) % n),
  }) as const;
const weights = (topK: number) => ({ shape: [N, topK], draw: 'sigmoid' }) as const;

/** What experts are made of beside `moeMlp`, and layers that route tokens, heads or adapters. */
export const experts: Workload[] = [
  {
    op: 'peerExperts',
    id: `N${N} D${D} E16384 top-16`,
    inputs: {
      hidden,
      up: { shape: [16384, D], scale: 1 / 16 },
      down: { shape: [16384, D], scale: 1 / 16 },
      weights: weights(16),
      indices: chosen(16, 16384),
    },
    flops: 4 * N * 16 * D,
    bytes: 4 * (2 * N * D + 2 * N * 16 + 2 * 8064 * D),
    call: (ops, { hidden, up, down, weights, indices }) =>
      ops.peerExperts(hidden, up, down, { weights, indices }),
  },
  {
    op: 'moLora',
    id: `N${N} D${D} rank 16 E8 top-2`,
    inputs: {
      hidden,
      a: { shape: [8, 16, D], scale: 1 / 16 },
      b: { shape: [8, D, 16] },
      weights: weights(2),
      indices: chosen(2, 8),
      output: hidden,
    },
    flops: 4 * N * 2 * 16 * D,
    differentiable: ['hidden', 'a', 'b', 'weights', 'output'],
    call: (ops, { hidden, a, b, weights, indices, output }) =>
      ops.moLora(hidden, a, b, { weights, indices }, output),
  },
  {
    op: 'softMoe',
    id: `T${N} D${D} E16 S64`,
    inputs: {
      hidden: { shape: [1, N, D] },
      phi: { shape: [D, 16, 64], scale: 1 / 16 },
      w: { shape: [16, D, D], scale: 1 / 16 },
    },
    flops: 2 * N * D * (3 * 16 * 64 + D),
    differentiable: ['hidden', 'phi', 'w'],
    call: (ops, { hidden, phi, w }) =>
      ops.softMoe(hidden, phi, (slots, sizes) => ops.groupedMatMul(slots, w, sizes)),
  },
  {
    op: 'gatherTokens',
    id: `N${N} D${D} top-2`,
    inputs: { hidden, indices: chosen(2, N) },
    flops: 0,
    differentiable: ['hidden'],
    call: (ops, { hidden, indices }) => ops.gatherTokens(hidden, indices),
  },
  {
    op: 'scatterTokens',
    id: `N${N} D${D} top-2`,
    inputs: {
      y: { shape: [N, 2, D] },
      weights: { shape: [N, 2], draw: 'sigmoid' },
      indices: chosen(2, N),
      residual: hidden,
    },
    flops: 4 * N * D,
    differentiable: ['y', 'weights', 'residual'],
    call: (ops, { y, weights, indices, residual }) => ops.scatterTokens(y, weights, indices, residual),
  },
  {
    op: 'mixtureOfDepths',
    id: `T${N} D${D} capacity 128 of one product`,
    inputs: { hidden: { shape: [1, N, D] }, weights: { shape: [1, N] }, w: { shape: [D, D], scale: 1 / 16 } },
    flops: 2 * 128 * D * D,
    differentiable: ['hidden', 'weights', 'w'],
    call: (ops, { hidden, weights, w }) =>
      ops.mixtureOfDepths(hidden, weights, (x) => ops.routerLogits(x, w), { capacity: 128 }),
  },
  {
    op: 'mixtureOfHeads',
    id: `T${N} H16 D64 top-8`,
    inputs: {
      heads: { shape: [1, N, 16, 64] },
      weights: { shape: [1, N, 8], draw: 'sigmoid' },
      indices: { ...chosen(8, 16), shape: [1, N, 8] },
    },
    flops: N * 8 * 64,
    differentiable: ['heads', 'weights'],
    call: (ops, { heads, weights, indices }) => ops.mixtureOfHeads(heads, { weights, indices }),
  },
  {
    op: 'zeroComputationExperts',
    id: `N${N} D${D} top-2`,
    inputs: { hidden, weights: weights(2), indices: chosen(2, 12), constants: { shape: [2, D] } },
    flops: 4 * N * D,
    differentiable: ['hidden', 'weights', 'constants'],
    call: (ops, { hidden, weights, indices, constants }) =>
      ops.zeroComputationExperts(
        hidden,
        { weights, indices },
        { numExperts: 8, numZero: 1, numCopy: 1, constants },
      ).output,
  },
];
