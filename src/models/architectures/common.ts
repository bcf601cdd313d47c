import { type ActivationName, activationName } from '../../nn/layers/activation';
import type { FeedForwardSpec } from '../channels/feedForward';
import type { Config } from '../config';
import type { MixerSpec } from '../mixers';
import type { AttentionSpec } from '../mixers/attention';
import { ropeSpec } from '../rope';
import type { LayerSpec, ModelSpec, NormSpec } from '../spec';

/** Makes the description of a model from its config. */
export type Architecture = (config: Config) => ModelSpec;

export const range = (count: number) => Array.from({ length: count }, (_, i) => i);

/** Something per layer: of a list of the config, or by a rule where the config has none. */
export function perLayer<T extends number | string | boolean>(
  config: Config,
  key: string,
  rule: (layer: number) => T,
): readonly T[] {
  const layers = range(config.number('num_hidden_layers'));
  const given = config.has(key) ? config.list<T>(key) : layers.map(rule);
  if (given.length < layers.length) {
    throw new RangeError(
      `config: ${key} has ${given.length} entries; expected ${layers.length}, one per layer`,
    );
  }
  return given;
}

export const rms = (name: string, size: number, eps: number, weightOffset?: number): NormSpec => ({
  type: 'rms',
  name,
  size,
  eps,
  weightOffset,
});

export function headDim(config: Config): number {
  return config.optional('head_dim') ?? config.number('hidden_size') / config.number('num_attention_heads');
}

/** Rotary attention with grouped heads under the usual keys and names. */
export function attentionSpec(config: Config, more: Partial<AttentionSpec> = {}): AttentionSpec {
  const heads = config.number('num_attention_heads');
  const D = headDim(config);
  const bias = config.boolean('attention_bias', false);
  return {
    type: 'attention',
    size: config.number('hidden_size'),
    heads,
    kvHeads: config.number('num_key_value_heads', heads),
    headDim: D,
    rope: ropeSpec(config, D),
    bias: { qkv: bias, output: bias },
    ...more,
  };
}

export function hiddenActivation(config: Config, fallback = 'silu'): ActivationName {
  return activationName(config.string('hidden_act', config.string('hidden_activation', fallback)));
}

/** A gated network under the usual keys and names. */
export function feedForwardSpec(config: Config, more: Partial<FeedForwardSpec> = {}): FeedForwardSpec {
  return {
    type: 'feedForward',
    size: config.number('hidden_size'),
    intermediate: config.number('intermediate_size'),
    activation: hiddenActivation(config),
    bias: config.boolean('mlp_bias', false),
    ...more,
  };
}

type Named = readonly [name: string, mixer: MixerSpec];

/** `x += token(norm(x)); x += channel(norm(x))` */
export function preNormLayer(
  name: string,
  [tokenNorm, channelNorm]: readonly [NormSpec, NormSpec?],
  token: Named,
  channel?: Named,
): LayerSpec {
  return {
    name,
    token: { name: token[0], mixer: token[1], preNorm: tokenNorm },
    channel: channel && { name: channel[0], mixer: channel[1], preNorm: channelNorm },
  };
}

/** Layers between `model.embed_tokens` and `model.norm`, with `lm_head` or tied. */
export function decoder(
  config: Config,
  layers: readonly LayerSpec[],
  more: Partial<ModelSpec> = {},
): ModelSpec {
  const size = config.number('hidden_size');
  return {
    vocabSize: config.number('vocab_size'),
    size,
    embedding: { name: 'model.embed_tokens' },
    layers,
    norm: rms('model.norm', size, config.number('rms_norm_eps', 1e-6)),
    head: config.boolean('tie_word_embeddings', false) ? {} : { name: 'lm_head' },
    ignored: [
      /rotary_emb\.inv_freq$/,
      ...(config.boolean('tie_word_embeddings', false) ? [/^lm_head\./] : []),
    ],
    ...more,
  };
}

/** A decoder of layers with `self_attn`, `mlp` and their usual norms. */
export function transformer(
  config: Config,
  token: (layer: number) => MixerSpec,
  channel: (layer: number) => MixerSpec,
  names: { token?: string; channel?: string } = {},
): ModelSpec {
  const [size, eps] = [config.number('hidden_size'), config.number('rms_norm_eps', 1e-6)];
  const norms = [rms('input_layernorm', size, eps), rms('post_attention_layernorm', size, eps)] as const;
  const layers = range(config.number('num_hidden_layers')).map((i) =>
    preNormLayer(
      `model.layers.${i}`,
      norms,
      [names.token ?? 'self_attn', token(i)],
      [names.channel ?? 'mlp', channel(i)],
    ),
  );
  return decoder(config, layers);
}
