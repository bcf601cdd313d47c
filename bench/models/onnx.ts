import { slice, transpose } from '@tensorflow/tfjs-core';
import type { Model } from '../../src/models';
import type { FeedForwardSpec } from '../../src/models/channels/feedForward';
import type { AttentionSpec } from '../../src/models/mixers/attention';
import type { GatedDeltaSpec } from '../../src/models/mixers/gatedDelta';
import type { Mamba2Spec } from '../../src/models/mixers/mamba2';
import type { BranchSpec } from '../../src/models/spec';
import { valuesOf } from '../../src/models/values';
import { Graph } from '../onnx/graph';
import type { Feed, OnnxModel } from '../onnx/session';

/** What an earlier call remembered, its outputs `present.*`, and how many tokens it has seen. */
export interface Past {
  seen: number;
  states: Readonly<Record<string, Float32Array>>;
}

/** A graph with the weights of a model, and what several layers need. */
class ModelGraph {
  readonly graph = new Graph();
  readonly feeds: Record<string, Feed> = {};
  readonly presents: string[] = [];
  private readonly values: Map<string, Model['parameters'][number]['value']>;
  /** The rows of a parameter that are a layer of the checkpoint. */
  private readonly places = new Map<string, { whole: string; begin: number; end: number }>();

  constructor(
    model: Model,
    readonly T: number,
    readonly past: Past,
  ) {
    this.values = new Map(model.parameters.map(({ name, value }) => [name, value]));
    for (const { name: whole, recipes } of model.parameters) {
      let end = 0;
      for (const { name, shape } of recipes[0].sources) {
        end += shape[0];
        this.places.set(name, { whole, begin: end - shape[0], end });
      }
    }
  }

  has(name: string): boolean {
    return this.values.has(name);
  }

  node(op: string, inputs: readonly string[], attributes: Parameters<Graph['node']>[2] = {}): string {
    return this.graph.node(op, inputs, attributes);
  }

  weight(name: string, shape?: readonly number[]): string {
    const value = this.values.get(name)!;
    return this.graph.constant(name, value.dataSync() as Float32Array, shape ?? value.shape);
  }

  /** The product with a layer, or with layers that lie behind each other up to `last`. */
  matMul(
    x: string,
    name: string,
    { last = name, outputs }: { last?: string; outputs?: string[] } = {},
  ): string {
    const { whole, begin } = this.places.get(`${name}.weight`)!;
    const { end } = this.places.get(`${last}.weight`)!;
    const value = this.values.get(whole)!;
    const into = value.shape[1]!;
    const turned = this.graph.constant(
      `${name}.turned`,
      valuesOf(() => transpose(slice(value, [begin, 0], [end - begin, into]))),
      [into, end - begin],
    );
    return this.node('MatMul', [x, turned], { outputs });
  }

  norm(x: string, name: string, epsilon: number): string {
    return this.node('SimplifiedLayerNormalization', [x, this.weight(`${name}.weight`)], {
      attributes: { axis: -1, epsilon: { float: epsilon }, stash_type: 1 },
    });
  }

  silu(x: string): string {
    return this.node('Mul', [x, this.node('Sigmoid', [x])]);
  }

  private count = 0;
  private numbers(values: readonly number[]): string {
    return this.graph.integers(`numbers${this.count++}`, values);
  }

  split(x: string, sizes: readonly number[]): string[] {
    const outputs = sizes.map(() => `part${this.count++}`);
    this.node('Split', [x, this.numbers(sizes)], { attributes: { axis: -1 }, outputs });
    return outputs;
  }

  reshape(x: string, shape: readonly number[]): string {
    return this.node('Reshape', [x, this.numbers(shape)]);
  }

  slice(x: string, axis: number, from: number, to: number): string {
    return this.node('Slice', [x, ...[[from], [to], [axis]].map((list) => this.numbers(list))]);
  }

  /** The name of an input with what was remembered, zeros at first. */
  remembered(name: string, dims: readonly number[]): string {
    const size = dims.reduce((n, d) => n * d, 1);
    const data = this.past.states[`present.${name}`] ?? new Float32Array(size);
    this.feeds[`past.${name}`] = { data, dims };
    return this.graph.input(`past.${name}`, dims);
  }

  /** The name of an output that is remembered. */
  remember(name: string): string {
    this.presents.push(`present.${name}`);
    return this.graph.output(`present.${name}`);
  }

  /** Silu of a causal convolution along the tokens of `[1, T, C]`. */
  convolution(x: string, name: string, [C, width]: readonly [number, number], at: string): string {
    const turned = this.node('Transpose', [x], { attributes: { perm: [0, 2, 1] } });
    const behind = this.node('Concat', [this.remembered(`${at}.conv`, [1, C, width - 1]), turned], {
      attributes: { axis: 2 },
    });
    const last = this.slice(behind, 2, this.T, this.T + width - 1);
    this.node('Identity', [last], { outputs: [this.remember(`${at}.conv`)] });
    const bias = this.has(`${name}.bias`) ? [this.weight(`${name}.bias`)] : [];
    const mixed = this.node('Conv', [behind, this.weight(`${name}.weight`, [C, 1, width]), ...bias], {
      attributes: { group: C },
    });
    return this.silu(this.node('Transpose', [mixed], { attributes: { perm: [0, 2, 1] } }));
  }

  /** com.microsoft.LinearAttention from a remembered state `dims` on. */
  recurrence(inputs: readonly string[], dims: readonly number[], at: string, attributes: object): string {
    const [q, k, v, ...more] = inputs;
    const state = this.remembered(`${at}.state`, dims);
    return this.node('LinearAttention', [q, k, v, state, ...more], {
      domain: 'com.microsoft',
      attributes: { ...attributes },
      outputs: [`read.${at}`, this.remember(`${at}.state`)],
    });
  }
}

type Layer<Spec> = (m: ModelGraph, x: string, name: string, spec: Spec) => string;

const attention: Layer<AttentionSpec> = (m, x, name, { heads, kvHeads, headDim: D }) => {
  const projected = ['q', 'k', 'v'].map((part) => m.matMul(x, `${name}.${part}_proj`));
  const cached = ['key', 'value'].map((part) =>
    m.remembered(`${name}.${part}`, [1, kvHeads, m.past.seen, D]),
  );
  const attended = m.node(
    'GroupQueryAttention',
    [...projected, ...cached, 'lengths', 'total', 'cos', 'sin'],
    {
      domain: 'com.microsoft',
      attributes: { num_heads: heads, kv_num_heads: kvHeads, do_rotary: 1 },
      outputs: [`attended.${name}`, ...['key', 'value'].map((part) => m.remember(`${name}.${part}`))],
    },
  );
  return m.matMul(attended, `${name}.o_proj`);
};

const mamba2: Layer<Mamba2Spec> = (m, x, name, spec) => {
  const { heads: H, headDim: P, stateSize: N, norm } = spec;
  const inner = H * P;
  const [z, mixed, steps] = m.split(m.matMul(x, `${name}.in_proj`), [inner, inner + 2 * N, H]);
  const convolved = m.convolution(mixed, `${name}.conv1d`, [inner + 2 * N, spec.convolution.width], name);
  const [u, B, C] = m.split(convolved, [inner, N, N]);
  const dt = m.node('Softplus', [m.node('Add', [steps, m.weight(`${name}.dt_bias`)])]);
  const byHead = m.reshape(u, [1, m.T, H, P]);
  const values = m.node('Mul', [byHead, m.reshape(dt, [1, m.T, H, 1])]);
  const decay = m.node('Mul', [dt, m.weight(`${name}.A_log`)]);
  const read = m.recurrence([C, B, m.reshape(values, [1, m.T, inner]), decay], [1, H, N, P], name, {
    q_num_heads: 1,
    kv_num_heads: H,
    update_rule: 'gated',
    scale: { float: 1 },
  });
  const skipped = m.reshape(m.node('Mul', [byHead, m.weight(`${name}.D`, [H, 1])]), [1, m.T, inner]);
  const gated = m.node('Mul', [m.node('Add', [read, skipped]), m.silu(z)]);
  return m.matMul(m.norm(gated, `${name}.norm`, norm!.eps), `${name}.out_proj`);
};

const gatedDelta: Layer<GatedDeltaSpec> = (m, x, name, spec) => {
  const { keyHeads: H, valueHeads: HV, keyDim: K, valueDim: V, output } = spec;
  const [keys, values] = [H * K, HV * V];
  const [qkv, z] = m.split(m.matMul(x, `${name}.q_proj`, { last: `${name}.g_proj` }), [
    2 * keys + values,
    values,
  ]);
  const width = spec.convolution!.width;
  const convolved = m.convolution(
    qkv,
    `${name}.${spec.convolution!.names[0]}`,
    [2 * keys + values, width],
    name,
  );
  const [q, k, v] = m.split(convolved, [keys, keys, values]);
  const unit = (part: string) => {
    const heads = m.reshape(part, [1, m.T, H, K]);
    return m.reshape(m.node('LpNormalization', [heads], { attributes: { axis: -1, p: 2 } }), [1, m.T, keys]);
  };
  const [b, a] = m.split(m.matMul(x, `${name}.b_proj`, { last: `${name}.a_proj` }), [HV, HV]);
  const steps = m.node('Softplus', [m.node('Add', [a, m.weight(`${name}.dt_bias`)])]);
  const rate = m.node('Neg', [m.node('Exp', [m.weight(`${name}.A_log`)])]);
  const inputs = [unit(q), unit(k), v, m.node('Mul', [steps, rate]), m.node('Sigmoid', [b])];
  const read = m.recurrence(inputs, [1, HV, K, V], name, {
    q_num_heads: H,
    kv_num_heads: HV,
    update_rule: 'gated_delta',
    scale: { float: K ** -0.5 },
  });
  const normed = m.norm(m.reshape(read, [1, m.T, HV, V]), `${name}.${output.norm}`, output.eps);
  const opened = m.node('Mul', [m.reshape(normed, [1, m.T, values]), m.silu(z)]);
  return m.matMul(opened, `${name}.${output.name}`);
};

const feedForward: Layer<FeedForwardSpec> = (m, x, name) => {
  const open = m.silu(m.matMul(x, `${name}.gate_proj`));
  return m.matMul(m.node('Mul', [open, m.matMul(x, `${name}.up_proj`)]), `${name}.down_proj`);
};

const layers = { attention, mamba2, gatedDelta, feedForward } as unknown as Record<string, Layer<object>>;

/** Cosines and sines of all positions, and how long the cache is, for GroupQueryAttention. */
function rotations({ graph, T, past }: ModelGraph, { rope, headDim: D }: AttentionSpec): void {
  const total = past.seen + T;
  graph.constant('lengths', Int32Array.of(total - 1), [1]);
  graph.constant('total', Int32Array.of(total), []);
  for (const name of ['cos', 'sin'] as const) {
    const angles = Float32Array.from({ length: (total * D) / 2 }, (_, i) =>
      Math[name](Math.floor(i / (D / 2)) * rope!.frequencies[i % (D / 2)]),
    );
    graph.constant(name, angles, [total, D / 2]);
  }
}

/**
 * A model as onnxruntime's own operators make it: GroupQueryAttention with rotation and a cache, LinearAttention with a
 * state, fused root mean square norms. It reads `ids` behind what it remembers and gives the logits of the last token. For
 * Llama, Mamba-2 with one group, Gated DeltaNet, and hybrids of them.
 */
export function modelOnnx(
  model: Model,
  ids: Int32Array,
  past: Past = { seen: 0, states: {} },
): OnnxModel & { presents: readonly string[] } {
  const T = ids.length;
  const m = new ModelGraph(model, T, past);
  const { spec } = model;
  const attending = spec.layers.map(({ token }) => token.mixer).find(({ type }) => type === 'attention');
  if (attending !== undefined) rotations(m, attending as AttentionSpec);
  m.feeds.ids = { data: ids, dims: [1, T] };
  m.graph.input('ids', [1, T], 'int32');
  let x = m.node('Gather', [m.weight(`${spec.embedding.name}.weight`), 'ids']);
  const branch = (layer: string, { name, mixer, preNorm }: BranchSpec) => {
    const normed = m.norm(x, `${layer}.${preNorm!.name}`, preNorm!.eps);
    x = m.node('Add', [x, layers[mixer.type](m, normed, `${layer}.${name}`, mixer)]);
  };
  for (const { name, token, channel } of spec.layers) {
    branch(name, token);
    if (channel !== undefined) branch(name, channel);
  }
  const last = m.norm(m.slice(x, 1, T - 1, T), spec.norm!.name, spec.norm!.eps);
  m.matMul(last, spec.head.name ?? spec.embedding.name, { outputs: ['logits'] });
  m.graph.output('logits');
  return { graph: m.graph, feeds: m.feeds, fetches: ['logits', ...m.presents], presents: m.presents };
}
