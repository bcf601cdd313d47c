import type { Tensor } from '@tensorflow/tfjs-core';
import { Graph } from './graph';
import type { OnnxModel } from './session';

/** The selective scan with ONNX's Scan: an elementwise body per token. u and delta [1, T, d], A [d, N], B and C [1, T, N]. */
export function scanModel(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor): OnnxModel {
  const [, T, d] = u.shape as number[];
  const N = A.shape[1]!;
  const body = new Graph();
  body.input('h0', [d, N]);
  for (const name of ['ut', 'dt']) body.input(name, [d]);
  for (const name of ['bt', 'ct']) body.input(name, [N]);
  const node = (op: string, inputs: string[], output: string) => body.node(op, inputs, { outputs: [output] });
  const decay = node(
    'Exp',
    [node('Mul', [node('Unsqueeze', ['dt', 'last'], 'column'), 'A'], 'power')],
    'decay',
  );
  const kept = node('Mul', ['h0', decay], 'kept');
  const input = node('Unsqueeze', [node('Mul', ['ut', 'dt'], 'x'), 'last'], 'xColumn');
  node('Add', [kept, node('Mul', [input, 'bt'], 'written')], 'h1');
  node('MatMul', ['h1', 'ct'], 'y');
  body.output('h1', [d, N]);
  body.output('y', [d]);
  const graph = new Graph();
  for (const name of ['u', 'delta']) graph.input(name, [T, d]);
  for (const name of ['B', 'C']) graph.input(name, [T, N]);
  graph.constant('A', A.dataSync() as Float32Array, [d, N]);
  graph.constant('zero', new Float32Array(d * N), [d, N]);
  graph.integers('last', [-1]);
  graph.node('Scan', ['zero', 'u', 'delta', 'B', 'C'], {
    attributes: { body, num_scan_inputs: 4 },
    outputs: ['state', 'out'],
  });
  graph.output('out');
  graph.output('state');
  const feed = (x: Tensor, width: number) => ({ data: x.dataSync() as Float32Array, dims: [T, width] });
  const feeds = { u: feed(u, d), delta: feed(delta, d), B: feed(B, N), C: feed(C, N) };
  return { graph, feeds, fetches: ['out'] };
}

/** Mamba-2 as com.microsoft.LinearAttention: decay dt A, values dt x, one query and key head for all. */
export function ssdModel(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor): OnnxModel {
  const [, T, H, P] = x.shape as number[];
  const N = B.shape[3]!;
  const graph = new Graph();
  graph.input('x', [1, T, H, P]);
  graph.input('dt', [1, T, H]);
  for (const name of ['B', 'C']) graph.input(name, [1, T, N]);
  graph.constant('A', A.dataSync() as Float32Array, [H]);
  graph.integers('last', [-1]);
  graph.integers('shape', [1, T, H * P]);
  const decay = graph.node('Mul', ['dt', 'A']);
  const values = graph.node('Mul', ['x', graph.node('Unsqueeze', ['dt', 'last'])]);
  graph.node('LinearAttention', ['C', 'B', graph.node('Reshape', [values, 'shape']), '', decay], {
    domain: 'com.microsoft',
    attributes: { q_num_heads: 1, kv_num_heads: H, update_rule: 'gated', scale: { float: 1 } },
    outputs: ['out', 'state'],
  });
  graph.output('out');
  graph.output('state');
  const group = (t: Tensor) => ({ data: t.dataSync() as Float32Array, dims: [1, T, N] });
  return { graph, feeds: { x, dt, B: group(B), C: group(C) }, fetches: ['out'] };
}
