import type { Config } from '../config';
import type { MixerSpec } from '../mixers';
import type { BranchSpec, LayerSpec } from '../spec';
import { type Architecture, decoder, feedForwardSpec, range, rms } from './common';

/** Whether each layer is full attention: by `layer_types`, the numbers from 1 of the published config, or a rule. */
function fullLayers(config: Config, linear: Config | undefined, layers: number): boolean[] {
  if (config.has('layer_types')) {
    return config.list<string>('layer_types').map((type) => type === 'full_attention');
  }
  const full = linear?.has('full_attn_layers') ? linear.list<number>('full_attn_layers') : undefined;
  return range(layers).map((i) => (full === undefined ? i > 0 && i % 4 === 0 : full.includes(i + 1)));
}

/** Kimi-Linear: Kimi delta attention, latent attention without positions, experts after the first layers. */
export const kimiLinear: Architecture = (config) => {
  const [size, eps] = [config.number('hidden_size'), config.number('rms_norm_eps', 1e-5)];
  const linear = config.object('linear_attn_config');
  const of = (key: string, ours: string, fallback: number) =>
    linear?.optional(key) ?? config.number(ours, fallback);
  const heads = of('num_heads', 'linear_num_heads', 32);
  const headDim = of('head_dim', 'linear_head_dim', 128);
  const width = of('short_conv_kernel_size', 'linear_conv_kernel_dim', 4);
  const either = (a: string, b: string, fallback?: number) =>
    config.optional(a) ?? config.number(b, fallback);

  const delta: MixerSpec = {
    type: 'kda',
    size,
    keyHeads: heads,
    valueHeads: heads,
    keyDim: headDim,
    valueDim: headDim,
    convolution: { width, together: 'conv1d' },
    gateBias: false,
    eps,
    names: {
      decay: ['f_a_proj', 'f_b_proj'],
      gate: ['g_a_proj', 'g_b_proj'],
      aLogShape: [1, 1, heads, 1],
    },
  };
  const latent: MixerSpec = {
    type: 'latent',
    size,
    heads: config.number('num_attention_heads'),
    nopeDim: config.number('qk_nope_head_dim', 128),
    ropeDim: config.number('qk_rope_head_dim', 64),
    valueDim: config.number('v_head_dim', 128),
    kvRank: config.number('kv_lora_rank', 512),
    qRank: config.optional('q_lora_rank'),
    eps: 1e-6,
    bias: config.boolean('attention_bias', false),
  };
  const intermediate = config.number('moe_intermediate_size', 1024);
  const experts: MixerSpec = {
    type: 'moe',
    size,
    intermediate,
    experts: either('num_experts', 'num_local_experts', 256),
    routing: {
      topK: either('num_experts_per_token', 'num_experts_per_tok', 8),
      scoring: 'sigmoid',
      normTopkProb: config.boolean('moe_renormalize', config.boolean('norm_topk_prob', true)),
      numGroups: either('num_expert_group', 'n_group', 1),
      topkGroups: config.number('topk_group', 1),
      routedScalingFactor: config.number('routed_scaling_factor', 1),
    },
    router: { name: 'gate', correctionBias: 'gate.e_score_correction_bias' },
    names: { experts: 'experts', projections: ['w1', 'w3', 'w2'] },
    shared: {
      name: 'shared_experts',
      intermediate: intermediate * either('num_shared_experts', 'n_shared_experts', 1),
    },
  };
  const layerCount = config.number('num_hidden_layers');
  const full = fullLayers(config, linear, layerCount);
  const dense = config.number('first_k_dense_replace', 1);
  const isDense = (i: number) =>
    config.has('mlp_layer_types') ? config.list<string>('mlp_layer_types')[i] === 'dense' : i < dense;
  const layers = range(layerCount).map((i): LayerSpec => {
    const preNorm = rms('post_attention_layernorm', size, eps);
    const channel: BranchSpec = isDense(i)
      ? { name: 'mlp', preNorm, mixer: feedForwardSpec(config) }
      : { name: 'block_sparse_moe', preNorm, mixer: experts };
    return {
      name: `model.layers.${i}`,
      token: {
        name: 'self_attn',
        preNorm: rms('input_layernorm', size, eps),
        mixer: full[i] ? latent : delta,
      },
      channel,
    };
  });
  return decoder(config, layers, { norm: rms('model.norm', size, eps) });
};
