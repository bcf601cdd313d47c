import { add } from '@tensorflow/tfjs-core';
import { rmsNorm } from '../../src/ops';
import type { Architecture } from './harness';
import { embed, gatedMlp, linear, selfAttention } from './layers';

export interface LlamaConfig {
  num_hidden_layers: number;
  head_dim: number;
  rms_norm_eps: number;
  rope_parameters: { rope_theta: number };
  sliding_window?: number | null;
}

/** Llama, and Mistral, which is Llama with a window. */
export const llama: Architecture<LlamaConfig> = (weights, config) => (ids, cache) => {
  const norm = (name: string, x: Parameters<typeof rmsNorm>[0]) =>
    rmsNorm(x, weights[`${name}.weight`], { eps: config.rms_norm_eps });
  let x = embed(weights, 'model.embed_tokens', ids);
  for (let i = 0; i < config.num_hidden_layers; i++) {
    const layer = `model.layers.${i}`;
    const mixed = selfAttention(weights, `${layer}.self_attn`, norm(`${layer}.input_layernorm`, x), cache, {
      headDim: config.head_dim,
      rope: { theta: config.rope_parameters.rope_theta },
      window: config.sliding_window ?? undefined,
    });
    x = add(x, mixed);
    x = add(x, gatedMlp(weights, `${layer}.mlp`, norm(`${layer}.post_attention_layernorm`, x)));
  }
  return linear(weights, 'lm_head', norm('model.norm', x));
};
