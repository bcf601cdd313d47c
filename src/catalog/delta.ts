import type { Tensor } from '@tensorflow/tfjs-core';
import type { Recurrent, RecurrentOptions } from '../linear';
import { DELTA_RULE, LINEAR } from './bounds';
import type { Case, CatalogEntry, InputSpec, Ops, Tensors } from './types';

interface Sizes {
  B?: number;
  T: number;
  H: number;
  HV?: number;
  K: number;
  V: number;
}

/** Inputs of the delta rules; `S` counts steps where a token has several. */
function inputsOf({ B = 1, T, H, HV = H, K, V }: Sizes, S = T) {
  return {
    q: { shape: [B, T, H, K] },
    k: { shape: [B, S, H, K], draw: 'unit' },
    v: { shape: [B, S, HV, V] },
    p: { shape: [B, S, H, K], draw: 'unit' },
    a: { shape: [B, S, H, K], draw: 'unit' },
    b: { shape: [B, S, H, K], scale: 0.2 },
    g: { shape: [B, T, HV], draw: 'logSigmoid' },
    gk: { shape: [B, T, HV, K], draw: 'logSigmoid' },
    unitV: { shape: [B, S, HV, V], draw: 'unit' },
    gv: { shape: [B, T, HV, V], draw: 'logSigmoid' },
    beta: { shape: [B, S, HV], draw: 'sigmoid' },
    logits: { shape: [B, S, HV] },
    state: { shape: [B, HV, K, V] },
  } satisfies Record<string, InputSpec>;
}

const pick = <T extends object, N extends keyof T>(from: T, ...names: N[]): { [name in N]: T[name] } =>
  Object.fromEntries(names.map((name) => [name, from[name]])) as { [name in N]: T[name] };

const SMALL = { B: 2, T: 19, H: 2, K: 8, V: 8 };
/** Grouped heads, nothing a multiple of a tile. */
const ODD = { T: 21, H: 1, HV: 3, K: 5, V: 11 };
const PACKED = { T: 23, H: 2, K: 4, V: 4 };
const BOUNDS = [0, 3, 3, 20, 23];

type Call = (ops: Ops, tensors: Tensors, options: RecurrentOptions) => Tensor | Recurrent;

/** The same three for every generalized delta rule; `gate` is its log decay's name here. */
function generalizedCases(gate: 'gk' | undefined, call: Call): Case[] {
  const names = ['q', 'k', 'v', 'a', 'b', ...(gate === undefined ? [] : [gate])] as const;
  return [
    {
      id: 'B2-T19-H2-K8-V8',
      inputs: pick(inputsOf(SMALL), ...names),
      call: (ops, tensors) => call(ops, tensors, {}) as Tensor,
    },
    {
      id: 'T21-K5-V11-state',
      inputs: pick(inputsOf({ ...ODD, H: 2, HV: 2 }), ...names, 'state'),
      call: (ops, tensors) => {
        const options = { initialState: tensors.state, outputFinalState: true, scale: 0.7 };
        const { output, finalState } = call(ops, tensors, options) as Recurrent;
        return [output, finalState];
      },
    },
    {
      id: 'T23-packed',
      inputs: pick(inputsOf(PACKED), ...names),
      call: (ops, tensors) => call(ops, tensors, { cuSeqlens: BOUNDS }) as Tensor,
    },
  ];
}

export const deltaRules: CatalogEntry[] = [
  {
    name: 'deltaRule',
    family: 'linear',
    summary: 'Delta rule (DeltaNet)',
    paper: {
      title: 'Parallelizing Linear Transformers with the Delta Rule over Sequence Length',
      url: 'https://arxiv.org/abs/2406.06484',
    },
    bounds: DELTA_RULE,
    cases: [
      {
        id: 'B2-T19-H2-K8-V8',
        inputs: pick(inputsOf(SMALL), 'q', 'k', 'v', 'beta'),
        call: (ops, { q, k, v, beta }) => ops.deltaRule(q, k, v, beta),
      },
      {
        id: 'T21-HV3-K5-V11-state-norm-sigmoid',
        inputs: pick(inputsOf(ODD), 'q', 'k', 'v', 'logits', 'state'),
        call: (ops, { q, k, v, logits, state }) => {
          const options = { initialState: state, useQkL2norm: true, betaSigmoid: true, scale: 0.7 } as const;
          const { output, finalState } = ops.deltaRule(q, k, v, logits, {
            ...options,
            outputFinalState: true,
          });
          return [output, finalState];
        },
      },
      {
        id: 'T23-packed',
        inputs: pick(inputsOf(PACKED), 'q', 'k', 'v', 'beta'),
        call: (ops, { q, k, v, beta }) => ops.deltaRule(q, k, v, beta, { cuSeqlens: BOUNDS }),
      },
    ],
  },
  {
    name: 'gatedDeltaRule',
    family: 'linear',
    summary: 'Gated delta rule (Gated DeltaNet, Qwen3-Next)',
    paper: {
      title: 'Gated Delta Networks: Improving Mamba2 with Delta Rule',
      url: 'https://arxiv.org/abs/2412.06464',
    },
    bounds: DELTA_RULE,
    cases: [
      {
        id: 'B2-T19-H2-K8-V8',
        inputs: pick(inputsOf(SMALL), 'q', 'k', 'v', 'g', 'beta'),
        call: (ops, { q, k, v, g, beta }) => ops.gatedDeltaRule(q, k, v, g, beta),
      },
      {
        id: 'T21-HV3-K5-V11-state-norm-sigmoid',
        inputs: pick(inputsOf(ODD), 'q', 'k', 'v', 'g', 'logits', 'state'),
        call: (ops, { q, k, v, g, logits, state }) => {
          const options = { initialState: state, useQkL2norm: true, betaSigmoid: true } as const;
          const result = ops.gatedDeltaRule(q, k, v, g, logits, { ...options, outputFinalState: true });
          return [result.output, result.finalState];
        },
      },
    ],
  },
  {
    name: 'kda',
    family: 'linear',
    summary: 'Kimi delta attention: delta rule with a decay per channel',
    paper: {
      title: 'Kimi Linear: An Expressive, Efficient Attention Architecture',
      url: 'https://arxiv.org/abs/2510.26692',
    },
    bounds: DELTA_RULE,
    cases: [
      {
        id: 'B2-T19-H2-K8-V8',
        inputs: pick(inputsOf(SMALL), 'q', 'k', 'v', 'gk', 'beta'),
        call: (ops, { q, k, v, gk, beta }) => ops.kda(q, k, v, gk, beta),
      },
      {
        id: 'T21-HV3-K5-V11-state-norm-sigmoid',
        inputs: pick(inputsOf(ODD), 'q', 'k', 'v', 'gk', 'logits', 'state'),
        call: (ops, { q, k, v, gk, logits, state }) => {
          const options = { initialState: state, useQkL2norm: true, betaSigmoid: true } as const;
          const result = ops.kda(q, k, v, gk, logits, { ...options, outputFinalState: true });
          return [result.output, result.finalState];
        },
      },
    ],
  },
  {
    name: 'comba',
    family: 'linear',
    summary: 'Comba: gated delta rule with a second key that reads',
    paper: {
      title: 'Comba: Improving Bilinear RNNs with Closed-loop Control',
      url: 'https://arxiv.org/abs/2506.02475',
    },
    bounds: DELTA_RULE,
    cases: [
      {
        id: 'B2-T19-H2-K8-V8',
        inputs: pick(inputsOf(SMALL), 'q', 'k', 'v', 'p', 'g', 'beta'),
        call: (ops, { q, k, v, p, g, beta }) => ops.comba(q, k, v, p, g, beta),
      },
      {
        id: 'T21-HV3-K5-V11-state-norm-sigmoid',
        inputs: pick(inputsOf(ODD), 'q', 'k', 'v', 'p', 'g', 'logits', 'state'),
        call: (ops, { q, k, v, p, g, logits, state }) => {
          const options = { initialState: state, useQkL2norm: true, betaSigmoid: true } as const;
          const result = ops.comba(q, k, v, p, g, logits, { ...options, outputFinalState: true });
          return [result.output, result.finalState];
        },
      },
    ],
  },
  {
    name: 'gatedDeltaProduct',
    family: 'linear',
    summary: 'Gated DeltaProduct: several delta steps per token',
    paper: {
      title: 'DeltaProduct: Improving State-Tracking in Linear RNNs via Householder Products',
      url: 'https://arxiv.org/abs/2502.10297',
    },
    bounds: DELTA_RULE,
    cases: [
      {
        id: 'T19-n2',
        inputs: pick(inputsOf({ ...SMALL, B: 1 }, 38), 'q', 'k', 'v', 'g', 'beta'),
        call: (ops, { q, k, v, g, beta }) => ops.gatedDeltaProduct(q, k, v, g, beta, { numHouseholder: 2 }),
      },
      {
        id: 'T7-HV3-K5-V11-n3-state-norm-sigmoid',
        inputs: pick(inputsOf({ ...ODD, T: 7 }, 21), 'q', 'k', 'v', 'g', 'logits', 'state'),
        call: (ops, { q, k, v, g, logits, state }) => {
          const options = {
            initialState: state,
            useQkL2norm: true,
            betaSigmoid: true,
            numHouseholder: 3,
          } as const;
          const result = ops.gatedDeltaProduct(q, k, v, g, logits, { ...options, outputFinalState: true });
          return [result.output, result.finalState];
        },
      },
      {
        id: 'T9-n2-packed-ungated',
        inputs: pick(inputsOf({ ...PACKED, T: 9 }, 18), 'q', 'k', 'v', 'beta'),
        call: (ops, { q, k, v, beta }) =>
          ops.gatedDeltaProduct(q, k, v, undefined, beta, { numHouseholder: 2, cuSeqlens: [0, 2, 9] }),
      },
    ],
  },
  {
    name: 'dplrDeltaRule',
    family: 'linear',
    summary: 'Generalized delta rule, diagonal plus low-rank',
    paper: {
      title: 'RWKV-7 Goose with Expressive Dynamic State Evolution',
      url: 'https://arxiv.org/abs/2503.14456',
    },
    bounds: DELTA_RULE,
    cases: generalizedCases('gk', (ops, { q, k, v, a, b, gk }, options) =>
      ops.dplrDeltaRule(q, k, v, a, b, gk, options),
    ),
  },
  {
    name: 'iplrDeltaRule',
    family: 'linear',
    summary: 'Generalized delta rule, identity plus low-rank',
    paper: {
      title: 'Parallelizing Linear Transformers with the Delta Rule over Sequence Length',
      url: 'https://arxiv.org/abs/2406.06484',
    },
    bounds: DELTA_RULE,
    cases: generalizedCases(undefined, (ops, { q, k, v, a, b }, options) =>
      ops.iplrDeltaRule(q, k, v, a, b, options),
    ),
  },
  {
    name: 'rwkv7',
    family: 'linear',
    summary: 'RWKV-7 (Goose)',
    paper: {
      title: 'RWKV-7 Goose with Expressive Dynamic State Evolution',
      url: 'https://arxiv.org/abs/2503.14456',
    },
    bounds: DELTA_RULE,
    cases: generalizedCases('gk', (ops, { q, k, v, a, b, gk }, options) =>
      ops.rwkv7(q, gk, k, v, a, b, options),
    ),
  },
  {
    name: 'gatedOjaRule',
    family: 'linear',
    summary: 'Gated Oja rule: the delta rule with keys and values exchanged',
    paper: {
      title: 'Simplified neuron model as a principal component analyzer',
      url: 'https://doi.org/10.1007/BF00275687',
    },
    bounds: DELTA_RULE,
    cases: [
      {
        id: 'B2-T19-H2-K8-V8',
        inputs: pick(inputsOf(SMALL), 'q', 'k', 'unitV', 'gv', 'beta'),
        call: (ops, { q, k, unitV, gv, beta }) => ops.gatedOjaRule(q, k, unitV, gv, beta),
      },
      {
        id: 'T21-K5-V11-state-norm',
        inputs: pick(inputsOf({ ...ODD, H: 2, HV: 2 }), 'q', 'k', 'unitV', 'gv', 'beta', 'state'),
        call: (ops, { q, k, unitV, gv, beta, state }) => {
          const options = { initialState: state, useQL2norm: true, useKL2norm: true } as const;
          const result = ops.gatedOjaRule(q, k, unitV, gv, beta, { ...options, outputFinalState: true });
          return [result.output, result.finalState];
        },
      },
      {
        id: 'T23-packed',
        inputs: pick(inputsOf(PACKED), 'q', 'k', 'unitV', 'gv', 'beta'),
        call: (ops, { q, k, unitV, gv, beta }) =>
          ops.gatedOjaRule(q, k, unitV, gv, beta, { cuSeqlens: BOUNDS }),
      },
    ],
  },
  {
    name: 'kdaGate',
    family: 'linear',
    summary: 'Log decay of Kimi delta attention',
    paper: {
      title: 'Kimi Linear: An Expressive, Efficient Attention Architecture',
      url: 'https://arxiv.org/abs/2510.26692',
    },
    bounds: LINEAR,
    cases: [
      {
        id: 'T9-H3-K8',
        inputs: { g: { shape: [1, 9, 3, 8], scale: 4 }, aLog: { shape: [3] }, dtBias: { shape: [24] } },
        call: (ops, { g, aLog, dtBias }) => ops.kdaGate(g, aLog, dtBias),
      },
      {
        id: 'B2-T5-K7-bounded-plain',
        inputs: { g: { shape: [2, 5, 2, 7] }, aLog: { shape: [2] } },
        call: (ops, { g, aLog }) => ops.kdaGate(g, aLog, undefined, { lowerBound: -5 }),
      },
    ],
  },
];
