import { tensor, tidy } from '@tensorflow/tfjs-core';
import type { Model } from '../../src/models';
import { randomModel } from './randomModel';

const sizes = {
  vocab_size: 16,
  hidden_size: 384,
  intermediate_size: 16,
  num_hidden_layers: 12,
  hidden_ratio: 1,
};
const heads = { num_attention_heads: 6, num_key_value_heads: 6, head_dim: 64 };
const fla = { ...sizes, num_heads: 6 };
const deepseek = {
  ...sizes,
  ...heads,
  ...{ kv_lora_rank: 64, q_lora_rank: 96, qk_nope_head_dim: 64, qk_rope_head_dim: 16, v_head_dim: 64 },
  ...{ first_k_dense_replace: 12, moe_intermediate_size: 16, n_routed_experts: 4, num_experts_per_tok: 2 },
};
const delta = { ...fla, model_type: 'gated_deltanet', head_dim: 64, expand_v: 1 };

/** Models of 12 layers of 384 channels and, where they have heads, 6 of 64: what differs is what they remember. */
export const remembering: Readonly<Record<string, object>> = {
  'Llama, a key head per head': { ...sizes, ...heads, model_type: 'llama' },
  'Llama, 2 key heads': { ...sizes, ...heads, model_type: 'llama', num_key_value_heads: 2 },
  'Mistral, 2 key heads, window 128': {
    ...sizes,
    ...heads,
    model_type: 'mistral',
    num_key_value_heads: 2,
    sliding_window: 128,
  },
  'DeepSeek-V3, latent of 64 and 16': { ...deepseek, model_type: 'deepseek_v3' },
  'DeepSeek-V3.2, the same and index keys of 32': {
    ...deepseek,
    ...{ model_type: 'deepseek_v32', index_n_heads: 2, index_head_dim: 32, index_topk: 64 },
  },
  'NSA, 2 key heads, blocks of 64': {
    ...fla,
    ...{ model_type: 'nsa', num_kv_heads: 2, head_dim: 64, block_counts: 4, window_size: 64 },
  },
  'Gated DeltaNet, attention in 3 layers': {
    ...delta,
    attn: { layers: [3, 7, 11], num_heads: 6, num_kv_heads: 2 },
  },
  'Gated DeltaNet': delta,
  'Mamba-2, states of 64': {
    ...sizes,
    ...{ model_type: 'mamba2', num_heads: 12, head_dim: 64, state_size: 64, n_groups: 1 },
  },
  RetNet: { ...fla, model_type: 'retnet' },
  'RWKV-7': { ...fla, model_type: 'rwkv7', head_dim: 64 },
};

const CHUNK = 64;

/** Bytes of a cache after so many tokens, with room for no more. */
function cacheBytes(model: Model, count: number): number {
  const cache = model.createCache({ capacity: count });
  const ids = tensor(new Int32Array(CHUNK), [1, CHUNK], 'int32');
  while (cache.position < count) tidy(() => model.forward(ids, { cache, last: true }));
  const { bytes } = cache;
  cache.dispose();
  ids.dispose();
  return bytes;
}

/** What a model remembers: bytes that every token adds after the first 512, and those that are there anyway. */
export function memoryOf(config: object): { perToken: number; constant: number } {
  const model = randomModel(config);
  const [before, after] = [512, 512 + CHUNK].map((count) => cacheBytes(model, count));
  model.dispose();
  const perToken = (after - before) / CHUNK;
  return { perToken, constant: before - 512 * perToken };
}
