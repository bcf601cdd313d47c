import { type Tensor, tidy, transpose } from '@tensorflow/tfjs-core';
import { Graph } from './graph';
import type { OnnxModel } from './session';

/** `[B, T, H, D]` as the `[B, H, T, D]` that ONNX's operators take. */
function headMajor(x: Tensor): { data: Float32Array; dims: number[] } {
  const [B, T, H, D] = x.shape as [number, number, number, number];
  return { data: tidy(() => transpose(x, [0, 2, 1, 3]).dataSync() as Float32Array), dims: [B, H, T, D] };
}

interface Visible {
  isCausal?: boolean;
  window?: number;
}

/**
 * Attention over blocks of query rows cut by hand, each with the keys it can see and a mask: the fastest form that
 * onnxruntime-web has, as its own operators hold the whole score matrix and do not skip masked keys.
 */
export function blockedAttention(
  { q, k, v }: Record<string, Tensor>,
  { isCausal = false, window = Number.POSITIVE_INFINITY }: Visible = {},
): OnnxModel {
  const [Tq, Tk] = [q.shape[1]!, k.shape[1]!];
  const feeds = { q: headMajor(q), k: headMajor(k), v: headMajor(v) };
  const graph = new Graph();
  for (const [name, feed] of Object.entries(feeds)) graph.input(name, feed.dims);
  graph.integers('axis', [2]);
  const cut = (name: string, lo: number, hi: number) =>
    graph.node('Slice', [
      name,
      graph.integers(`${name}_from_${lo}_${hi}`, [lo]),
      graph.integers(`${name}_to_${lo}_${hi}`, [hi]),
      'axis',
    ]);
  const seen = (i: number) => (isCausal ? [Math.max(0, i - window + 1), i + 1] : [0, Tk]);
  const rowsPerBlock = Math.max(16, Math.min(256, Tq >> 2));
  const masks = new Map<string, string>();
  const blocks: string[] = [];
  for (let i = 0; i < Tq; i += rowsPerBlock) {
    const rows = Math.min(rowsPerBlock, Tq - i);
    const [lo, hi] = [seen(i)[0], seen(i + rows - 1)[1]];
    const inputs = [cut('q', i, i + rows), cut('k', lo, hi), cut('v', lo, hi)];
    if (isCausal) {
      const name = `mask_${i - lo}_${rows}_${hi - lo}`;
      if (!masks.has(name)) {
        const mask = new Float32Array(rows * (hi - lo)).fill(-1e9);
        for (let r = 0; r < rows; r++) {
          const [from, to] = seen(i + r);
          mask.fill(0, r * (hi - lo) + from - lo, r * (hi - lo) + to - lo);
        }
        masks.set(name, graph.constant(name, mask, [rows, hi - lo]));
      }
      inputs.push(masks.get(name)!);
    }
    blocks.push(graph.node('Attention', inputs));
  }
  graph.node('Concat', blocks, { attributes: { axis: 2 }, outputs: ['out'] });
  graph.output('out');
  return { graph, feeds, fetches: ['out'] };
}

/** com.microsoft.GroupQueryAttention for one new token over a cache of all keys but the last. */
export function decodeAttention({ q, k, v }: Record<string, Tensor>): OnnxModel {
  const [, , Hq, D] = q.shape as number[];
  const [, Tk, Hkv] = k.shape as number[];
  const cached = Tk - 1;
  const past = (x: Tensor) => {
    const { data } = headMajor(x);
    const out = new Float32Array(Hkv * cached * D);
    for (let h = 0; h < Hkv; h++) out.set(data.subarray(h * Tk * D, (h * Tk + cached) * D), h * cached * D);
    return { data: out, dims: [1, Hkv, cached, D] };
  };
  const last = (x: Tensor) => ({
    data: x.dataSync().slice(cached * Hkv * D) as Float32Array,
    dims: [1, 1, Hkv * D],
  });
  const feeds = {
    q: { data: q.dataSync() as Float32Array, dims: [1, 1, Hq * D] },
    k: last(k),
    v: last(v),
    pastK: past(k),
    pastV: past(v),
  };
  const graph = new Graph();
  for (const [name, { dims }] of Object.entries(feeds)) graph.input(name, dims);
  graph.constant('lengths', Int32Array.of(cached), [1]);
  graph.constant('total', Int32Array.of(Tk), []);
  graph.node('GroupQueryAttention', ['q', 'k', 'v', 'pastK', 'pastV', 'lengths', 'total'], {
    domain: 'com.microsoft',
    attributes: { num_heads: Hq, kv_num_heads: Hkv },
    outputs: ['out', 'presentK', 'presentV'],
  });
  for (const name of ['out', 'presentK', 'presentV']) graph.output(name);
  return { graph, feeds, fetches: ['out'] };
}
