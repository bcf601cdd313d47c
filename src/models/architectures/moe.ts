import type { MoeSpec } from '../channels/moe';
import type { Config } from '../config';
import { type Architecture, attentionSpec, feedForwardSpec, transformer } from './common';

/** Experts under the usual keys, of which the best are weighted by a softmax over all. */
function experts(config: Config, count: number, more: Partial<MoeSpec> = {}): MoeSpec {
  return {
    type: 'moe',
    size: config.number('hidden_size'),
    intermediate: config.number('moe_intermediate_size', config.number('intermediate_size')),
    experts: count,
    routing: {
      topK: config.number('num_experts_per_tok'),
      normTopkProb: config.boolean('norm_topk_prob', false),
    },
    ...more,
  };
}

export const mixtralExperts = (config: Config): MoeSpec => ({
  type: 'moe',
  size: config.number('hidden_size'),
  intermediate: config.number('intermediate_size'),
  experts: config.number('num_local_experts', 8),
  routing: { topK: config.number('num_experts_per_tok', 2), normTopkProb: true },
  names: { experts: 'experts', projections: ['w1', 'w3', 'w2'] },
});

export const mixtral: Architecture = (config) =>
  transformer(
    config,
    () => attentionSpec(config, { window: config.optional('sliding_window') }),
    () => mixtralExperts(config),
    { channel: 'block_sparse_moe' },
  );

/** Whether a layer of Qwen's models has experts. */
export function isSparse(config: Config, layer: number): boolean {
  const dense = config.list<number>('mlp_only_layers', []);
  return !dense.includes(layer) && (layer + 1) % config.number('decoder_sparse_step', 1) === 0;
}

const expertCount = (config: Config) => config.optional('num_experts') ?? config.number('num_local_experts');

export const qwen3Moe: Architecture = (config) =>
  transformer(
    config,
    () =>
      attentionSpec(config, {
        window: config.boolean('use_sliding_window', false) ? config.optional('sliding_window') : undefined,
        norm: { eps: config.number('rms_norm_eps', 1e-6), over: 'head' },
      }),
    (i) => (isSparse(config, i) ? experts(config, expertCount(config)) : feedForwardSpec(config)),
  );

/** Experts of Qwen3-Next: one more for all tokens, behind a gate. */
export const qwen3NextExperts = (config: Config): MoeSpec =>
  experts(config, expertCount(config), {
    shared: {
      name: 'shared_expert',
      intermediate: config.number('shared_expert_intermediate_size'),
      gate: 'shared_expert_gate',
    },
  });

export const olmoe: Architecture = (config) =>
  transformer(
    config,
    () =>
      attentionSpec(config, {
        norm: { eps: config.number('rms_norm_eps', 1e-5), over: 'heads' },
        clip: config.optional('clip_qkv'),
      }),
    () => experts(config, expertCount(config)),
  );
