import type { Config } from '../config';
import type { LayerSpec, NormSpec } from '../spec';
import { type Architecture, decoder, hiddenActivation, range } from './common';
import { flaDecoder, hybridAttention } from './fla';

const layerNormSpec = (name: string, size: number, eps: number, bias = true): NormSpec => ({
  type: 'layer',
  name,
  size,
  eps,
  bias,
});

/** The rank flash-linear-attention gives a low-rank projection that has none in the config. */
function rank(config: Config, key: string, factor: number, perHead: boolean): number {
  const widened = perHead ? config.number('head_dim', 64) / 64 : 1;
  const steps = Math.round((factor * Math.sqrt(config.number('hidden_size')) * widened) / 32);
  return config.optional(key) ?? Math.max(32, 32 * steps);
}

/** RWKV-7 as flash-linear-attention stores it. */
export const rwkv7: Architecture = (config) => {
  const [size, eps] = [config.number('hidden_size'), config.number('norm_eps', 1e-5)];
  const headDim = config.optional('head_dim') ?? size / config.number('num_heads');
  const values = config.has('value_dim') ? config.list<number>('value_dim') : [];
  const norm = (name: string) => layerNormSpec(name, size, eps, config.boolean('norm_bias', true));
  const given = config.optional('intermediate_size');
  const intermediate = given ?? 32 * Math.ceil((size * config.number('hidden_ratio', 4)) / 32);
  const layers = range(config.number('num_hidden_layers')).map((i) => ({
    name: `model.layers.${i}`,
    inputNorm: i === 0 && config.boolean('norm_first', true) ? norm('pre_norm') : undefined,
    token: {
      name: 'attn',
      preNorm: norm('attn_norm'),
      mixer: hybridAttention(config, i) ?? {
        type: 'rwkv7' as const,
        size,
        headDim,
        valueSize: values[i] ?? size,
        ranks: {
          w: rank(config, 'decay_low_rank_dim', 2.5, true),
          a: rank(config, 'a_low_rank_dim', 2.5, true),
          v: rank(config, 'v_low_rank_dim', 1.7, true),
          g: rank(config, 'gate_low_rank_dim', 5, false),
        },
        eps: headDim * eps,
        removalEps: config.boolean('fuse_norm', true) ? 1e-6 : 1e-24,
        first: i === 0,
      },
    },
    channel: {
      name: 'ffn',
      preNorm: norm('ffn_norm'),
      mixer: {
        type: 'rwkvChannel' as const,
        size,
        intermediate,
        activation: hiddenActivation(config, 'sqrelu'),
        mix: { key: 'x_k', shape: [size] },
      },
    },
  }));
  return flaDecoder(config, layers, norm('model.norm'));
};

/** RWKV-4 as transformers stores it. Its halving of activations in deep layers, for float16, is left out. */
export const rwkv4: Architecture = (config) => {
  const [size, eps] = [config.number('hidden_size'), config.number('layer_norm_epsilon', 1e-5)];
  const norm = (name: string) => layerNormSpec(name, size, eps);
  const layers = range(config.number('num_hidden_layers')).map(
    (i): LayerSpec => ({
      name: `rwkv.blocks.${i}`,
      inputNorm: i === 0 ? norm('pre_ln') : undefined,
      token: {
        name: 'attention',
        preNorm: norm('ln1'),
        mixer: { type: 'rwkv4', size, width: config.number('attention_hidden_size', size) },
      },
      channel: {
        name: 'feed_forward',
        preNorm: norm('ln2'),
        mixer: {
          type: 'rwkvChannel',
          size,
          intermediate: config.number('intermediate_size', 4 * size),
          mix: { key: 'time_mix_key', receptance: 'time_mix_receptance', shape: [1, 1, size], ofToken: true },
        },
      },
    }),
  );
  const tied = config.boolean('tie_word_embeddings', false);
  return decoder(config, layers, {
    embedding: { name: 'rwkv.embeddings' },
    norm: norm('rwkv.ln_out'),
    head: tied ? {} : { name: 'head' },
  });
};

/** RWKV-6 as flash-linear-attention stores it. */
export const rwkv6: Architecture = (config) => {
  const [size, eps] = [config.number('hidden_size'), config.number('norm_eps', 1e-5)];
  const heads = config.number('num_heads', 4);
  const norm = (name: string) => layerNormSpec(name, size, eps, config.boolean('norm_bias', true));
  const given = config.optional('intermediate_size');
  const intermediate = given ?? 32 * Math.ceil(Math.floor(size * config.number('hidden_ratio', 3.5)) / 32);
  const layers = range(config.number('num_hidden_layers')).map(
    (i): LayerSpec => ({
      name: `model.layers.${i}`,
      inputNorm: i === 0 && config.boolean('norm_first', true) ? norm('pre_norm') : undefined,
      token: {
        name: 'attn',
        preNorm: norm('attn_norm'),
        mixer: hybridAttention(config, i) ?? {
          type: 'rwkv6',
          size,
          heads,
          keyDim: Math.floor(size * config.number('expand_k', 0.5)) / heads,
          valueDim: Math.floor(size * config.number('expand_v', 1)) / heads,
          mixRank: config.number('proj_low_rank_dim', 32),
          decayRank: config.number('gate_low_rank_dim', 64),
          activation: 'swish',
          eps,
        },
      },
      channel: {
        name: 'ffn',
        preNorm: norm('ffn_norm'),
        mixer: {
          type: 'rwkvChannel',
          size,
          intermediate,
          activation: hiddenActivation(config, 'sqrelu'),
          mix: { key: 'key.mu', receptance: 'receptance.mu', shape: [size] },
          names: ['key.linear', 'receptance.linear'],
        },
      },
    }),
  );
  return flaDecoder(config, layers, norm('model.norm'));
};
