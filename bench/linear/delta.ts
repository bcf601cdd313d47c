import type { Ops, Tensors } from '../../src/catalog/types';
import type { Recurrent } from '../../src/linear';
import { linearAttention } from '../onnx/linear';
import type { Workload } from '../types';

const [H, K, V] = [8, 64, 64];

interface Form {
  /** Inputs besides q, k and v. */
  gates: readonly ('g' | 'gk' | 'beta' | 'a' | 'b')[];
  /** Flops per token and head in multiples of K V. */
  products: number;
  rule?: 'delta' | 'gated_delta';
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
};

function workload(op: keyof Ops, { gates, products, rule, call }: Form, T: number): Workload {
  const key = { shape: [1, T, H, K], draw: 'unit' as const };
  const given = {
    g: { shape: [1, T, H], draw: 'logSigmoid' as const },
    gk: { shape: [1, T, H, K], draw: 'logSigmoid' as const },
    beta: { shape: [1, T, H], draw: 'sigmoid' as const },
    a: key,
    b: { shape: [1, T, H, K], scale: 0.1 },
  };
  const decode = T === 1;
  const inputs = {
    q: { shape: [1, T, H, K] },
    k: key,
    v: { shape: [1, T, H, V] },
    ...Object.fromEntries(gates.map((name) => [name, given[name]])),
    ...(decode ? { state: { shape: [1, H, K, V] } } : {}),
  };
  return {
    op,
    id: `T${T} H${H} K${K} V${V}${decode ? ' with state' : ''}`,
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
  [1, 2048, 8192].map((T) => workload(op as keyof Ops, form, T)),
);
