import { concat, exp, matMul, mul, neg, softmax, square, sub, sum, type Tensor } from '@tensorflow/tfjs-core';
import type { AdditiveOptions, Recurrent } from '../linear';
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

function inputsOf({ B = 1, T, H, HV = H, K, V }: Sizes, N = B) {
  return {
    q: { shape: [B, T, H, K] },
    k: { shape: [B, T, H, K] },
    v: { shape: [B, T, HV, V] },
    g: { shape: [B, T, HV], draw: 'logSigmoid' },
    gk: { shape: [B, T, HV, K], draw: 'logSigmoid' },
    u: { shape: [H, K] },
    state: { shape: [N, HV, K, V] },
  } satisfies Record<string, InputSpec>;
}

const SMALL = { B: 2, T: 19, H: 2, K: 8, V: 8 };
/** Grouped heads, nothing a multiple of a tile. */
const ODD = { T: 21, H: 1, HV: 3, K: 5, V: 11 };
const PACKED = { T: 33, H: 2, K: 4, V: 6 };
const BOUNDS = [0, 3, 3, 30, 33];

type Call = (ops: Ops, tensors: Tensors, options: AdditiveOptions) => Tensor | Recurrent;

/** The same five for every additive recurrence; `names` are its inputs besides q, k and v. */
function casesOf(names: readonly ('g' | 'gk' | 'u')[], call: Call): Case[] {
  const pick = (inputs: Record<string, InputSpec>, ...more: string[]) =>
    Object.fromEntries(['q', 'k', 'v', ...names, ...more].map((name) => [name, inputs[name]]));
  const withState = (ops: Ops, tensors: Tensors, options: AdditiveOptions) => {
    const given = { initialState: tensors.state, outputFinalState: true, ...options };
    const { output, finalState } = call(ops, tensors, given) as Recurrent;
    return [output, finalState];
  };
  return [
    {
      id: 'B2-T19-H2-K8-V8',
      inputs: pick(inputsOf(SMALL)),
      call: (ops, tensors) => call(ops, tensors, {}) as Tensor,
    },
    {
      id: 'T21-HV3-K5-V11-state',
      inputs: pick(inputsOf(ODD), 'state'),
      call: (ops, tensors) => withState(ops, tensors, { scale: 0.7 }),
    },
    {
      id: 'T4-HV3-K5-V21-state',
      inputs: pick(inputsOf({ ...ODD, T: 4, V: 21 }), 'state'),
      call: (ops, tensors) => withState(ops, tensors, {}),
    },
    {
      id: 'T33-packed-state',
      inputs: pick(inputsOf(PACKED, 4), 'state'),
      call: (ops, tensors) => withState(ops, tensors, { cuSeqlens: BOUNDS }),
    },
    {
      id: 'T33-packed-reverse',
      inputs: pick(inputsOf(PACKED)),
      call: (ops, tensors) => call(ops, tensors, { cuSeqlens: BOUNDS, reverse: true }) as Tensor,
    },
  ];
}

/** Inputs of slot attention with M slots. */
function slots(sizes: Sizes, M: number): Record<string, InputSpec> {
  const { q, k, v } = inputsOf(sizes);
  return { q, k, v, s: { shape: [...q.shape.slice(0, 3), M] } };
}

const plain = inputsOf(SMALL);
const odd = inputsOf(ODD);

export const additive: CatalogEntry[] = [
  {
    name: 'linearAttention',
    family: 'linear',
    summary: 'Linear attention with feature maps, causal or not',
    paper: {
      title: 'Transformers are RNNs: Fast Autoregressive Transformers with Linear Attention',
      url: 'https://arxiv.org/abs/2006.16236',
    },
    bounds: LINEAR,
    cases: [
      ...casesOf([], (ops, { q, k, v }, options) => ops.linearAttention(q, k, v, options)),
      {
        id: 'B2-T19-elu-normalized',
        inputs: { q: plain.q, k: plain.k, v: plain.v },
        call: (ops, { q, k, v }) => ops.linearAttention(q, k, v, { featureMap: 'elu', normalize: true }),
      },
      {
        id: 'T21-HV3-K5-V11-elu-normalized-state',
        inputs: {
          q: odd.q,
          k: odd.k,
          v: odd.v,
          state: odd.state,
          z: { shape: [1, 1, 3, 5], draw: 'sigmoid' },
        },
        call: (ops, { q, k, v, state, z }) => {
          const options = { featureMap: 'elu', normalize: true, initialState: state, initialZ: z } as const;
          const result = ops.linearAttention(q, k, v, { ...options, outputFinalState: true });
          return [result.output, result.finalState, result.finalZ!];
        },
      },
      {
        id: 'T21-HV3-K5-V11-bidirectional-relu-normalized',
        inputs: { q: odd.q, k: odd.k, v: odd.v },
        call: (ops, { q, k, v }) => {
          const options = { featureMap: 'relu', normalize: true, eps: 0.1 } as const;
          return ops.linearAttention(q, k, v, { ...options, isCausal: false });
        },
      },
      {
        id: 'T33-packed-bidirectional',
        inputs: Object.fromEntries(['q', 'k', 'v'].map((name) => [name, inputsOf(PACKED)[name as 'q']])),
        call: (ops, { q, k, v }) => ops.linearAttention(q, k, v, { cuSeqlens: BOUNDS, isCausal: false }),
      },
    ],
  },
  {
    name: 'retention',
    family: 'linear',
    summary: 'Retention (RetNet): constant decays',
    paper: {
      title: 'Retentive Network: A Successor to Transformer for Large Language Models',
      url: 'https://arxiv.org/abs/2307.08621',
    },
    bounds: LINEAR,
    cases: casesOf([], (ops, { q, k, v }, options) => ops.retention(q, k, v, options)),
  },
  {
    name: 'lightningAttention',
    family: 'linear',
    summary: 'Lightning attention (TransNormerLLM, MiniMax): constant decays by layer',
    paper: {
      title: 'Various Lengths, Constant Speed: Efficient Language Modeling with Lightning Attention',
      url: 'https://arxiv.org/abs/2405.17381',
    },
    bounds: LINEAR,
    cases: casesOf([], (ops, { q, k, v }, options) =>
      ops.lightningAttention(q, k, v, { ...options, layerIdx: 1, numLayers: 4 }),
    ),
  },
  {
    name: 'simpleGla',
    family: 'linear',
    summary: 'Gated linear attention with a decay per head (Mamba-2, mLSTM)',
    paper: {
      title:
        'Transformers are SSMs: Generalized Models and Efficient Algorithms Through Structured State Space Duality',
      url: 'https://arxiv.org/abs/2405.21060',
    },
    bounds: LINEAR,
    cases: casesOf(['g'], (ops, { q, k, v, g }, options) => ops.simpleGla(q, k, v, g, options)),
  },
  {
    name: 'gla',
    family: 'linear',
    summary: 'Gated linear attention with a decay per channel',
    paper: {
      title: 'Gated Linear Attention Transformers with Hardware-Efficient Training',
      url: 'https://arxiv.org/abs/2312.06635',
    },
    bounds: LINEAR,
    cases: casesOf(['gk'], (ops, { q, k, v, gk }, options) => ops.gla(q, k, v, gk, options)),
  },
  {
    name: 'rwkv6',
    family: 'linear',
    summary: 'RWKV-6 (Finch)',
    paper: {
      title: 'Eagle and Finch: RWKV with Matrix-Valued States and Dynamic Recurrence',
      url: 'https://arxiv.org/abs/2404.05892',
    },
    bounds: LINEAR,
    cases: casesOf(['gk', 'u'], (ops, { q, k, v, gk, u }, options) => ops.rwkv6(q, k, v, gk, u, options)),
  },
  {
    name: 'hgrn',
    family: 'linear',
    summary: 'HGRN: a gated recurrence per channel',
    paper: {
      title: 'Hierarchically Gated Recurrent Neural Network for Sequence Modeling',
      url: 'https://arxiv.org/abs/2311.04823',
    },
    bounds: LINEAR,
    cases: [
      {
        id: 'B2-T19-D12',
        inputs: { x: { shape: [2, 19, 12] }, g: { shape: [2, 19, 12], draw: 'logSigmoid' } },
        call: (ops, { x, g }) => ops.hgrn(x, g),
      },
      {
        id: 'T33-D7-packed-reverse-state',
        inputs: {
          x: { shape: [1, 33, 7] },
          g: { shape: [1, 33, 7], draw: 'logSigmoid' },
          state: { shape: [4, 7] },
        },
        call: (ops, { x, g, state }) => {
          const options = { cuSeqlens: BOUNDS, reverse: true, initialState: state } as const;
          const { output, finalState } = ops.hgrn(x, g, { ...options, outputFinalState: true });
          return [output, finalState];
        },
      },
    ],
  },
  {
    name: 'rwkv4',
    family: 'linear',
    summary: 'WKV operator of RWKV-4',
    paper: {
      title: 'RWKV: Reinventing RNNs for the Transformer Era',
      url: 'https://arxiv.org/abs/2305.13048',
    },
    bounds: LINEAR,
    cases: [
      {
        id: 'B2-T19-C10',
        inputs: {
          w: { shape: [10] },
          u: { shape: [10] },
          k: { shape: [2, 19, 10] },
          v: { shape: [2, 19, 10] },
        },
        call: (ops, { w, u, k, v }) => ops.rwkv4(w, u, k, v),
      },
      {
        id: 'T33-C7-packed-state',
        inputs: {
          w: { shape: [7] },
          u: { shape: [7] },
          k: { shape: [1, 33, 7] },
          v: { shape: [1, 33, 7] },
          state: { shape: [4, 3, 1, 7], draw: 'sigmoid' },
        },
        call: (ops, { w, u, k, v, state }) => {
          const options = { cuSeqlens: BOUNDS, initialState: state, outputFinalState: true } as const;
          const { output, finalState } = ops.rwkv4(w, u, k, v, options);
          return [output, finalState];
        },
      },
    ],
  },
  {
    name: 'gsa',
    family: 'linear',
    summary: 'Gated slot attention',
    paper: {
      title: 'Gated Slot Attention for Efficient Linear-Time Sequence Modeling',
      url: 'https://arxiv.org/abs/2409.07146',
    },
    bounds: LINEAR,
    cases: [
      {
        id: 'B2-T19-M6',
        inputs: { ...slots(SMALL, 6), g: { shape: [2, 19, 2, 6], draw: 'logSigmoid' } },
        call: (ops, { q, k, v, s, g }) => ops.gsa(q, k, v, s, g),
      },
      {
        id: 'T7-HQ4-H2-M3-state',
        inputs: {
          ...slots({ T: 7, H: 2, K: 3, V: 5 }, 3),
          q: { shape: [1, 7, 4, 3] },
          g: { shape: [1, 7, 2, 3], draw: 'logSigmoid' },
          hk: { shape: [1, 2, 3, 3] },
          hv: { shape: [1, 2, 3, 5] },
        },
        call: (ops, { q, k, v, s, g, hk, hv }) => {
          const options = { initialState: [hk, hv], outputFinalState: true } as const;
          const { output, finalState } = ops.gsa(q, k, v, s, g, options);
          return [output, ...finalState];
        },
      },
      {
        id: 'T33-HQ6-H2-M5-packed-reverse-state',
        inputs: {
          ...slots(PACKED, 5),
          q: { shape: [1, 33, 6, 4] },
          g: { shape: [1, 33, 2, 5], draw: 'logSigmoid' },
          hk: { shape: [4, 2, 4, 5] },
          hv: { shape: [4, 2, 5, 6] },
        },
        call: (ops, { q, k, v, s, g, hk, hv }) => {
          const options = { cuSeqlens: BOUNDS, reverse: true, initialState: [hk, hv] } as const;
          const { output, finalState } = ops.gsa(q, k, v, s, g, { ...options, outputFinalState: true });
          return [output, ...finalState];
        },
      },
    ],
  },
  {
    name: 'abc',
    family: 'linear',
    summary: 'Attention with bounded-memory control',
    paper: { title: 'ABC: Attention with Bounded-memory Control', url: 'https://arxiv.org/abs/2110.02488' },
    bounds: LINEAR,
    cases: [
      {
        id: 'B2-T19-M6',
        inputs: slots(SMALL, 6),
        call: (ops, { q, k, v, s }) => ops.abc(q, k, v, s),
      },
      {
        id: 'T33-M5-packed',
        inputs: slots(PACKED, 5),
        call: (ops, { q, k, v, s }) => ops.abc(q, k, v, s, { cuSeqlens: BOUNDS }),
      },
    ],
  },
  {
    name: 'based',
    family: 'linear',
    summary: 'Based: weights 1 + s + s^2 / 2',
    paper: {
      title: 'Simple linear attention language models balance the recall-throughput tradeoff',
      url: 'https://arxiv.org/abs/2402.18668',
    },
    bounds: LINEAR,
    cases: [
      {
        id: 'B2-T19-H2-K8-V8',
        inputs: { q: plain.q, k: plain.k, v: plain.v },
        call: (ops, { q, k, v }) => ops.based(q, k, v),
      },
      {
        id: 'T21-HV3-K5-V11-sums',
        inputs: { q: odd.q, k: odd.k, v: odd.v },
        call: (ops, { q, k, v }) => ops.based(q, k, v, { normalize: false, scale: 0.3 }),
      },
    ],
  },
  {
    name: 'rebased',
    family: 'linear',
    summary: 'ReBased: weights s^2',
    paper: {
      title: 'Linear Transformers with Learnable Kernel Functions are Better In-Context Models',
      url: 'https://arxiv.org/abs/2402.10644',
    },
    bounds: LINEAR,
    cases: [
      {
        id: 'B2-T19-H2-K8-V8',
        inputs: { q: plain.q, k: plain.k, v: plain.v },
        call: (ops, { q, k, v }) => ops.rebased(q, k, v, { eps: 0.1 }),
      },
      {
        id: 'T21-HV3-K5-V11-sums',
        inputs: { q: odd.q, k: odd.k, v: odd.v },
        call: (ops, { q, k, v }) => ops.rebased(q, k, v, { normalize: false, scale: 0.3 }),
      },
    ],
  },
  {
    name: 'taylorFeatures',
    family: 'linear',
    summary: 'Features of the Taylor polynomial of an exponential',
    paper: {
      title: 'Simple linear attention language models balance the recall-throughput tradeoff',
      url: 'https://arxiv.org/abs/2402.18668',
    },
    bounds: LINEAR,
    cases: [
      {
        id: 'T7-D5-order3',
        inputs: { x: { shape: [1, 7, 2, 5] } },
        call: (ops, { x }) => ops.taylorFeatures(x, { order: 3, scale: 0.7 }),
      },
      { id: 'T7-D1-order2', inputs: { x: { shape: [7, 1] } }, call: (ops, { x }) => ops.taylorFeatures(x) },
    ],
  },
  {
    name: 'powerFeatures',
    family: 'linear',
    summary: 'Features of a power of inner products',
    paper: {
      title: 'Linear Transformers with Learnable Kernel Functions are Better In-Context Models',
      url: 'https://arxiv.org/abs/2402.10644',
    },
    bounds: LINEAR,
    cases: [
      {
        id: 'T7-D5-degree3',
        inputs: { x: { shape: [1, 7, 2, 5] } },
        call: (ops, { x }) => ops.powerFeatures(x, 3),
      },
    ],
  },
  {
    name: 'performerFeatures',
    family: 'linear',
    summary: 'Positive random features of softmax (FAVOR+)',
    paper: { title: 'Rethinking Attention with Performers', url: 'https://arxiv.org/abs/2009.14794' },
    bounds: LINEAR,
    cases: [
      {
        id: 'T19-D8-m16-heads',
        inputs: { x: { shape: [2, 19, 2, 8] }, projection: { shape: [2, 16, 8] } },
        call: (ops, { x, projection }) => ops.performerFeatures(x, projection),
      },
      {
        id: 'T7-D5-m3-shared',
        inputs: { x: { shape: [7, 5] }, projection: { shape: [3, 5] } },
        call: (ops, { x, projection }) => ops.performerFeatures(x, projection, { scale: 0.7 }),
        naive: ({ x, projection }) => {
          const scaled = mul(x, Math.sqrt(0.7));
          const norm = mul(sum(square(scaled), -1, true), 0.5);
          return mul(exp(sub(matMul(scaled, projection, false, true), norm)), 3 ** -0.5);
        },
      },
      {
        id: 'T21-D5-m11-attention',
        inputs: { q: odd.q, k: odd.k, v: odd.v, projection: { shape: [1, 11, 5] } },
        call: (ops, { q, k, v, projection }) =>
          ops.linearAttention(q, k, v, {
            featureMap: (x) => ops.performerFeatures(x, projection),
            normalize: true,
          }),
      },
    ],
  },
  {
    name: 'hedgehogFeatures',
    family: 'linear',
    summary: 'Learned softmax features that mimic softmax attention',
    paper: {
      title: 'The Hedgehog & the Porcupine: Expressive Linear Attentions with Softmax Mimicry',
      url: 'https://arxiv.org/abs/2402.04347',
    },
    bounds: LINEAR,
    cases: [
      {
        id: 'T19-D8-m8-heads',
        inputs: { x: { shape: [2, 19, 2, 8] }, weight: { shape: [2, 8, 8] } },
        call: (ops, { x, weight }) => ops.hedgehogFeatures(x, weight),
      },
      {
        id: 'T7-D5-m3-shared',
        inputs: { x: { shape: [7, 5] }, weight: { shape: [3, 5] } },
        call: (ops, { x, weight }) => ops.hedgehogFeatures(x, weight),
        naive: ({ x, weight }) => {
          const p = matMul(x, weight, false, true);
          return softmax(concat([p, neg(p)], -1));
        },
      },
      {
        id: 'T21-D5-m5-attention',
        inputs: { q: odd.q, k: odd.k, v: odd.v, weight: { shape: [1, 5, 5] } },
        call: (ops, { q, k, v, weight }) =>
          ops.linearAttention(q, k, v, {
            featureMap: (x) => ops.hedgehogFeatures(x, weight),
            normalize: true,
          }),
      },
    ],
  },
  {
    name: 'linearRecurrence',
    family: 'linear',
    summary: 'Any decay, update and read-out: the ops above and the delta rules in one',
    paper: {
      title: 'Parallelizing Linear Transformers with the Delta Rule over Sequence Length',
      url: 'https://arxiv.org/abs/2406.06484',
    },
    bounds: DELTA_RULE,
    cases: [
      {
        id: 'T21-additive-per-channel-bonus',
        inputs: { q: odd.q, k: odd.k, v: odd.v, g: odd.gk, u: odd.u },
        call: (ops, { q, k, v, g, u }) => ops.linearRecurrence(q, k, v, { g, u }),
      },
      {
        id: 'T21-delta-per-head-state',
        inputs: {
          q: odd.q,
          k: { ...odd.k, draw: 'unit' },
          v: odd.v,
          g: odd.g,
          beta: { shape: odd.g.shape, draw: 'sigmoid' },
          state: odd.state,
        },
        call: (ops, { q, k, v, g, beta, state }) => {
          const options = { update: 'delta', g, beta, initialState: state } as const;
          const { output, finalState } = ops.linearRecurrence(q, k, v, {
            ...options,
            outputFinalState: true,
          });
          return [output, finalState];
        },
      },
    ],
  },
];
