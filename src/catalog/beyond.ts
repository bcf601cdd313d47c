import { DELTA_RULE, LINEAR } from './bounds';
import type { CatalogEntry, InputSpec } from './types';

const XLSTM = { title: 'xLSTM: Extended Long Short-Term Memory', url: 'https://arxiv.org/abs/2405.04517' };
const BOUNDS = [0, 3, 3, 12];

function memoryInputs(B: number, T: number, H: number, D: number) {
  return {
    q: { shape: [B, T, H, D] },
    k: { shape: [B, T, H, D], draw: 'unit' },
    v: { shape: [B, T, H, D] },
    w: { shape: [H, D], scale: 0.2, shift: 1 },
    b: { shape: [H, D], scale: 0.2 },
  } satisfies Record<string, InputSpec>;
}

function titansGates(B: number, T: number, H: number) {
  const shape = [B, T, H, 1];
  return {
    theta: { shape, scale: 0.01, shift: 0.02 },
    alpha: { shape, draw: 'sigmoid' },
    eta: { shape, draw: 'sigmoid' },
  } satisfies Record<string, InputSpec>;
}

function mesaInputs(B: number, T: number, H: number, K: number, V: number) {
  return {
    q: { shape: [B, T, H, K] },
    k: { shape: [B, T, H, K], draw: 'unit' },
    v: { shape: [B, T, H, V] },
    g: { shape: [B, T, H], draw: 'logSigmoid', shift: 2 },
    beta: { shape: [B, T, H], draw: 'sigmoid' },
    lamb: { shape: [H, K], scale: 0.1, shift: 1 },
  } satisfies Record<string, InputSpec>;
}

function logLinearInputs(B: number, T: number, H: number, HV: number, K: number, V: number, L: number) {
  return {
    q: { shape: [B, T, H, K] },
    k: { shape: [B, T, H, K] },
    v: { shape: [B, T, HV, V] },
    g: { shape: [B, T, HV], draw: 'logSigmoid', shift: 2 },
    levelScales: { shape: [B, T, HV, L], draw: 'sigmoid' },
  } satisfies Record<string, InputSpec>;
}

function pathInputs(B: number, T: number, H: number, HQ: number, D: number, V: number) {
  return {
    q: { shape: [B, T, HQ, D] },
    k: { shape: [B, T, H, D] },
    v: { shape: [B, T, H, V] },
    w: { shape: [B, T, H, D], draw: 'unit' },
    beta: { shape: [B, T, H], draw: 'sigmoid' },
  } satisfies Record<string, InputSpec>;
}

/** Beyond linear recurrences: memories that are optimised, solved, or kept at several scales. */
export const beyond: CatalogEntry[] = [
  {
    name: 'mLstm',
    family: 'linear',
    summary: 'Matrix LSTM (xLSTM)',
    paper: XLSTM,
    bounds: LINEAR,
    cases: [
      {
        id: 'B2-T9-H2-K4-V4',
        inputs: {
          q: { shape: [2, 9, 2, 4] },
          k: { shape: [2, 9, 2, 4] },
          v: { shape: [2, 9, 2, 4] },
          i: { shape: [2, 9, 2] },
          f: { shape: [2, 9, 2], shift: 2 },
        },
        call: (ops, { q, k, v, i, f }) => ops.mLstm(q, k, v, i, f),
      },
      {
        id: 'T7-K5-V6-state',
        inputs: {
          q: { shape: [1, 7, 2, 5], scale: 3 },
          k: { shape: [1, 7, 2, 5] },
          v: { shape: [1, 7, 2, 6] },
          i: { shape: [1, 7, 2], scale: 2, shift: -3 },
          f: { shape: [1, 7, 2], scale: 2, shift: 3 },
          c: { shape: [1, 2, 5, 6] },
          n: { shape: [1, 2, 5] },
          m: { shape: [1, 2] },
        },
        call: (ops, { q, k, v, i, f, c, n, m }) => {
          const { output, finalState } = ops.mLstm(q, k, v, i, f, {
            initialState: { c, n, m },
            outputFinalState: true,
            scale: 0.7,
          });
          return [output, finalState.c, finalState.n, finalState.m];
        },
      },
      {
        id: 'T12-packed',
        inputs: {
          q: { shape: [1, 12, 2, 4] },
          k: { shape: [1, 12, 2, 4] },
          v: { shape: [1, 12, 2, 4] },
          i: { shape: [1, 12, 2] },
          f: { shape: [1, 12, 2] },
        },
        call: (ops, { q, k, v, i, f }) => ops.mLstm(q, k, v, i, f, { cuSeqlens: BOUNDS }),
      },
    ],
  },
  {
    name: 'tttLinear',
    family: 'linear',
    summary: 'Test-time training with a linear model',
    paper: {
      title: 'Learning to (Learn at Test Time): RNNs with Expressive Hidden States',
      url: 'https://arxiv.org/abs/2407.04620',
    },
    bounds: DELTA_RULE,
    cases: [
      {
        id: 'B2-T8-H2-D4-n4',
        inputs: { ...memoryInputs(2, 8, 2, 4), eta: { shape: [2, 8, 2, 1], draw: 'sigmoid' } },
        call: (ops, { q, k, v, w, b, eta }) => ops.tttLinear(q, k, v, w, b, eta, { chunkSize: 4 }),
      },
      {
        id: 'T7-D5-n3-state',
        inputs: {
          ...memoryInputs(1, 7, 2, 5),
          eta: { shape: [1, 7, 2, 1], draw: 'sigmoid' },
          state: { shape: [1, 2, 5, 5] },
          bias: { shape: [1, 2, 1, 5] },
        },
        call: (ops, { q, k, v, w, b, eta, state, bias }) => {
          const result = ops.tttLinear(q, k, v, w, b, eta, {
            chunkSize: 3,
            scale: 0.7,
            initialState: state,
            initialStateBias: bias,
            outputFinalState: true,
          });
          return [result.output, result.finalState, result.finalStateBias];
        },
      },
      {
        id: 'T12-packed',
        inputs: { ...memoryInputs(1, 12, 1, 4), eta: { shape: [1, 12, 1, 1], draw: 'sigmoid' } },
        call: (ops, { q, k, v, w, b, eta }) => ops.tttLinear(q, k, v, w, b, eta, { cuSeqlens: BOUNDS }),
      },
    ],
  },
  {
    name: 'titansLinear',
    family: 'linear',
    summary: 'Linear neural memory with momentum (Titans)',
    paper: { title: 'Titans: Learning to Memorize at Test Time', url: 'https://arxiv.org/abs/2501.00663' },
    bounds: DELTA_RULE,
    cases: [
      {
        id: 'B2-T8-H2-D4-n4',
        inputs: { ...memoryInputs(2, 8, 2, 4), ...titansGates(2, 8, 2) },
        call: (ops, { q, k, v, w, b, theta, alpha, eta }) =>
          ops.titansLinear(q, k, v, w, b, theta, alpha, eta, { chunkSize: 4, eps: 0.1 }),
      },
      {
        id: 'T7-D5-n3-state',
        inputs: {
          ...memoryInputs(1, 7, 2, 5),
          ...titansGates(1, 7, 2),
          state: { shape: [1, 2, 5, 5] },
          momentum: { shape: [1, 2, 5, 5] },
        },
        call: (ops, { q, k, v, w, b, theta, alpha, eta, state, momentum }) => {
          const result = ops.titansLinear(q, k, v, w, b, theta, alpha, eta, {
            chunkSize: 3,
            initialState: state,
            initialMomentum: momentum,
            outputFinalState: true,
          });
          return [result.output, result.finalState, result.finalMomentum];
        },
      },
      {
        id: 'T12-packed',
        inputs: { ...memoryInputs(1, 12, 1, 4), ...titansGates(1, 12, 1) },
        call: (ops, { q, k, v, w, b, theta, alpha, eta }) =>
          ops.titansLinear(q, k, v, w, b, theta, alpha, eta, { cuSeqlens: BOUNDS, chunkSize: 4, eps: 0.1 }),
      },
    ],
  },
  {
    name: 'sLstm',
    family: 'linear',
    summary: 'Scalar LSTM with exponential gates and recurrent weights (xLSTM)',
    paper: XLSTM,
    bounds: LINEAR,
    cases: [
      {
        id: 'B2-T9-H2-D4',
        inputs: { x: { shape: [2, 9, 4, 2, 4] }, r: { shape: [4, 2, 4, 4], scale: 0.4 } },
        call: (ops, { x, r }) => ops.sLstm(x, r),
      },
      {
        id: 'T7-D5-state',
        inputs: {
          x: { shape: [1, 7, 4, 2, 5], scale: 2 },
          r: { shape: [4, 2, 5, 5], scale: 0.4 },
          state: { shape: [1, 4, 2, 5], draw: 'sigmoid' },
        },
        call: (ops, { x, r, state }) => {
          const result = ops.sLstm(x, r, { initialState: state, outputFinalState: true });
          return [result.output, result.finalState];
        },
      },
      {
        id: 'T12-packed',
        inputs: { x: { shape: [1, 12, 4, 1, 3] }, r: { shape: [4, 1, 3, 3], scale: 0.4 } },
        call: (ops, { x, r }) => ops.sLstm(x, r, { cuSeqlens: BOUNDS }),
      },
    ],
  },
  {
    name: 'mesaNet',
    family: 'linear',
    summary: 'Mesa layer: ridge regression of values on keys, solved at every token',
    paper: {
      title: 'MesaNet: Sequence Modeling by Locally Optimal Test-Time Training',
      url: 'https://arxiv.org/abs/2506.05233',
    },
    bounds: DELTA_RULE,
    cases: [
      {
        id: 'B2-T7-H2-K4-V4',
        inputs: mesaInputs(2, 7, 2, 4, 4),
        call: (ops, { q, k, v, g, beta, lamb }) => ops.mesaNet(q, k, v, g, beta, lamb),
      },
      {
        id: 'T6-K5-V3-state',
        inputs: {
          ...mesaInputs(1, 6, 1, 5, 3),
          hKk: {
            shape: [1, 1, 5, 5],
            values: Array.from({ length: 25 }, (_, i) =>
              i % 6 === 0 ? 2 : 0.1 * ((i % 5) + Math.floor(i / 5)),
            ),
          },
          hKv: { shape: [1, 1, 5, 3] },
        },
        call: (ops, { q, k, v, g, beta, lamb, hKk, hKv }) => {
          const result = ops.mesaNet(q, k, v, g, beta, lamb, {
            hKkInit: hKk,
            hKvInit: hKv,
            outputFinalState: true,
          });
          return [result.output, result.hKk, result.hKv];
        },
      },
      {
        id: 'T12-packed-cg',
        inputs: mesaInputs(1, 12, 1, 4, 4),
        call: (ops, { q, k, v, g, beta, lamb }) =>
          ops.mesaNet(q, k, v, g, beta, lamb, { cuSeqlens: BOUNDS, maxCgIteration: 20 }),
      },
    ],
  },
  {
    name: 'logLinearAttention',
    family: 'linear',
    summary: 'Log-linear attention: a weight for each scale of the past',
    paper: { title: 'Log-Linear Attention', url: 'https://arxiv.org/abs/2506.04761' },
    bounds: LINEAR,
    cases: [
      {
        id: 'T37-H1-HV2-K4-V6',
        inputs: logLinearInputs(1, 37, 1, 2, 4, 6, 7),
        call: (ops, { q, k, v, g, levelScales }) => ops.logLinearAttention(q, k, v, g, levelScales),
      },
      {
        id: 'B2-T18-H2-K5-V3-scale',
        inputs: logLinearInputs(2, 18, 2, 2, 5, 3, 6),
        call: (ops, { q, k, v, g, levelScales }) =>
          ops.logLinearAttention(q, k, v, g, levelScales, { scale: 0.3 }),
      },
      {
        id: 'T12-packed',
        inputs: logLinearInputs(1, 12, 1, 1, 4, 4, 5),
        call: (ops, { q, k, v, g, levelScales }) =>
          ops.logLinearAttention(q, k, v, g, levelScales, { cuSeqlens: BOUNDS }),
      },
    ],
  },
  {
    name: 'pathAttention',
    family: 'linear',
    summary: 'PaTH attention: positions are products of Householder matrices',
    paper: {
      title: 'PaTH Attention: Position Encoding via Accumulating Householder Transformations',
      url: 'https://arxiv.org/abs/2505.16381',
    },
    bounds: DELTA_RULE,
    cases: [
      {
        id: 'B2-T7-H2-D5-V3',
        inputs: pathInputs(2, 7, 2, 2, 5, 3),
        call: (ops, { q, k, v, w, beta }) => ops.pathAttention(q, k, v, w, beta),
      },
      {
        id: 'T18-H1-HQ3-D4-V6-gate-scale',
        inputs: {
          ...pathInputs(1, 18, 1, 3, 4, 6),
          g: { shape: [1, 18, 3], draw: 'logSigmoid', shift: 2 },
        },
        call: (ops, { q, k, v, w, beta, g }) => ops.pathAttention(q, k, v, w, beta, { g, scale: 0.6 }),
      },
      {
        id: 'T12-packed',
        inputs: pathInputs(1, 12, 1, 2, 4, 4),
        call: (ops, { q, k, v, w, beta }) => ops.pathAttention(q, k, v, w, beta, { cuSeqlens: BOUNDS }),
      },
    ],
  },
];
