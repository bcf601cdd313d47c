import type { Ops, Tensors } from '../../src/catalog/types';
import type { Recurrent } from '../../src/linear';
import { linearAttention } from '../onnx/linear';
import type { Workload } from '../types';

const [H, K, V] = [8, 64, 64];

interface Form {
  /** Its inputs besides q, k and v. */
  gates?: readonly ('g' | 'gk' | 'u')[];
  /** Flops per token and head in multiples of K V. */
  products: number;
  rule?: 'linear' | 'gated';
  call(ops: Ops, tensors: Tensors, options: { scale: number; outputFinalState?: true }): unknown;
}

const forms: Partial<Record<keyof Ops, Form>> = {
  linearAttention: {
    products: 4,
    rule: 'linear',
    call: (ops, { q, k, v, state }, options) =>
      ops.linearAttention(q, k, v, { ...options, initialState: state }),
  },
  simpleGla: {
    gates: ['g'],
    products: 5,
    rule: 'gated',
    call: (ops, { q, k, v, g, state }, options) =>
      ops.simpleGla(q, k, v, g, { ...options, initialState: state }),
  },
  gla: {
    gates: ['gk'],
    products: 5,
    rule: 'gated',
    call: (ops, { q, k, v, gk, state }, options) => ops.gla(q, k, v, gk, { ...options, initialState: state }),
  },
  linearRecurrence: {
    gates: ['gk'],
    products: 5,
    call: (ops, { q, k, v, gk }, options) => ops.linearRecurrence(q, k, v, { ...options, g: gk }),
  },
  retention: {
    products: 5,
    call: (ops, { q, k, v }, options) => ops.retention(q, k, v, options),
  },
  lightningAttention: {
    products: 5,
    call: (ops, { q, k, v }, options) => ops.lightningAttention(q, k, v, options),
  },
  rwkv6: {
    gates: ['gk', 'u'],
    products: 5,
    call: (ops, { q, k, v, gk, u }, options) => ops.rwkv6(q, k, v, gk, u, options),
  },
};

function workload(op: keyof Ops, { gates = [], products, rule, call }: Form, T: number): Workload {
  const given = {
    g: { shape: [1, T, H], draw: 'logSigmoid' as const },
    gk: { shape: [1, T, H, K], draw: 'logSigmoid' as const },
    u: { shape: [H, K] },
  };
  const decode = T === 1;
  return {
    op,
    id: `T${T} H${H} K${K} V${V}${decode ? ' with state' : ''}`,
    quick: op === 'linearAttention' && T === 2048,
    inputs: {
      q: { shape: [1, T, H, K] },
      k: { shape: [1, T, H, K] },
      v: { shape: [1, T, H, V] },
      ...Object.fromEntries(gates.map((name) => [name, given[name]])),
      ...(decode ? { state: { shape: [1, H, K, V] } } : {}),
    },
    flops: products * T * H * K * V,
    differentiable: decode ? undefined : ['q', 'k', 'v', ...gates],
    call: (ops, tensors) => {
      const result = call(ops, tensors, { scale: 1, outputFinalState: decode || undefined });
      const { output, finalState } = result as Recurrent;
      return decode ? [output, finalState] : (result as Recurrent['output']);
    },
    onnx: rule && {
      '': ({ q, k, v, g, gk, state }) => linearAttention({ q, k, v, g: g ?? gk, initialState: state }, rule),
    },
  };
}

export const additive: Workload[] = Object.entries(forms).flatMap(([op, form]) =>
  (form.rule ? [1, 2048, 8192] : [2048]).map((T) => workload(op as keyof Ops, form, T)),
);
