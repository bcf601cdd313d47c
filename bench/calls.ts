import { matMul, type Tensor } from '@tensorflow/tfjs-core';
import type { InputSpec, Ops, Tensors } from '../src/catalog/types';
import type { Workload } from './types';

const row: InputSpec = { shape: [1, 8] };
const channels: InputSpec = { shape: [1, 1, 8] };
const decay: InputSpec = { shape: [1, 1, 8], draw: 'sigmoid' };
const head: InputSpec = { shape: [1, 1, 1, 8] };
const [g, beta]: InputSpec[] = [
  { shape: [1, 1, 1], draw: 'logSigmoid' },
  { shape: [1, 1, 1], draw: 'sigmoid' },
];

function call(
  op: keyof Ops,
  inputs: Record<string, InputSpec>,
  run: (ops: Ops, tensors: Tensors) => Tensor,
): Workload {
  return {
    op,
    id: 'one token, head and row of 8',
    inputs: { ...inputs, x: row, y: row },
    flops: 0,
    call: run,
    rivals: { 'a matMul of tfjs': ({ x, y }) => matMul(x, y, false, true) },
  };
}

/** So little work that what is timed is the call: checks, tensors and dispatch, beside those of a kernel of tfjs. */
export const calls: Workload[] = [
  call('rmsNorm', { weight: { shape: [8] } }, (ops, { x, weight }) => ops.rmsNorm(x, weight)),
  call('rope', { q: head }, (ops, { q }) => ops.rope(q)),
  call('scaledDotProductAttention', { q: head, k: head, v: head }, (ops, { q, k, v }) =>
    ops.scaledDotProductAttention(q, k, v),
  ),
  call('linearAttention', { q: head, k: head, v: head }, (ops, { q, k, v }) => ops.linearAttention(q, k, v)),
  call('gla', { q: head, k: head, v: head, g: { ...head, draw: 'logSigmoid' } }, (ops, { q, k, v, g }) =>
    ops.gla(q, k, v, g),
  ),
  call('gatedDeltaRule', { q: head, k: head, v: head, g, beta }, (ops, { q, k, v, g, beta }) =>
    ops.gatedDeltaRule(q, k, v, g, beta),
  ),
  call('linearScan', { a: decay, b: channels }, (ops, { a, b }) => ops.linearScan(a, b)),
  call(
    'selectiveScan',
    { u: channels, delta: decay, A: { shape: [8, 4] }, B: { shape: [1, 1, 4] } },
    (ops, { u, delta, A, B }) => ops.selectiveScan(u, delta, A, B, B),
  ),
  call('causalConv1d', { u: channels, weight: { shape: [8, 4] } }, (ops, { u, weight }) =>
    ops.causalConv1d(u, weight),
  ),
];
