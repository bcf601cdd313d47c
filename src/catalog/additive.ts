import type { Tensor } from '@tensorflow/tfjs-core';
import type { AdditiveOptions, Recurrent } from '../linear';
import { LINEAR } from './bounds';
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
];
