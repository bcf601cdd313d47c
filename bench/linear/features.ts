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

/** A feature map of T H rows of D numbers, `flops` of each. */
function map(
  op: keyof Ops,
  D: number,
  flops: number,
  weight: number | undefined,
  call: Workload['call'],
): Workload {
  const inputs = {
    x: { shape: [1, T, H, D] },
    ...(weight === undefined ? {} : { w: { shape: [weight, D], scale: D ** -0.5 } }),
  };
  return {
    op,
    id: `T${T} H${H} D${D}`,
    inputs,
    flops: T * H * flops,
    differentiable: Object.keys(inputs),
    call,
  };
}

export const features: Workload[] = [
  // one product for every feature
  map('taylorFeatures', 16, 1 + 16 + (16 * 17) / 2, undefined, (ops, { x }) => ops.taylorFeatures(x)),
  map('powerFeatures', 16, (16 * 17) / 2, undefined, (ops, { x }) => ops.powerFeatures(x, 2)),
  // the projection, the square of x and the exponentials; a softmax over both signs
  map('performerFeatures', 64, 2 * 128 * 64 + 2 * 64 + 2 * 128, 128, (ops, { x, w }) =>
    ops.performerFeatures(x, w),
  ),
  map('hedgehogFeatures', 64, 2 * 64 * 64 + 4 * 128, 64, (ops, { x, w }) => ops.hedgehogFeatures(x, w)),
  polynomial('based', 1 + 16 + (16 * 17) / 2),
  polynomial('rebased', (16 * 17) / 2),
  slots('gsa', (ops, { q, k, v, s, g }) => ops.gsa(q, k, v, s, g)),
  slots('abc', (ops, { q, k, v, s }) => ops.abc(q, k, v, s)),
];
