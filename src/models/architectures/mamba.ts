import type { Config } from '../config';
import type { MixerSpec } from '../mixers';
import type { MambaSpec } from '../mixers/mamba';
import type { ModelSpec } from '../spec';
import { type Architecture, decoder, hiddenActivation, preNormLayer, range, rms } from './common';
import { flaDecoder, hybridAttention } from './fla';

/** `auto` is a sixteenth of the size. */
export function rankOf(config: Config, key: string): number {
  const auto = !config.has(key) || config.is(key, 'auto');
  return auto ? Math.ceil(config.number('hidden_size') / 16) : config.number(key);
}

function mambaSpec(config: Config, norm?: MambaSpec['norm']): MambaSpec {
  const size = config.number('hidden_size');
  return {
    type: 'mamba',
    size,
    intermediate: config.optional('intermediate_size') ?? Math.floor(config.number('expand', 2) * size),
    stateSize: config.number('state_size', 16),
    rank: rankOf(config, 'time_step_rank'),
    convolution: { width: config.number('conv_kernel', 4), bias: config.boolean('use_conv_bias', true) },
    bias: config.boolean('use_bias', false),
    norm,
  };
}

/** Mixers alone, below `backbone`. */
export function backbone(config: Config, mixer: MixerSpec, tied: boolean): ModelSpec {
  const [size, eps] = [config.number('hidden_size'), config.number('layer_norm_epsilon', 1e-5)];
  const layers = range(config.number('num_hidden_layers')).map((i) => ({
    name: `backbone.layers.${i}`,
    token: { name: 'mixer', mixer, preNorm: rms('norm', size, eps) },
  }));
  return decoder(config, layers, {
    embedding: { name: 'backbone.embeddings' },
    norm: rms('backbone.norm_f', size, eps),
    ...(config.boolean('tie_word_embeddings', tied)
      ? { head: {}, ignored: [/^lm_head\./] }
      : { head: { name: 'lm_head' } }),
  });
}

export const mamba: Architecture = (config) => backbone(config, mambaSpec(config), true);

export const falconMamba: Architecture = (config) =>
  backbone(config, mambaSpec(config, { eps: config.number('mixer_rms_eps', 1e-6), weights: false }), true);

/** Samba: Mamba and attention with a window by turns, a gated network after each. */
export const samba: Architecture = (config) => {
  const [size, eps] = [config.number('hidden_size'), config.number('norm_eps', 1e-5)];
  const wide = Math.floor((size * config.number('hidden_ratio', 4) * 2) / 3);
  const feedForward = {
    type: 'feedForward' as const,
    size,
    intermediate: 256 * Math.ceil(wide / 256),
    activation: hiddenActivation(config, 'swish'),
  };
  const layers = range(config.number('num_hidden_layers')).map((i) =>
    preNormLayer(
      `model.layers.${i}`,
      [rms('mixer_norm', size, eps), rms('mlp_norm', size, eps)],
      ['mixer', hybridAttention(config, i) ?? mambaSpec(config)],
      ['mlp', feedForward],
    ),
  );
  return flaDecoder(config, layers, rms('model.norm_f', size, eps));
};
