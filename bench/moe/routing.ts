import type { Ops, Tensors } from '../../src/catalog/types';
import type { Routing } from '../../src/moe';
import type { Workload } from '../types';

const [N, E, K, D] = [4096, 64, 8, 256];
const logits = { shape: [N, E] };
/** K different experts of every token. */
const indices = {
  shape: [N, K],
  dtype: 'int32',
  values: Array.from({ length: N * K }, (_, i) => ((i * 5 + (i / K) * 7 * K) % E) | 0),
} as const;
const counts = {
  shape: [E],
  dtype: 'int32',
  values: Array.from({ length: E }, (_, e) => 400 + 3 * e),
} as const;

function rule(
  op: Workload['op'],
  call: (ops: Ops, tensors: Tensors) => Routing,
  options: Partial<Workload> = {},
): Workload {
  return {
    op,
    id: `N${N} E${E}`,
    inputs: { logits },
    // an exponential and a comparison of every score
    flops: 20 * N * E,
    differentiable: ['logits'],
    call: (ops, tensors) => {
      const { weights, indices } = call(ops, tensors);
      return [weights, indices];
    },
    ...options,
  };
}

/** Rules that choose experts from their scores, and the losses of the choice. */
export const routing: Workload[] = [
  {
    op: 'routerLogits',
    id: `N${N} D${D} E${E}`,
    inputs: { hidden: { shape: [N, D] }, router: { shape: [E, D], scale: 1 / 16 } },
    flops: 2 * N * D * E,
    differentiable: ['hidden', 'router'],
    call: (ops, { hidden, router }) => ops.routerLogits(hidden, router),
  },
  {
    op: 'routingWeights',
    id: `N${N} E${E} top-${K}`,
    inputs: { logits, indices },
    flops: 20 * N * E,
    differentiable: ['logits'],
    call: (ops, { logits, indices }) => ops.routingWeights(logits, indices),
  },
  rule('switchRouting', (ops, { logits }) => ops.switchRouting(logits, { capacityFactor: 1.25 })),
  rule('topPRouting', (ops, { logits }) => ops.topPRouting(logits, { topP: 0.5 })),
  rule('reluRouting', (ops, { logits }) => ops.reluRouting(logits), { flops: 2 * N * E }),
  rule('sinkhornRouting', (ops, { logits }) => ops.sinkhornRouting(logits)),
  rule('baseRouting', (ops, { logits }) => ops.baseRouting(logits), {
    id: 'N512 E16',
    inputs: { logits: { shape: [512, 16] } },
    flops: 20 * 512 * 16,
  }),
  rule('hashRouting', (ops, { ids }) => ops.hashRouting(ids, { numExperts: E, topK: 2 }), {
    inputs: { ids: { shape: [1, N], dtype: 'int32', values: Array.from({ length: N }, (_, i) => i * 31) } },
    flops: 20 * N,
    differentiable: undefined,
  }),
  {
    op: 'expertChoiceRouting',
    id: `N${N} E${E}`,
    inputs: { logits },
    flops: 20 * N * E,
    differentiable: ['logits'],
    call: (ops, { logits }) => {
      const { weights, tokens } = ops.expertChoiceRouting(logits, { capacity: 128 });
      return [weights, tokens];
    },
  },
  rule('productKeyRouting', (ops, { a, b }) => ops.productKeyRouting(a, b, { topK: 16 }), {
    id: 'N2048 n128 top-16',
    inputs: { a: { shape: [2048, 128] }, b: { shape: [2048, 128] } },
    flops: 2048 * (4 * 128 + 256),
    differentiable: ['a', 'b'],
  }),
  {
    op: 'loadBalancingLoss',
    id: `N${N} E${E} top-${K}`,
    inputs: { logits, indices },
    flops: 20 * N * E,
    differentiable: ['logits'],
    call: (ops, { logits, indices }) => ops.loadBalancingLoss(logits, indices),
  },
  {
    op: 'globalBatchBalanceLoss',
    id: `N${N} E${E}`,
    inputs: { logits, counts },
    flops: 20 * N * E,
    differentiable: ['logits'],
    call: (ops, { logits, counts }) => ops.globalBatchBalanceLoss(logits, counts, N),
  },
  {
    op: 'routerZLoss',
    id: `N${N} E${E}`,
    inputs: { logits },
    flops: 20 * N * E,
    differentiable: ['logits'],
    call: (ops, { logits }) => ops.routerZLoss(logits),
  },
  {
    op: 'updateRouterBias',
    id: `E${E}`,
    inputs: { bias: { shape: [E] }, counts },
    flops: 3 * E,
    call: (ops, { bias, counts }) => ops.updateRouterBias(bias, counts, 0.001),
  },
];
