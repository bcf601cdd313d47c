import { add, mul, reshape, slice, stack, type Tensor, zeros } from '@tensorflow/tfjs-core';
import type { Complex } from '../ssm/complex';
import { SCAN } from './bounds';
import type { CatalogEntry, Tensors } from './types';

const BLELLOCH = {
  title: 'Prefix Sums and Their Applications',
  url: 'https://www.cs.cmu.edu/~guyb/papers/Ble93.pdf',
};
const LRU = {
  title: 'Resurrecting Recurrent Neural Networks for Long Sequences',
  url: 'https://arxiv.org/abs/2303.06349',
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
];
