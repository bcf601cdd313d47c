import type { Ops } from '../../src/catalog/types';
import type { Workload } from '../types';

const [T, H] = [2048, 8];

/** Softmax attention's Taylor polynomials of queries and keys of D numbers, as recurrences of as many features. */
function polynomial(op: 'based' | 'rebased', features: number): Workload {
  const [D, V] = [16, 64];
  return {
    op,
    id: `T${T} H${H} D${D} V${V}`,
    inputs: { q: { shape: [1, T, H, D] }, k: { shape: [1, T, H, D] }, v: { shape: [1, T, H, V] } },
    // a product for every feature of q and k; values and the sum of weights written and read
    flops: T * H * features * (2 + 4 * (V + 1)),
    differentiable: ['q', 'k', 'v'],
    call: (ops, { q, k, v }) => ops[op](q, k, v),
  };
}

/** M slots of keys and values: two recurrences, and a softmax of four steps a slot between them. */
function slots(op: 'gsa' | 'abc', call: Workload['call']): Workload {
  const [K, V, M] = [64, 64, 64];
  const gate = { g: { shape: [1, T, H, M], draw: 'logSigmoid' as const } };
  return {
    op: op as keyof Ops,
    id: `T${T} H${H} K${K} V${V} M${M}`,
    inputs: {
      q: { shape: [1, T, H, K] },
      k: { shape: [1, T, H, K] },
      v: { shape: [1, T, H, V] },
      s: { shape: [1, T, H, M] },
      ...(op === 'gsa' ? gate : {}),
    },
    flops: T * H * M * (5 * (K + V) + 4),
    differentiable: ['q', 'k', 'v', 's', ...(op === 'gsa' ? ['g'] : [])],
    call,
  };
}

export const features: Workload[] = [
  polynomial('based', 1 + 16 + (16 * 17) / 2),
  polynomial('rebased', (16 * 17) / 2),
  slots('gsa', (ops, { q, k, v, s, g }) => ops.gsa(q, k, v, s, g)),
  slots('abc', (ops, { q, k, v, s }) => ops.abc(q, k, v, s)),
];
