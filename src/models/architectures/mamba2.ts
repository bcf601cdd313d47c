import type { Config } from '../config';
import type { Mamba2Spec } from '../mixers/mamba2';
import type { LayerSpec } from '../spec';
import {
  type Architecture,
  attentionSpec,
  decoder,
  feedForwardSpec,
  preNormLayer,
  range,
  rms,
} from './common';
import { backbone } from './mamba';

function limits(config: Config, key: string): readonly [number, number] {
  if (!config.has(key)) return [0, Number.POSITIVE_INFINITY];
  const [low, high] = config.list<number | string>(key).map(Number);
  return [low, high];
}

export const mamba2: Architecture = (config) => {
  const [size, eps] = [config.number('hidden_size'), config.number('layer_norm_epsilon', 1e-5)];
  const heads = config.number('num_heads', 128);
  const headDim = config.number('head_dim', 64);
  const bias = config.boolean('use_bias', false);
  const mixer: Mamba2Spec = {
    type: 'mamba2',
    size,
    heads,
    headDim,
    groups: config.number('n_groups', 8),
    stateSize: config.number('state_size', 128),
    convolution: { width: config.number('conv_kernel', 4), bias: config.boolean('use_conv_bias', true) },
    bias: { into: bias, out: bias },
    stepLimits: limits(config, 'time_step_limit'),
    norm: { eps, groupSize: heads * headDim, beforeGate: false },
  };
  return backbone(config, mixer, false);
};

/** The mixer under the keys of hybrids. */
function hybridSpec(config: Config, inner: number, more: Partial<Mamba2Spec>): Mamba2Spec {
  const heads = config.number('mamba_n_heads', 128);
  const bias = config.boolean('mamba_proj_bias', false);
  return {
    type: 'mamba2',
    size: config.number('hidden_size'),
    heads,
    headDim: inner / heads,
    groups: config.number('mamba_n_groups', 1),
    stateSize: config.number('mamba_d_state', 256),
    convolution: { width: config.number('mamba_d_conv', 4), bias: config.boolean('mamba_conv_bias', true) },
    bias: { into: bias, out: bias },
    stepLimits: limits(config, 'time_step_limit'),
    ...more,
  };
}

/** Bamba: Mamba-2, some layers of attention, a feed-forward network after each. */
export const bamba: Architecture = (config) => {
  const [size, eps] = [config.number('hidden_size'), config.number('rms_norm_eps', 1e-5)];
  const inner = config.number('mamba_expand', 2) * size;
  const attending = config.list<number>('attn_layer_indices', []);
  const norms = [rms('input_layernorm', size, eps), rms('pre_ff_layernorm', size, eps)] as const;
  const mixer = hybridSpec(config, inner, { norm: { eps, groupSize: inner, beforeGate: false } });
  const layers = range(config.number('num_hidden_layers')).map((i) =>
    preNormLayer(
      `model.layers.${i}`,
      norms,
      attending.includes(i) ? ['self_attn', attentionSpec(config)] : ['mamba', mixer],
      ['feed_forward', feedForwardSpec(config)],
    ),
  );
  return decoder(config, layers, { norm: rms('model.final_layernorm', size, eps) });
};

/** Falcon-H1: attention and Mamba-2 side by side in every layer, all of it scaled by constants of the config. */
export const falconH1: Architecture = (config) => {
  const [size, eps] = [config.number('hidden_size'), config.number('rms_norm_eps', 1e-5)];
  const inner = config.optional('mamba_d_ssm') ?? config.number('mamba_expand', 2) * size;
  const groups = config.number('mamba_n_groups', 1);
  const scale = (key: string) => config.number(key, 1);
  const [gateScale, downScale] = config.list<number>('mlp_multipliers', [1, 1]);
  const mamba = hybridSpec(config, inner, {
    bias: {
      into: config.boolean('mamba_proj_bias', false),
      out: config.boolean('projectors_bias', false),
    },
    multipliers: {
      input: scale('ssm_in_multiplier'),
      parts: config.list<number>('ssm_multipliers', [1, 1, 1, 1, 1]),
    },
    norm: config.boolean('mamba_rms_norm', false)
      ? { eps, groupSize: inner / groups, beforeGate: config.boolean('mamba_norm_before_gate', true) }
      : undefined,
  });
  const layers = range(config.number('num_hidden_layers')).map(
    (i): LayerSpec => ({
      name: `model.layers.${i}`,
      token: {
        name: '',
        preNorm: rms('input_layernorm', size, eps),
        mixer: {
          type: 'parallel',
          branches: [
            { name: 'mamba', mixer: mamba, outputScale: scale('ssm_out_multiplier') },
            {
              name: 'self_attn',
              mixer: attentionSpec(config, { keyScale: scale('key_multiplier') }),
              inputScale: scale('attention_in_multiplier'),
              outputScale: scale('attention_out_multiplier'),
            },
          ],
        },
      },
      channel: {
        name: 'feed_forward',
        preNorm: rms('pre_ff_layernorm', size, eps),
        mixer: feedForwardSpec(config, { gateScale }),
        outputScale: downScale,
      },
    }),
  );
  const tied = config.boolean('tie_word_embeddings', false);
  return decoder(config, layers, {
    embedding: { name: 'model.embed_tokens', scale: scale('embedding_multiplier') },
    norm: rms('model.final_layernorm', size, eps),
    head: { name: tied ? undefined : 'lm_head', scale: scale('lm_head_multiplier') },
  });
};
