import type { Config } from '../config';
import type { GatedDeltaSpec } from '../mixers/gatedDelta';
import type { BranchSpec, LayerSpec } from '../spec';
import { type Architecture, attentionSpec, decoder, feedForwardSpec, perLayer, rms } from './common';
import { flaModel } from './fla';
import { isSparse, qwen3NextExperts } from './moe';

const SEPARATE = ['q_conv1d', 'k_conv1d', 'v_conv1d'];

const flaConvolution = (config: Config) =>
  config.boolean('use_short_conv', true) ? { width: config.number('conv_size', 4) } : undefined;

export const deltaNet: Architecture = (config) =>
  flaModel(config, () => {
    const [size, heads] = [config.number('hidden_size'), config.number('num_heads')];
    const choice = <T extends string>(key: string, fallback: T) => config.string(key, fallback) as T;
    return {
      type: 'delta',
      size,
      heads,
      keyDim: Math.floor(size * config.number('expand_k', 1)) / heads,
      valueDim: Math.floor(size * config.number('expand_v', 1)) / heads,
      convolution: flaConvolution(config),
      activation: choice<'silu' | 'relu' | 'elu' | 'identity'>('qk_activation', 'silu'),
      norm: choice<'l2' | 'sum'>('qk_norm', 'l2'),
      beta: config.boolean('use_beta', true),
      negativeEigenvalues: config.boolean('allow_neg_eigval', false),
      gate: config.boolean('use_gate', false),
      eps: config.number('norm_eps', 1e-6),
    };
  });

export const gatedDeltaNet: Architecture = (config) =>
  flaModel(config, () => {
    const keyHeads = config.number('num_heads');
    const keyDim = config.number('head_dim');
    const conv = flaConvolution(config);
    return {
      type: 'gatedDelta',
      size: config.number('hidden_size'),
      keyHeads,
      valueHeads: config.number('num_v_heads', keyHeads),
      keyDim,
      valueDim: Math.floor(keyDim * config.number('expand_v', 2)),
      convolution: conv && { ...conv, names: SEPARATE },
      negativeEigenvalues: config.boolean('allow_neg_eigval', false),
      output: {
        name: 'o_proj',
        norm: 'o_norm',
        eps: config.number('norm_eps', 1e-6),
        gate: config.boolean('use_gate', true) ? 'silu' : undefined,
      },
    };
  });

export const kdaNet: Architecture = (config) =>
  flaModel(config, () => {
    const [keyHeads, keyDim] = [config.number('num_heads'), config.number('head_dim')];
    const valueHeads = config.number('num_v_heads', keyHeads);
    return {
      type: 'kda',
      size: config.number('hidden_size'),
      keyHeads,
      valueHeads,
      keyDim,
      valueDim: Math.floor(keyDim * config.number('expand_v', 1)),
      convolution: flaConvolution(config),
      negativeEigenvalues: config.boolean('allow_neg_eigval', false),
      lowerBound: config.optional('lower_bound'),
      gateBias: true,
      eps: config.number('norm_eps', 1e-6),
      names: { decay: ['f_proj.0', 'f_proj.1'], gate: ['g_proj.0', 'g_proj.1'], aLogShape: [valueHeads] },
    };
  });

/** The gated delta rule under the keys of transformers. */
function linearSpec(
  config: Config,
  more: Pick<GatedDeltaSpec, 'output' | 'joined' | 'negativeEigenvalues'> & { names: readonly string[] },
) {
  const { names, ...rest } = more;
  const heads = config.number('num_attention_heads');
  const keyHeads = config.number('linear_num_key_heads', heads);
  const usual = Math.floor((0.75 * config.number('hidden_size')) / keyHeads);
  const keyDim = config.number('linear_key_head_dim', usual);
  return {
    type: 'gatedDelta' as const,
    size: config.number('hidden_size'),
    keyHeads,
    valueHeads: config.number('linear_num_value_heads', heads),
    keyDim,
    valueDim: config.number('linear_value_head_dim', 2 * keyDim),
    convolution: {
      width: config.number('linear_conv_kernel_dim', 4),
      names,
      together: names.length > 1 ? 'conv1d' : undefined,
    },
    ...rest,
  };
}

const everyFourth = (i: number) => (i % 4 === 3 ? 'full_attention' : 'linear_attention');

/** Qwen3-Next: three layers of gated delta rule, one of gated attention, experts after each. */
export const qwen3Next: Architecture = (config) => {
  const [size, eps] = [config.number('hidden_size'), config.number('rms_norm_eps', 1e-6)];
  const norm = (name: string) => rms(name, size, eps, 1);
  const token = (type: string): BranchSpec =>
    type === 'linear_attention'
      ? {
          name: 'linear_attn',
          preNorm: norm('input_layernorm'),
          mixer: linearSpec(config, {
            joined: true,
            names: ['conv1d'],
            output: { name: 'out_proj', norm: 'norm', eps, gate: 'silu' },
          }),
        }
      : {
          name: 'self_attn',
          preNorm: norm('input_layernorm'),
          mixer: attentionSpec(config, { gated: true, norm: { eps, weightOffset: 1, over: 'head' } }),
        };
  const layers = perLayer(config, 'layer_types', everyFourth).map(
    (type, i): LayerSpec => ({
      name: `model.layers.${i}`,
      token: token(type),
      channel: {
        name: 'mlp',
        preNorm: norm('post_attention_layernorm'),
        mixer: isSparse(config, i) ? qwen3NextExperts(config) : feedForwardSpec(config),
      },
    }),
  );
  const spec = decoder(config, layers, { norm: norm('model.norm') });
  return { ...spec, ignored: [...(spec.ignored ?? []), /^mtp\./] };
};

/** OLMo-Hybrid: gated delta rule with norms before, and attention with norms after its mixers. */
export const olmoHybrid: Architecture = (config) => {
  const [size, eps] = [config.number('hidden_size'), config.number('rms_norm_eps', 1e-6)];
  const norm = (name: string, ...otherNames: string[]) => ({ ...rms(name, size, eps), otherNames });
  const mlp = feedForwardSpec(config);
  const hasPositions = config.has('rope_parameters') && config.object('rope_parameters')!.has('rope_theta');
  const layers = perLayer(config, 'layer_types', everyFourth).map((type, i): LayerSpec => {
    const name = `model.layers.${i}`;
    if (type === 'linear_attention') {
      const mixer = linearSpec(config, {
        names: SEPARATE,
        negativeEigenvalues: config.boolean('linear_allow_neg_eigval', true),
        output: { name: 'o_proj', norm: 'o_norm', eps: 1e-5, gate: 'silu' },
      });
      return {
        name,
        token: { name: 'linear_attn', preNorm: norm('input_layernorm', 'attention_layer_norm'), mixer },
        channel: {
          name: 'mlp',
          preNorm: norm('post_attention_layernorm', 'feedforward_layer_norm'),
          mixer: mlp,
        },
      };
    }
    const mixer = attentionSpec(config, {
      norm: { eps, over: 'heads' },
      ...(hasPositions ? {} : { rope: undefined }),
    });
    return {
      name,
      token: {
        name: 'self_attn',
        postNorm: norm('post_attention_layernorm', 'feedforward_layer_norm'),
        mixer,
      },
      channel: { name: 'mlp', postNorm: norm('post_feedforward_layernorm'), mixer: mlp },
    };
  });
  return decoder(config, layers);
};
