import type { Tensor } from '@tensorflow/tfjs-core';
import { NORM, SCAN } from './bounds';
import type { CatalogEntry, InputSpec } from './types';

const MAMBA2 = {
  title:
    'Transformers are SSMs: Generalized Models and Efficient Algorithms Through Structured State Space Duality',
  url: 'https://arxiv.org/abs/2405.21060',
};

const MAMBA = {
  title: 'Mamba: Linear-Time Sequence Modeling with Selective State Spaces',
  url: 'https://arxiv.org/abs/2312.00752',
};

function both({ output, lastState }: { output: Tensor; lastState: Tensor }): Tensor[] {
  return [output, lastState];
}

const step: InputSpec = { shape: [], draw: 'sigmoid', scale: 0.5, shift: -1 };
const decay: InputSpec = { shape: [], draw: 'logSigmoid', shift: -0.5 };

/** The ops of Mamba and Mamba-2. */
export const mamba: CatalogEntry[] = [
  {
    name: 'selectiveScan',
    family: 'ssm',
    summary: 'Selective scan (Mamba)',
    paper: MAMBA,
    bounds: SCAN,
    cases: [
      {
        id: 'T70-D6-N4',
        inputs: {
          u: { shape: [1, 70, 6] },
          delta: { ...step, shape: [1, 70, 6] },
          A: { ...decay, shape: [6, 4] },
          b: { shape: [1, 70, 4] },
          c: { shape: [1, 70, 4] },
        },
        call: (ops, { u, delta, A, b, c }) =>
          both(ops.selectiveScan(u, delta, A, b, c, { returnLastState: true })),
      },
      {
        id: 'all-options-D5-N3',
        inputs: {
          u: { shape: [2, 7, 5] },
          delta: { shape: [2, 7, 5] },
          A: { ...decay, shape: [5, 3] },
          b: { shape: [2, 7, 3] },
          c: { shape: [2, 7, 3] },
          D: { shape: [5] },
          z: { shape: [2, 7, 5] },
          deltaBias: { shape: [5] },
          initialState: { shape: [2, 5, 3] },
        },
        call: (ops, { u, delta, A, b, c, ...options }) =>
          both(
            ops.selectiveScan(u, delta, A, b, c, { ...options, deltaSoftplus: true, returnLastState: true }),
          ),
      },
      {
        id: 'grouped-D6-N16',
        inputs: {
          u: { shape: [1, 33, 6] },
          delta: { ...step, shape: [1, 33, 6] },
          A: { ...decay, shape: [6, 16] },
          b: { shape: [1, 33, 2, 16] },
          c: { shape: [1, 33, 2, 16] },
        },
        call: (ops, { u, delta, A, b, c }) => ops.selectiveScan(u, delta, A, b, c),
      },
      {
        id: 'constant-B-D9-N1',
        inputs: {
          u: { shape: [2, 5, 9] },
          delta: { ...step, shape: [2, 5, 9] },
          A: { ...decay, shape: [9, 1] },
          b: { shape: [9, 1] },
          c: { shape: [2, 5, 1] },
        },
        call: (ops, { u, delta, A, b, c }) => ops.selectiveScan(u, delta, A, b, c),
      },
      {
        id: 'constant-C-T1',
        inputs: {
          u: { shape: [1, 1, 3] },
          delta: { ...step, shape: [1, 1, 3] },
          A: { ...decay, shape: [3, 2] },
          b: { shape: [1, 1, 2] },
          c: { shape: [3, 2] },
          initialState: { shape: [1, 3, 2] },
        },
        call: (ops, { u, delta, A, b, c, initialState }) =>
          ops.selectiveScan(u, delta, A, b, c, { initialState }),
      },
      {
        id: 'complex',
        inputs: {
          u: { shape: [2, 7, 4] },
          delta: { shape: [2, 7, 4] },
          ARe: { ...decay, shape: [4, 3] },
          AIm: { shape: [4, 3], scale: 3 },
          bRe: { shape: [2, 7, 2, 3] },
          bIm: { shape: [2, 7, 2, 3] },
          cRe: { shape: [4, 3] },
          cIm: { shape: [4, 3] },
          D: { shape: [4] },
          z: { shape: [2, 7, 4] },
          deltaBias: { shape: [4] },
          initialRe: { shape: [2, 4, 3] },
          initialIm: { shape: [2, 4, 3] },
        },
        call: (ops, { u, delta, D, z, deltaBias, ...x }) => {
          const { output, lastState } = ops.selectiveScan(
            u,
            delta,
            { re: x.ARe, im: x.AIm },
            { re: x.bRe, im: x.bIm },
            { re: x.cRe, im: x.cIm },
            {
              D,
              z,
              deltaBias,
              deltaSoftplus: true,
              initialState: { re: x.initialRe, im: x.initialIm },
              returnLastState: true,
            },
          );
          return [output, lastState.re, lastState.im];
        },
      },
      {
        id: 'complex-constant-B-T66',
        inputs: {
          u: { shape: [1, 66, 2] },
          delta: { ...step, shape: [1, 66, 2] },
          ARe: { ...decay, shape: [2, 2] },
          AIm: { shape: [2, 2], scale: 3 },
          bRe: { shape: [2, 2] },
          bIm: { shape: [2, 2] },
          cRe: { shape: [1, 66, 2] },
          cIm: { shape: [1, 66, 2] },
        },
        call: (ops, { u, delta, ...x }) =>
          ops.selectiveScan(
            u,
            delta,
            { re: x.ARe, im: x.AIm },
            { re: x.bRe, im: x.bIm },
            { re: x.cRe, im: x.cIm },
          ),
      },
      {
        id: 'constant-B-C',
        inputs: {
          u: { shape: [2, 9, 3] },
          delta: { ...step, shape: [2, 9, 3] },
          A: { ...decay, shape: [3, 2] },
          b: { shape: [3, 2] },
          c: { shape: [3, 2] },
        },
        call: (ops, { u, delta, A, b, c }) =>
          both(ops.selectiveScan(u, delta, A, b, c, { returnLastState: true })),
      },
    ],
  },
  {
    name: 'selectiveStateUpdate',
    family: 'ssm',
    summary: 'Selective scan of one more token',
    paper: MAMBA,
    bounds: SCAN,
    cases: [
      {
        id: 'channels-D5-N4',
        inputs: {
          state: { shape: [2, 5, 4] },
          x: { shape: [2, 5] },
          dt: { ...step, shape: [2, 5] },
          A: { ...decay, shape: [5, 4] },
          b: { shape: [2, 4] },
          c: { shape: [2, 4] },
        },
        call: (ops, { state: before, x, dt, A, b, c }) => {
          const { output, state } = ops.selectiveStateUpdate(before, x, dt, A, b, c);
          return [output, state];
        },
      },
      {
        id: 'heads-H4-D3-N5',
        inputs: {
          state: { shape: [2, 4, 3, 5] },
          x: { shape: [2, 4, 3] },
          dt: { shape: [2, 4, 3] },
          A: { ...decay, shape: [4, 3, 5] },
          b: { shape: [2, 2, 5] },
          c: { shape: [2, 2, 5] },
          D: { shape: [4, 3] },
          z: { shape: [2, 4, 3] },
          dtBias: { shape: [4, 3] },
        },
        call: (ops, { state: before, x, dt, A, b, c, ...options }) => {
          const all = { ...options, dtSoftplus: true };
          const { output, state } = ops.selectiveStateUpdate(before, x, dt, A, b, c, all);
          return [output, state];
        },
      },
    ],
  },
  {
    name: 'ssd',
    family: 'ssm',
    summary: 'State space duality (Mamba-2)',
    paper: MAMBA2,
    bounds: SCAN,
    cases: [
      {
        id: 'T37-H2-P5-N4',
        inputs: {
          x: { shape: [1, 37, 2, 5] },
          dt: { ...step, shape: [1, 37, 2] },
          A: { ...decay, shape: [2] },
          b: { shape: [1, 37, 1, 4] },
          c: { shape: [1, 37, 1, 4] },
        },
        call: (ops, { x, dt, A, b, c }) => ops.ssd(x, dt, A, b, c),
      },
      {
        id: 'all-options-H4-G2-P3-N5',
        inputs: {
          x: { shape: [2, 7, 4, 3] },
          dt: { shape: [2, 7, 4] },
          A: { ...decay, shape: [4] },
          b: { shape: [2, 7, 2, 5] },
          c: { shape: [2, 7, 2, 5] },
          D: { shape: [4] },
          z: { shape: [2, 7, 4, 3] },
          dtBias: { shape: [4] },
          initialState: { shape: [2, 4, 3, 5] },
        },
        call: (ops, { x, dt, A, b, c, ...options }) => {
          const all = { ...options, dtSoftplus: true, outputFinalState: true, chunkSize: 8 } as const;
          const { output, finalState } = ops.ssd(x, dt, A, b, c, all);
          return [output, finalState];
        },
      },
      {
        id: 'packed-limits',
        inputs: {
          x: { shape: [1, 21, 2, 4] },
          dt: { shape: [1, 21, 2] },
          A: { ...decay, shape: [2] },
          b: { shape: [1, 21, 1, 3] },
          c: { shape: [1, 21, 1, 3] },
          D: { shape: [2, 4] },
          initialState: { shape: [3, 2, 4, 3] },
        },
        call: (ops, { x, dt, A, b, c, ...options }) => {
          const packed = { cuSeqlens: [0, 1, 1, 21], outputFinalState: true } as const;
          const steps = { dtSoftplus: true, dtLimit: [0.4, 1.1] } as const;
          const { output, finalState } = ops.ssd(x, dt, A, b, c, { ...options, ...packed, ...steps });
          return [output, finalState];
        },
      },
      {
        id: 'seqIdx-gate',
        inputs: {
          x: { shape: [2, 6, 2, 3] },
          dt: { ...step, shape: [2, 6, 2] },
          A: { ...decay, shape: [2] },
          b: { shape: [2, 6, 2, 2] },
          c: { shape: [2, 6, 2, 2] },
          z: { shape: [2, 6, 2, 3] },
          seqIdx: { shape: [2, 6], dtype: 'int32', values: [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 3] },
        },
        call: (ops, { x, dt, A, b, c, ...options }) => ops.ssd(x, dt, A, b, c, options),
      },
    ],
  },
  {
    name: 'causalConv1d',
    family: 'ssm',
    summary: 'Causal depthwise convolution with an activation',
    paper: MAMBA,
    bounds: SCAN,
    cases: [
      {
        id: 'B2-T9-D8-W4-silu',
        inputs: { x: { shape: [2, 9, 8] }, weight: { shape: [8, 4] }, bias: { shape: [8] } },
        call: (ops, { x, weight, bias }) => ops.causalConv1d(x, weight, { bias, activation: 'silu' }),
      },
      {
        id: 'states-T70-D5-W3',
        inputs: {
          x: { shape: [1, 70, 5] },
          weight: { shape: [5, 3] },
          bias: { shape: [5] },
          initialState: { shape: [1, 5, 2] },
        },
        call: (ops, { x, weight, bias, initialState }) => {
          const options = { bias, initialState, activation: 'silu', outputFinalState: true } as const;
          const { output, finalState } = ops.causalConv1d(x, weight, options);
          return [output, finalState];
        },
      },
      {
        id: 'packed-D6-W4',
        inputs: {
          x: { shape: [2, 7, 6] },
          weight: { shape: [6, 4] },
          bias: { shape: [6] },
          seqIdx: { shape: [2, 7], dtype: 'int32', values: [0, 0, 0, 0, 0, 1, 1, 3, 3, 3, -1, -1, 4, 4] },
        },
        call: (ops, { x, weight, bias, seqIdx }) =>
          ops.causalConv1d(x, weight, { bias, seqIdx, activation: 'silu' }),
      },
      {
        id: 'W7-no-bias',
        inputs: { x: { shape: [1, 12, 4] }, weight: { shape: [4, 7] } },
        call: (ops, { x, weight }) => ops.causalConv1d(x, weight),
      },
      {
        id: 'shorter-than-its-state',
        inputs: { x: { shape: [2, 2, 9] }, weight: { shape: [9, 5] }, initialState: { shape: [2, 9, 4] } },
        call: (ops, { x, weight, initialState }) => {
          const options = { initialState, outputFinalState: true } as const;
          const { output, finalState } = ops.causalConv1d(x, weight, options);
          return [output, finalState];
        },
      },
      {
        id: 'W1',
        inputs: { x: { shape: [1, 6, 4] }, weight: { shape: [4, 1] }, bias: { shape: [4] } },
        call: (ops, { x, weight, bias }) => ops.causalConv1d(x, weight, { bias }),
      },
    ],
  },
  {
    name: 'causalConv1dUpdate',
    family: 'ssm',
    summary: 'Causal depthwise convolution of one more token',
    paper: MAMBA,
    bounds: SCAN,
    cases: [
      {
        id: 'B2-D6-W4',
        inputs: {
          x: { shape: [2, 6] },
          state: { shape: [2, 6, 3] },
          weight: { shape: [6, 4] },
          bias: { shape: [6] },
        },
        call: (ops, { x, state, weight, bias }) => {
          const next = ops.causalConv1dUpdate(x, state, weight, { bias, activation: 'silu' });
          return [next.output, next.state];
        },
      },
    ],
  },
  {
    name: 'rmsNormGated',
    family: 'ssm',
    summary: 'Root mean square normalisation with a gate (Mamba-2)',
    paper: MAMBA2,
    bounds: NORM,
    cases: [
      {
        id: 'B2-T5-D64',
        inputs: { x: { shape: [2, 5, 64] }, weight: { shape: [64] }, z: { shape: [2, 5, 64] } },
        call: (ops, { x, weight, z }) => ops.rmsNormGated(x, weight, z),
      },
      {
        id: 'gate-first-groups-of-3',
        inputs: { x: { shape: [70, 12] }, weight: { shape: [12] }, z: { shape: [70, 12] } },
        call: (ops, { x, weight, z }) =>
          ops.rmsNormGated(x, weight, z, { groupSize: 3, normBeforeGate: false, eps: 0.1 }),
      },
      {
        id: 'no-weight-D7',
        inputs: { x: { shape: [3, 7] }, z: { shape: [3, 7] } },
        call: (ops, { x, z }) => ops.rmsNormGated(x, undefined, z),
      },
      {
        id: 'no-gate',
        inputs: { x: { shape: [3, 7] }, weight: { shape: [7] } },
        call: (ops, { x, weight }) => ops.rmsNormGated(x, weight),
      },
    ],
  },
];
