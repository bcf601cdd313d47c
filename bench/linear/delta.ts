import type { Ops, Tensors } from '../../src/catalog/types';
import type { Recurrent } from '../../src/linear';
import { linearAttention } from '../onnx/linear';
import type { Workload } from '../types';

const [H, K, V] = [8, 64, 64];

interface Form {
  /** Inputs besides q, k and v. */
  gates: readonly ('g' | 'gk' | 'gv' | 'beta' | 'a' | 'b')[];
  /** Flops per token and head in multiples of K V. */
  products: number;
  rule?: 'delta' | 'gated_delta';
  /** Delta steps per token. */
  steps?: number;
  lengths?: readonly number[];
  call(ops: Ops, tensors: Tensors, options: { scale: number; outputFinalState?: true }): unknown;
}

const forms: Partial<Record<keyof Ops, Form>> = {
  deltaRule: {
    gates: ['beta'],
    products: 6,
    rule: 'delta',
    call: (ops, { q, k, v, beta, state }, options) =>
      ops.deltaRule(q, k, v, beta, { ...options, initialState: state }),
  },
  gatedDeltaRule: {
    gates: ['g', 'beta'],
    products: 7,
    rule: 'gated_delta',
    call: (ops, { q, k, v, g, beta, state }, options) =>
      ops.gatedDeltaRule(q, k, v, g, beta, { ...options, initialState: state }),
  },
  kda: {
    gates: ['gk', 'beta'],
    products: 7,
    call: (ops, { q, k, v, gk, beta, state }, options) =>
      ops.kda(q, k, v, gk, beta, { ...options, initialState: state }),
  },
  rwkv7: {
    gates: ['gk', 'a', 'b'],
    products: 9,
    call: (ops, { q, gk, k, v, a, b, state }, options) =>
      ops.rwkv7(q, gk, k, v, a, b, { ...options, initialState: state }),
  },
  comba: {
    gates: ['a', 'g', 'beta'],
    products: 7,
    lengths: [2048],
    call: (ops, { q, k, v, a, g, beta }, options) => ops.comba(q, k, v, a, g, beta, options),
  },
  dplrDeltaRule: {
    gates: ['a', 'b', 'gk'],
    products: 9,
    lengths: [2048],
    call: (ops, { q, k, v, a, b, gk }, options) => ops.dplrDeltaRule(q, k, v, a, b, gk, options),
  },
  iplrDeltaRule: {
    gates: ['a', 'b'],
    products: 8,
    lengths: [2048],
    call: (ops, { q, k, v, a, b }, options) => ops.iplrDeltaRule(q, k, v, a, b, options),
  },
  gatedDeltaProduct: {
    gates: ['g', 'beta'],
    products: 11,
    steps: 2,
    lengths: [1024],
    call: (ops, { q, k, v, g, beta }, options) =>
      ops.gatedDeltaProduct(q, k, v, g, beta, { ...options, numHouseholder: 2 }),
  },
  gatedOjaRule: {
    gates: ['gv', 'beta'],
    products: 7,
    lengths: [2048],
    call: (ops, { q, k, v, gv, beta }, options) => ops.gatedOjaRule(q, k, v, gv, beta, options),
  },
};

function workload(op: keyof Ops, { gates, products, rule, steps = 1, call }: Form, T: number): Workload {
  const S = T * steps;
  const key = { shape: [1, S, H, K], draw: 'unit' as const };
  const given = {
    g: { shape: [1, T, H], draw: 'logSigmoid' as const },
    gk: { shape: [1, T, H, K], draw: 'logSigmoid' as const },
    gv: { shape: [1, T, H, V], draw: 'logSigmoid' as const },
    beta: { shape: [1, S, H], draw: 'sigmoid' as const },
    a: key,
    b: { shape: [1, S, H, K], scale: 0.1 },
  };
  const decode = T === 1;
  const inputs = {
    q: { shape: [1, T, H, K] },
    k: key,
    v: { shape: [1, S, H, V], ...(op === 'gatedOjaRule' ? { draw: 'unit' as const } : {}) },
    ...Object.fromEntries(gates.map((name) => [name, given[name]])),
    ...(decode ? { state: { shape: [1, H, K, V] } } : {}),
  };
  return {
    op,
    id: `T${T} H${H} K${K} V${V}${steps > 1 ? ` ${steps} steps` : ''}${decode ? ' with state' : ''}`,
    quick: op === 'gatedDeltaRule' && T === 2048,
    inputs,
    flops: products * T * H * K * V,
    differentiable: decode ? undefined : ['q', 'k', 'v', ...gates],
    call: (ops, tensors) => {
      const result = call(ops, tensors, { scale: 1, outputFinalState: decode || undefined });
      const { output, finalState } = result as Recurrent;
      return decode ? [output, finalState] : (result as Recurrent['output']);
    },
    onnx: rule && {
      '': ({ q, k, v, g, beta, state }) => linearAttention({ q, k, v, g, beta, initialState: state }, rule),
    },
  };
}

export const delta: Workload[] = Object.entries(forms).flatMap(([op, form]) =>
  (form.lengths ?? [1, 2048, 8192]).map((T) => workload(op as keyof Ops, form, T)),
);
