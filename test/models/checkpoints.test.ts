import { testCheckpoint } from './harness';

for (const name of ['llama', 'mistral', 'gemma2', 'mixtral', 'qwen3_moe']) testCheckpoint(name);
