import type { Tensor } from '@tensorflow/tfjs-core';
import { Graph } from './graph';
import type { Feed, OnnxModel } from './session';

interface LinearInputs {
  q: Tensor;
  k: Tensor;
  v: Tensor;
  /** Log decay, `[B, T, H]` or `[B, T, H, K]`. */
  g?: Tensor;
  /** `[B, T, H]` */
  beta?: Tensor;
  /** `[B, H, K, V]` */
  initialState?: Tensor;
}

/** com.microsoft.LinearAttention, a recurrence over tokens with one of four update rules. */
export function linearAttention(
  { q, k, v, g, beta, initialState }: LinearInputs,
  rule: 'linear' | 'gated' | 'delta' | 'gated_delta',
): OnnxModel {
  const [B, T, H] = q.shape as number[];
  const graph = new Graph();
  const feeds: Record<string, Feed> = {};
  const flat = (name: string, x: Tensor | undefined): string => {
    if (x === undefined) return '';
    const dims = [B, T, x.size / (B * T)];
    feeds[name] = { data: x.dataSync() as Float32Array, dims };
    return graph.input(name, dims);
  };
  const inputs = [flat('q', q), flat('k', k), flat('v', v), '', flat('g', g), flat('beta', beta)];
  if (initialState !== undefined) {
    feeds.state = initialState;
    inputs[3] = graph.input('state', initialState.shape);
  }
  while (inputs.at(-1) === '') inputs.pop();
  graph.node('LinearAttention', inputs, {
    domain: 'com.microsoft',
    attributes: { q_num_heads: H, kv_num_heads: v.shape[2]!, update_rule: rule, scale: { float: 1 } },
    outputs: ['out', 'newState'],
  });
  graph.output('out');
  graph.output('newState');
  return { graph, feeds, fetches: initialState === undefined ? ['out'] : ['out', 'newState'] };
}
