import { add, mul, reshape, slice, stack, type Tensor, zeros } from '@tensorflow/tfjs-core';
import type { Complex } from '../ssm/complex';
import { SCAN } from './bounds';
import type { CatalogEntry, InputSpec, Tensors } from './types';

const BLELLOCH = {
  title: 'Prefix Sums and Their Applications',
  url: 'https://www.cs.cmu.edu/~guyb/papers/Ble93.pdf',
};
const LRU = {
  title: 'Resurrecting Recurrent Neural Networks for Long Sequences',
  url: 'https://arxiv.org/abs/2303.06349',
};

const S4 = {
  title: 'Efficiently Modeling Long Sequences with Structured State Spaces',
  url: 'https://arxiv.org/abs/2111.00396',
};

/** The complex tensor of two inputs whose names end in Re and Im. */
function complex(tensors: Tensors, name: string): Complex {
  return { re: tensors[`${name}Re`], im: tensors[`${name}Im`] };
}

function naiveScan(a: Tensor, b: Tensor): Tensor {
  const [B, T, D] = b.shape;
  const token = (x: Tensor, t: number) => reshape(slice(x, [0, t, 0], [B, 1, D]), [B, D]);
  let h = zeros([B, D]);
  const states = Array.from({ length: T }, (_, t) => {
    h = add(mul(token(a, t), h), token(b, t)) as never;
    return h;
  });
  return stack(states, 1);
}

function rgLruInputs(B: number, T: number, H: number, d: number): Record<string, InputSpec> {
  return {
    x: { shape: [B, T, H * d] },
    recurrentParam: { shape: [H * d], shift: -1 },
    inputGateWeight: { shape: [H, d, d], scale: d ** -0.5 },
    inputGateBias: { shape: [H, d] },
    recurrentGateWeight: { shape: [H, d, d], scale: d ** -0.5 },
    recurrentGateBias: { shape: [H, d] },
  };
}

function rgLruArguments(t: Tensors) {
  const { x, recurrentParam, inputGateWeight, inputGateBias, recurrentGateWeight, recurrentGateBias } = t;
  return [x, recurrentParam, inputGateWeight, inputGateBias, recurrentGateWeight, recurrentGateBias] as const;
}

function s4dInputs(H: number, N: number): Record<string, InputSpec> {
  return {
    logDt: { shape: [H], scale: 0.5, shift: -2 },
    logAReal: { shape: [H, N], scale: 0.3, shift: -0.7 },
    aImag: { shape: [H, N], scale: 5 },
    cRe: { shape: [H, N] },
    cIm: { shape: [H, N] },
  };
}

function modalInputs(B: number, T: number, D: number, N: number): Record<string, InputSpec> {
  return {
    u: { shape: [B, T, D] },
    BRe: { shape: [N, D], scale: D ** -0.5 },
    BIm: { shape: [N, D], scale: D ** -0.5 },
    CRe: { shape: [D, N], scale: N ** -0.5 },
    CIm: { shape: [D, N], scale: N ** -0.5 },
    D: { shape: [D] },
  };
}

function lruInputs(N: number): Record<string, InputSpec> {
  return {
    nuLog: { shape: [N], scale: 0.5, shift: -1 },
    thetaLog: { shape: [N], scale: 0.5 },
    gammaLog: { shape: [N], scale: 0.3, shift: -0.5 },
  };
}

function s5Inputs(N: number): Record<string, InputSpec> {
  return {
    lambdaRe: { shape: [N], draw: 'logSigmoid' },
    lambdaIm: { shape: [N], scale: 3 },
    logStep: { shape: [N], scale: 0.5, shift: -1.5 },
  };
}

/** Diagonal scans and what is built on them. */
export const scans: CatalogEntry[] = [
  {
    name: 'linearScan',
    family: 'ssm',
    summary: 'Linear recurrence per channel',
    paper: BLELLOCH,
    bounds: SCAN,
    cases: [
      {
        id: 'B2-T33-D8',
        inputs: { a: { shape: [2, 33, 8], draw: 'sigmoid', shift: 2 }, b: { shape: [2, 33, 8] } },
        call: (ops, { a, b }) => ops.linearScan(a, b),
        naive: ({ a, b }) => naiveScan(a, b),
      },
      {
        id: 'T7-D13-state-reverse',
        inputs: {
          a: { shape: [2, 7, 13], scale: 0.5 },
          b: { shape: [2, 7, 13] },
          initialState: { shape: [2, 13] },
        },
        call: (ops, { a, b, initialState }) => {
          const result = ops.linearScan(a, b, { initialState, reverse: true, outputFinalState: true });
          return [result.output, result.finalState];
        },
      },
      {
        id: 'T17-D10-constant',
        inputs: {
          a: { shape: [10], draw: 'sigmoid', shift: 2 },
          b: { shape: [2, 17, 10] },
          initialState: { shape: [2, 10] },
        },
        call: (ops, { a, b, initialState }) => {
          const result = ops.linearScan(a, b, { initialState, outputFinalState: true });
          return [result.output, result.finalState];
        },
      },
    ],
  },
  {
    name: 'complexScan',
    family: 'ssm',
    summary: 'Linear recurrence of complex numbers',
    paper: LRU,
    bounds: SCAN,
    cases: [
      {
        id: 'B2-T33-D8',
        inputs: {
          aRe: { shape: [2, 33, 8], scale: 0.5 },
          aIm: { shape: [2, 33, 8], scale: 0.5 },
          bRe: { shape: [2, 33, 8] },
          bIm: { shape: [2, 33, 8] },
        },
        call: (ops, t) => {
          const { re, im } = ops.complexScan(complex(t, 'a'), complex(t, 'b'));
          return [re, im];
        },
      },
      {
        id: 'T9-D7-constant-state-reverse',
        inputs: {
          aRe: { shape: [7], scale: 0.6 },
          aIm: { shape: [7], scale: 0.6 },
          bRe: { shape: [2, 9, 7] },
          bIm: { shape: [2, 9, 7] },
          initialRe: { shape: [2, 7] },
          initialIm: { shape: [2, 7] },
        },
        call: (ops, t) => {
          const { output, finalState } = ops.complexScan(complex(t, 'a'), complex(t, 'b'), {
            initialState: complex(t, 'initial'),
            reverse: true,
            outputFinalState: true,
          });
          return [output.re, output.im, finalState.re, finalState.im];
        },
      },
    ],
  },
  {
    name: 'rgLru',
    family: 'ssm',
    summary: 'Real-gated linear recurrent unit (Griffin, RecurrentGemma)',
    paper: {
      title: 'Griffin: Mixing Gated Linear Recurrences with Local Attention for Efficient Language Models',
      url: 'https://arxiv.org/abs/2402.19427',
    },
    bounds: SCAN,
    cases: [
      {
        id: 'B2-T9-H2-d8',
        inputs: rgLruInputs(2, 9, 2, 8),
        call: (ops, t) => ops.rgLru(...rgLruArguments(t)),
      },
      {
        id: 'T35-H3-d5-reset-state',
        inputs: {
          ...rgLruInputs(1, 35, 3, 5),
          reset: {
            shape: [1, 35],
            dtype: 'int32',
            values: Array.from({ length: 35 }, (_, t) => +(t === 17)),
          },
          initialState: { shape: [1, 15] },
        },
        call: (ops, t) => {
          const { output, finalState } = ops.rgLru(...rgLruArguments(t), {
            reset: t.reset,
            initialState: t.initialState,
            outputFinalState: true,
          });
          return [output, finalState];
        },
      },
    ],
  },
  {
    name: 'fftConv',
    family: 'ssm',
    summary: 'Causal convolution with kernels as long as the sequence',
    paper: S4,
    bounds: SCAN,
    cases: [
      {
        id: 'B2-T33-H8',
        inputs: { u: { shape: [2, 33, 8] }, k: { shape: [8, 33] }, D: { shape: [8] } },
        call: (ops, { u, k, D }) => ops.fftConv(u, k, { D }),
      },
      {
        id: 'T16-H13-L5',
        inputs: { u: { shape: [1, 16, 13] }, k: { shape: [13, 5] } },
        call: (ops, { u, k }) => ops.fftConv(u, k),
      },
      {
        id: 'T5-H3-L9',
        inputs: { u: { shape: [1, 5, 3] }, k: { shape: [3, 9] } },
        call: (ops, { u, k }) => ops.fftConv(u, k),
      },
    ],
  },
  {
    name: 's4dKernel',
    family: 'ssm',
    summary: 'Convolution kernel of a diagonal state-space model (S4D)',
    paper: {
      title: 'On the Parameterization and Initialization of Diagonal State Space Models',
      url: 'https://arxiv.org/abs/2206.11893',
    },
    bounds: SCAN,
    cases: [
      {
        id: 'H3-N4-T33',
        inputs: s4dInputs(3, 4),
        call: (ops, { logDt, logAReal, aImag, ...c }) =>
          ops.s4dKernel(logDt, logAReal, aImag, complex(c, 'c'), { length: 33 }),
      },
      {
        id: 'H2-N5-T12-bilinear',
        inputs: s4dInputs(2, 5),
        call: (ops, { logDt, logAReal, aImag, ...c }) =>
          ops.s4dKernel(logDt, logAReal, aImag, complex(c, 'c'), { length: 12, discretization: 'bilinear' }),
      },
    ],
  },
  {
    name: 'lru',
    family: 'ssm',
    summary: 'Linear recurrent unit, complex diagonal',
    paper: LRU,
    bounds: SCAN,
    cases: [
      {
        id: 'B2-T12-D6-N8',
        inputs: { ...lruInputs(8), ...modalInputs(2, 12, 6, 8) },
        call: (ops, { u, nuLog, thetaLog, gammaLog, D, ...t }) =>
          ops.lru(u, nuLog, thetaLog, gammaLog, complex(t, 'B'), complex(t, 'C'), D),
      },
      {
        id: 'T7-D5-N3-state-reverse',
        inputs: {
          ...lruInputs(3),
          ...modalInputs(1, 7, 5, 3),
          initialRe: { shape: [1, 3] },
          initialIm: { shape: [1, 3] },
        },
        call: (ops, { u, nuLog, thetaLog, gammaLog, D, ...t }) => {
          const options = {
            initialState: complex(t, 'initial'),
            reverse: true,
            outputFinalState: true,
          } as const;
          const result = ops.lru(u, nuLog, thetaLog, gammaLog, complex(t, 'B'), complex(t, 'C'), D, options);
          return [result.output, result.finalState.re, result.finalState.im];
        },
      },
    ],
  },
  {
    name: 's5',
    family: 'ssm',
    summary: 'S5: diagonal state-space model of many inputs and outputs',
    paper: {
      title: 'Simplified State Space Layers for Sequence Modeling',
      url: 'https://arxiv.org/abs/2208.04933',
    },
    bounds: SCAN,
    cases: [
      {
        id: 'B1-T12-D6-N4',
        inputs: { ...s5Inputs(4), ...modalInputs(1, 12, 6, 4) },
        call: (ops, { u, logStep, D, ...t }) =>
          ops.s5(u, complex(t, 'lambda'), logStep, complex(t, 'B'), complex(t, 'C'), D),
      },
      {
        id: 'B2-T7-D5-N3-bilinear-state',
        inputs: {
          ...s5Inputs(3),
          ...modalInputs(2, 7, 5, 3),
          initialRe: { shape: [2, 3] },
          initialIm: { shape: [2, 3] },
        },
        call: (ops, { u, logStep, D, ...t }) => {
          const options = {
            discretization: 'bilinear',
            conjugateSymmetry: false,
            initialState: complex(t, 'initial'),
            outputFinalState: true,
          } as const;
          const result = ops.s5(
            u,
            complex(t, 'lambda'),
            logStep,
            complex(t, 'B'),
            complex(t, 'C'),
            D,
            options,
          );
          return [result.output, result.finalState.re, result.finalState.im];
        },
      },
    ],
  },
];
