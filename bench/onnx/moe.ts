import type { Tensor } from '@tensorflow/tfjs-core';
import { Graph } from './graph';
import type { OnnxModel } from './session';

/** Softmax over the logits, top k, weights made to sum to 1; the router's matrix is part of the model. */
export function router({ hidden, router: weight }: Record<string, Tensor>, topK: number): OnnxModel {
  const graph = new Graph();
  graph.input('x', hidden.shape);
  graph.constant('router', weight.dataSync() as Float32Array, weight.shape);
  graph.integers('k', [topK]);
  graph.integers('axis', [1]);
  const logits = graph.node('Gemm', ['x', 'router'], { attributes: { transB: 1 } });
  const top = graph.node('TopK', [graph.node('Softmax', [logits], { attributes: { axis: 1 } }), 'k'], {
    attributes: { axis: 1 },
    outputs: ['top', 'indices'],
  });
  graph.node('Div', [top, graph.node('ReduceSum', [top, 'axis'])], { outputs: ['weights'] });
  graph.output('weights');
  graph.output('indices', undefined, 'int64');
  return { graph, feeds: { x: hidden }, fetches: ['weights', 'indices'] };
}

/** com.microsoft.MoE with SwiGLU, its weights as constants; gate and up rows alternate there. */
export function moeLayer(
  { hidden, router: weight, gateUp, down }: Record<string, Tensor>,
  topK: number,
): OnnxModel {
  const [E, F2, D] = gateUp.shape as number[];
  const source = gateUp.dataSync();
  const interleaved = new Float32Array(source.length);
  for (let e = 0; e < E; e++) {
    for (let row = 0; row < F2; row++) {
      const from = (e * F2 + (row % 2) * (F2 / 2) + (row >> 1)) * D;
      interleaved.set(source.subarray(from, from + D), (e * F2 + row) * D);
    }
  }
  const graph = new Graph();
  graph.input('x', hidden.shape);
  graph.constant('router', weight.dataSync() as Float32Array, weight.shape);
  graph.constant('gateUp', interleaved, gateUp.shape);
  graph.constant('down', down.dataSync() as Float32Array, down.shape);
  const logits = graph.node('Gemm', ['x', 'router'], { attributes: { transB: 1 } });
  graph.node('MoE', ['x', logits, 'gateUp', '', 'down'], {
    domain: 'com.microsoft',
    attributes: {
      k: topK,
      activation_type: 'swiglu',
      swiglu_fusion: 1,
      normalize_routing_weights: 1,
      activation_alpha: { float: 1 },
      activation_beta: { float: 0 },
    },
    outputs: ['out'],
  });
  graph.output('out');
  return { graph, feeds: { x: hidden }, fetches: ['out'] };
}
