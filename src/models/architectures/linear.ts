import { type ActivationName, activationName } from '../../nn/layers/activation';
import { ropeFrequencies } from '../../nn/ropeFrequencies';
import type { Config } from '../config';
import type { GatedNormSpec } from '../mixers/output';
import { type Architecture, hiddenActivation } from './common';
import { flaModel } from './fla';

function sizesOf(config: Config, expandK: number, expandV: number) {
  const [size, heads] = [config.number('hidden_size'), config.number('num_heads')];
  return {
    size,
    heads,
    kvHeads: config.number('num_kv_heads', heads),
    keyDim: Math.floor(size * config.number('expand_k', expandK)) / heads,
    valueDim: Math.floor(size * config.number('expand_v', expandV)) / heads,
  };
}

const convolutionOf = (config: Config) =>
  config.boolean('use_short_conv', false) ? { width: config.number('conv_size', 4) } : undefined;

const featureOf = (config: Config): ActivationName | undefined =>
  config.has('feature_map') ? activationName(config.string('feature_map')) : undefined;

/** The norm has the name of its gate where flash-linear-attention computes both at once. */
function outputOf(config: Config): GatedNormSpec {
  const gated = config.boolean('use_output_gate', true);
  const gate = hiddenActivation(config, 'swish');
  const fused = gated && gate === 'swish' && config.boolean('fuse_norm', true);
  return {
    norm: fused ? 'g_norm_swish_gate' : 'g_norm',
    eps: config.number('norm_eps', 1e-6),
    gate: gated ? gate : undefined,
  };
}

export const glaNet: Architecture = (config) =>
  flaModel(config, () => ({
    type: 'gla',
    ...sizesOf(config, 0.5, 1),
    rank: 16,
    normalizer: 16,
    clampMin: config.optional('clamp_min'),
    activation: featureOf(config),
    convolution: convolutionOf(config),
    output: outputOf(config),
  }));

export const retNet: Architecture = (config) =>
  flaModel(config, () => {
    const sizes = sizesOf(config, 1, 2);
    return {
      type: 'retention',
      ...sizes,
      rope: ropeFrequencies(sizes.keyDim),
      activation: featureOf(config),
      convolution: convolutionOf(config),
      output: outputOf(config),
    };
  });

export const hgrn2Net: Architecture = (config) =>
  flaModel(config, (layer) => {
    const size = config.number('hidden_size');
    const keyDim = config.optional('expand_ratio') ?? size / config.number('num_heads', size / 128);
    const layers = config.number('num_hidden_layers');
    const bounded = config.boolean('use_lower_bound', true);
    return {
      type: 'hgrn2',
      size,
      heads: size / keyDim,
      keyDim,
      bound: bounded ? { layer, layers, name: 'model.lower_bounds' } : undefined,
      convolution: convolutionOf(config),
      eps: config.number('norm_eps', 1e-6),
    };
  });

export const gsaNet: Architecture = (config) =>
  flaModel(config, () => {
    const sizes = sizesOf(config, 1, 1);
    return {
      type: 'gsa',
      ...sizes,
      slots: config.number('num_slots', sizes.keyDim),
      normalizer: config.number('gate_logit_normalizer', 8),
      activation: activationName(config.string('feature_map', 'swish')),
      convolution: convolutionOf(config),
      eps: config.number('norm_eps', 1e-6),
    };
  });

export const nsaNet: Architecture = (config) =>
  flaModel(config, () => {
    const headDim = config.number('head_dim', 32);
    return {
      type: 'nsa',
      size: config.number('hidden_size'),
      heads: config.number('num_heads', 64),
      kvHeads: config.number('num_kv_heads', 4),
      headDim,
      rope: ropeFrequencies(headDim, { theta: config.number('rope_theta', 10000) }),
      blockSize: config.number('block_size', 64),
      blockCounts: config.number('block_counts', 16),
      windowSize: config.number('window_size', 512),
      bias: config.boolean('qkv_bias', false),
    };
  });
