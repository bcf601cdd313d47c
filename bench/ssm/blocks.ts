import type { Tensors } from '../../src/catalog/types';
import type { Complex } from '../../src/ssm/complex';
import type { Workload } from '../types';

const step = { draw: 'sigmoid', shift: -3 } as const;
const decay = { draw: 'logSigmoid', shift: -1 } as const;
const complex = (tensors: Tensors, name: string): Complex => ({
  re: tensors[`${name}Re`],
  im: tensors[`${name}Im`],
});

/** One token of Mamba's scan and convolution, Mamba-2's normalisation, and S4D and S5. */
export const blocks: Workload[] = [
  {
    op: 'selectiveStateUpdate',
    id: 'D1024 N16',
    inputs: {
      before: { shape: [1, 1024, 16] },
      x: { shape: [1, 1024] },
      dt: { ...step, shape: [1, 1024] },
      A: { ...decay, shape: [1024, 16] },
      b: { shape: [1, 16] },
      c: { shape: [1, 16] },
    },
    flops: 7 * 1024 * 16,
    call: (ops, { before, x, dt, A, b, c }) => {
      const { output, state } = ops.selectiveStateUpdate(before, x, dt, A, b, c);
      return [output, state];
    },
  },
  {
    op: 'causalConv1dUpdate',
    id: 'D1024 W4 silu',
    inputs: {
      x: { shape: [1, 1024] },
      before: { shape: [1, 1024, 3] },
      weight: { shape: [1024, 4] },
      bias: { shape: [1024] },
    },
    flops: 2 * 1024 * 4,
    call: (ops, { x, before, weight, bias }) => {
      const { output, state } = ops.causalConv1dUpdate(x, before, weight, { bias, activation: 'silu' });
      return [output, state];
    },
  },
  {
    op: 'rmsNormGated',
    id: '2048 x 1024',
    inputs: { x: { shape: [2048, 1024] }, weight: { shape: [1024] }, z: { shape: [2048, 1024] } },
    flops: 10 * 2048 * 1024,
    differentiable: ['x', 'weight', 'z'],
    call: (ops, { x, weight, z }) => ops.rmsNormGated(x, weight, z),
  },
  {
    op: 's4dKernel',
    id: 'H256 N32 T1024',
    inputs: {
      logDt: { shape: [256], scale: 0.5, shift: -3 },
      logAReal: { shape: [256, 32], scale: 0.3, shift: -0.7 },
      aImag: { shape: [256, 32], scale: 5 },
      cRe: { shape: [256, 32] },
      cIm: { shape: [256, 32] },
    },
    flops: 8 * 256 * 32 * 1024,
    differentiable: ['logDt', 'logAReal', 'aImag', 'cRe', 'cIm'],
    call: (ops, { logDt, logAReal, aImag, ...c }) =>
      ops.s4dKernel(logDt, logAReal, aImag, complex(c, 'c'), { length: 1024 }),
  },
  {
    op: 's5',
    id: 'T1024 D256 N128',
    inputs: {
      u: { shape: [1, 1024, 256] },
      lambdaRe: { ...decay, shape: [128] },
      lambdaIm: { shape: [128], scale: 3 },
      logStep: { shape: [128], scale: 0.5, shift: -3 },
      BRe: { shape: [128, 256], scale: 1 / 16 },
      BIm: { shape: [128, 256], scale: 1 / 16 },
      CRe: { shape: [256, 128], scale: 1 / 16 },
      CIm: { shape: [256, 128], scale: 1 / 16 },
      D: { shape: [256] },
    },
    flops: 8 * 1024 * 256 * 128,
    differentiable: ['u', 'lambdaRe', 'lambdaIm', 'logStep', 'BRe', 'BIm', 'CRe', 'CIm', 'D'],
    call: (ops, { u, logStep, D, ...t }) =>
      ops.s5(u, complex(t, 'lambda'), logStep, complex(t, 'B'), complex(t, 'C'), D),
  },
];
