import * as tfjs from '@tensorflow/tfjs-core';
import {
  add,
  div,
  mul,
  reshape,
  sigmoid,
  slice,
  softmax,
  squeeze,
  sum,
  type Tensor,
  topk,
  transpose,
  unstack,
} from '@tensorflow/tfjs-core';
import { moeLayer, router as onnxRouter } from '../onnx/moe';
import type { Workload } from '../types';

/** Every expert on every token, weighted: what a router saves. */
function dense({ hidden, router, gateUp, down }: Record<string, Tensor>, topK: number): Tensor {
  const F = down.shape[2]!;
  const probabilities = softmax(tfjs.matMul(hidden, transpose(router)));
  const { values } = topk(probabilities, topK);
  const threshold = slice(values, [0, topK - 1], [-1, 1]);
  const kept = mul(probabilities, tfjs.cast(tfjs.greaterEqual(probabilities, threshold), 'float32'));
  const weights = unstack(div(kept, sum(kept, -1, true)), 1);
  return unstack(gateUp)
    .map((matrix, e) => {
      const both = tfjs.matMul(hidden, transpose(matrix));
      const [gate, up] = [slice(both, [0, 0], [-1, F]), slice(both, [0, F], [-1, F])];
      const h = mul(mul(gate, sigmoid(gate)), up);
      return mul(
        tfjs.matMul(h, transpose(squeeze(slice(down, [e, 0, 0], [1, -1, -1]), [0]))),
        reshape(weights[e], [-1, 1]),
      );
    })
    .reduce((a, b) => add(a, b));
}

function layer(
  N: number,
  D: number,
  F: number,
  E: number,
  topK: number,
  options: Partial<Workload>,
): Workload {
  return {
    op: 'moeMlp',
    id: `N${N} D${D} F${F} E${E} top-${topK}`,
    inputs: {
      hidden: { shape: [N, D] },
      router: { shape: [E, D], scale: D ** -0.5 },
      gateUp: { shape: [E, 2 * F, D], scale: D ** -0.5 },
      down: { shape: [E, D, F], scale: F ** -0.5 },
    },
    flops: 6 * N * topK * D * F + 2 * N * D * E,
    bytes: 4 * (2 * N * D + E * D + Math.min(E, N * topK) * 3 * D * F),
    call: (ops, { hidden, router, gateUp, down }) =>
      ops.moeMlp(
        hidden,
        { gateUp, down },
        ops.topkRouting(ops.routerLogits(hidden, router), { topK, normTopkProb: true }),
      ),
    ...options,
  };
}

const differentiable = ['hidden', 'gateUp', 'down'];

export const moe: Workload[] = [
  layer(512, 256, 512, 16, 2, {
    quick: true,
    differentiable,
    rivals: { 'dense mixture': (tensors) => dense(tensors, 2) },
    onnx: { MoE: (tensors) => moeLayer(tensors, 2) },
  }),
  layer(512, 256, 512, 64, 2, {
    rivals: { 'dense mixture': (tensors) => dense(tensors, 2) },
    onnx: { MoE: (tensors) => moeLayer(tensors, 2) },
  }),
  ...[16, 128].map((E) => layer(1, 256, 512, E, 2, { onnx: { MoE: (tensors) => moeLayer(tensors, 2) } })),
  {
    op: 'topkRouting',
    id: 'N4096 D256 E64 top-8',
    inputs: { hidden: { shape: [4096, 256] }, router: { shape: [64, 256], scale: 1 / 16 } },
    flops: 2 * 4096 * 256 * 64,
    call: (ops, { hidden, router }) => {
      const { weights, indices } = ops.topkRouting(ops.routerLogits(hidden, router), {
        topK: 8,
        normTopkProb: true,
      });
      return [weights, indices];
    },
    rivals: {
      tfjs: ({ hidden, router }) => {
        const { values, indices } = topk(softmax(tfjs.matMul(hidden, transpose(router))), 8);
        return [div(values, sum(values, -1, true)), indices];
      },
    },
    onnx: { '': (tensors) => onnxRouter(tensors, 8) },
  },
  {
    op: 'groupedMatMul',
    id: 'D1024 N1024 4 groups of 256',
    inputs: { x: { shape: [1024, 1024] }, weights: { shape: [4, 1024, 1024] } },
    flops: 2 * 1024 ** 3,
    differentiable: ['x', 'weights'],
    call: (ops, { x, weights }) => ops.groupedMatMul(x, weights, [256, 256, 256, 256]),
    rivals: {
      'product per group': ({ x, weights }) =>
        tfjs.concat(
          unstack(weights).map((matrix, g) => tfjs.matMul(slice(x, [256 * g, 0], [256, -1]), matrix)),
        ),
    },
  },
];
