import { testCheckpoint } from './harness';

for (const name of [
  'llama',
  'mistral',
  'gemma2',
  'mixtral',
  'qwen3_moe',
  'deepseek_v3',
  'fla_rwkv7',
  'fla_delta_net',
  'fla_gated_deltanet',
  'qwen3_next',
  'mamba',
  'mamba2',
  'bamba',
  'minimax',
  'fla_gla',
  'fla_retnet',
  'rwkv',
])
  testCheckpoint(name);
