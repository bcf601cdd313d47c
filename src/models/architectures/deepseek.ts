import type { MoeSpec } from '../channels/moe';
import type { Config } from '../config';
import type { LatentSpec } from '../mixers/latent';
import { ropeSpec, yarnScoreScale } from '../rope';
import type { ModelSpec } from '../spec';
import { type Architecture, feedForwardSpec, transformer } from './common';

function latentSpec(config: Config, isSparse: boolean): LatentSpec {
  const [nopeDim, ropeDim] = [config.number('qk_nope_head_dim', 128), config.number('qk_rope_head_dim', 64)];
  const rope = ropeSpec(config, ropeDim);
  return {
    type: 'latent',
    size: config.number('hidden_size'),
    heads: config.number('num_attention_heads'),
    nopeDim,
    ropeDim,
    valueDim: config.number('v_head_dim', 128),
    kvRank: config.number('kv_lora_rank', 512),
    qRank: config.optional('q_lora_rank'),
    rope: { ...rope, interleaved: config.boolean('rope_interleave', true) },
    scale: (nopeDim + ropeDim) ** -0.5 * yarnScoreScale(config),
    eps: 1e-6,
    bias: config.boolean('attention_bias', false),
    indexer: isSparse
      ? {
          heads: config.number('index_n_heads', 64),
          headDim: config.number('index_head_dim', 128),
          topk: config.number('index_topk', 2048),
          rope,
        }
      : undefined,
  };
}

function expertSpec(config: Config): MoeSpec {
  const intermediate = config.number('moe_intermediate_size');
  return {
    type: 'moe',
    size: config.number('hidden_size'),
    intermediate,
    experts: config.optional('n_routed_experts') ?? config.number('num_local_experts'),
    routing: {
      topK: config.number('num_experts_per_tok'),
      scoring: 'sigmoid',
      normTopkProb: config.boolean('norm_topk_prob', true),
      numGroups: config.number('n_group', 1),
      topkGroups: config.number('topk_group', 1),
      routedScalingFactor: config.number('routed_scaling_factor', 1),
    },
    router: { name: 'gate', correctionBias: 'gate.e_score_correction_bias' },
    shared: { name: 'shared_experts', intermediate: intermediate * config.number('n_shared_experts', 1) },
  };
}

/** DeepSeek-V3: latent attention; experts after the first dense layers. Its layers that predict more tokens stay unread. */
const deepseek = (config: Config, isSparse: boolean): ModelSpec => {
  const dense = config.number('first_k_dense_replace', 3);
  const layers = config.number('num_hidden_layers');
  const spec = transformer(
    config,
    () => latentSpec(config, isSparse),
    (i) => (i < dense ? feedForwardSpec(config) : expertSpec(config)),
  );
  const further = Array.from(
    { length: config.number('num_nextn_predict_layers', 0) },
    (_, i) => new RegExp(`^model\\.layers\\.${layers + i}\\.`),
  );
  return { ...spec, ignored: [...(spec.ignored ?? []), ...further] };
};

export const deepseekV3: Architecture = (config) => deepseek(config, false);

/** DeepSeek-V3.2: an indexer chooses the tokens each query sees. */
export const deepseekV32: Architecture = (config) => deepseek(config, true);
