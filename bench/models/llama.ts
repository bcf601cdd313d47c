import { transpose } from '@tensorflow/tfjs-core';
import type { Model } from '../../src/models';
import type { AttentionSpec } from '../../src/models/mixers/attention';
import { valuesOf } from '../../src/models/values';
import { Graph } from '../onnx/graph';
import type { Feed, OnnxModel } from '../onnx/session';

/**
 * A Llama as onnxruntime's own operators make it: GroupQueryAttention with rotation and a cache, fused root mean square
 * norms. It reads `ids` behind `past` tokens and gives the logits of the last one.
 *
 * @param ids T tokens
 * @param past keys and values by layer, `[Hkv, seen, D]`
 */
export function llamaOnnx(
  model: Model,
  ids: Int32Array,
  past: readonly (readonly Float32Array[])[] = [],
): OnnxModel {
  const graph = new Graph();
  const { spec } = model;
  const attention = spec.layers[0].token.mixer as AttentionSpec;
  const { heads, kvHeads, headDim: D, rope } = attention;
  const T = ids.length;
  const seen = past.length === 0 ? 0 : past[0][0].length / (kvHeads * D);
  const values = new Map(model.parameters.map(({ name, value }) => [name, value]));
  const weight = (name: string) => {
    const value = values.get(name)!;
    return graph.constant(name, value.dataSync() as Float32Array, value.shape);
  };
  const matMul = (x: string, name: string, outputs?: readonly string[]) => {
    const value = values.get(`${name}.weight`)!;
    const turned = valuesOf(() => transpose(value));
    const constant = graph.constant(`${name}.weight`, turned, [...value.shape].reverse());
    return graph.node('MatMul', [x, constant], { outputs });
  };
  const norm = (x: string, name: string) =>
    graph.node('SimplifiedLayerNormalization', [x, weight(`${name}.weight`)], {
      attributes: { axis: -1, epsilon: { float: 1e-6 }, stash_type: 1 },
    });

  const feeds: Record<string, Feed> = { ids: { data: ids, dims: [1, T] } };
  graph.input('ids', [1, T], 'int32');
  graph.constant('lengths', Int32Array.of(seen + T - 1), [1]);
  graph.constant('total', Int32Array.of(seen + T), []);
  const angles = (f: (x: number) => number) =>
    Float32Array.from({ length: (seen + T) * (D / 2) }, (_, i) =>
      f(Math.floor(i / (D / 2)) * rope!.frequencies[i % (D / 2)]),
    );
  graph.constant('cos', angles(Math.cos), [seen + T, D / 2]);
  graph.constant('sin', angles(Math.sin), [seen + T, D / 2]);

  let x = graph.node('Gather', [weight('model.embed_tokens.weight'), 'ids']);
  spec.layers.forEach(({ name }, i) => {
    const normed = norm(x, `${name}.input_layernorm`);
    const projected = ['q', 'k', 'v'].map((part) => matMul(normed, `${name}.self_attn.${part}_proj`));
    const cached = ['key', 'value'].map((part, p) => {
      const dims = [1, kvHeads, seen, D];
      feeds[`past.${i}.${part}`] = { data: past[i]?.[p] ?? new Float32Array(0), dims };
      return graph.input(`past.${i}.${part}`, dims);
    });
    const attended = graph.node(
      'GroupQueryAttention',
      [...projected, ...cached, 'lengths', 'total', 'cos', 'sin'],
      {
        domain: 'com.microsoft',
        attributes: { num_heads: heads, kv_num_heads: kvHeads, do_rotary: 1 },
        outputs: [`attended.${i}`, `present.${i}.key`, `present.${i}.value`],
      },
    );
    for (const part of ['key', 'value']) graph.output(`present.${i}.${part}`);
    x = graph.node('Add', [x, matMul(attended, `${name}.self_attn.o_proj`)]);
    const channel = norm(x, `${name}.post_attention_layernorm`);
    const gate = matMul(channel, `${name}.mlp.gate_proj`);
    const open = graph.node('Mul', [gate, graph.node('Sigmoid', [gate])]);
    const wide = graph.node('Mul', [open, matMul(channel, `${name}.mlp.up_proj`)]);
    x = graph.node('Add', [x, matMul(wide, `${name}.mlp.down_proj`)]);
  });
  graph.integers('from', [T - 1]);
  graph.integers('to', [T]);
  graph.integers('axis', [1]);
  const last = graph.node('Slice', [x, 'from', 'to', 'axis']);
  matMul(norm(last, 'model.norm'), 'lm_head', ['logits']);
  graph.output('logits');
  const present = spec.layers.flatMap((_, i) => [`present.${i}.key`, `present.${i}.value`]);
  return { graph, feeds, fetches: ['logits', ...present] };
}
