import type { Workload } from '../types';

const [T, H, D] = [1024, 8, 64];
const tokens = { shape: [1, T, H, D] };

export const forgettingAttention: Workload[] = [
  {
    op: 'forgettingAttention',
    id: `T${T} H${H} D${D}`,
    inputs: { q: tokens, k: tokens, v: tokens, g: { shape: [1, T, H], draw: 'logSigmoid', shift: 3 } },
    flops: 2 * D * H * T * (T + 1),
    differentiable: ['q', 'k', 'v', 'g'],
    call: (ops, { q, k, v, g }) => ops.forgettingAttention(q, k, v, g),
  },
];
