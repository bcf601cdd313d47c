import { add, mul, type Tensor, tanh } from '@tensorflow/tfjs-core';
import { rmsNorm } from '../../src/ops';
import type { Architecture } from './harness';
import { embed, gatedMlp, geluTanh, linear, selfAttention } from './layers';

interface Gemma2Config {
  hidden_size: number;
  head_dim: number;
  rms_norm_eps: number;
  rope_parameters: { rope_theta: number };
  query_pre_attn_scalar: number;
  sliding_window: number;
  layer_types: ('sliding_attention' | 'full_attention')[];
  attn_logit_softcapping: number;
  final_logit_softcapping: number;
}

export const gemma2: Architecture<Gemma2Config> = (weights, config) => (ids, cache) => {
  const norm = (name: string, x: Tensor) =>
    rmsNorm(x, weights[`${name}.weight`], { eps: config.rms_norm_eps, weightOffset: 1 });
  let x: Tensor = mul(embed(weights, 'model.embed_tokens', ids), Math.sqrt(config.hidden_size));
  config.layer_types.forEach((type, i) => {
    const layer = `model.layers.${i}`;
    const mixed = selfAttention(weights, `${layer}.self_attn`, norm(`${layer}.input_layernorm`, x), cache, {
      headDim: config.head_dim,
      rope: { theta: config.rope_parameters.rope_theta },
      scale: config.query_pre_attn_scalar ** -0.5,
      softcap: config.attn_logit_softcapping,
      window: type === 'sliding_attention' ? config.sliding_window : undefined,
    });
    x = add(x, norm(`${layer}.post_attention_layernorm`, mixed));
    const fed = gatedMlp(weights, `${layer}.mlp`, norm(`${layer}.pre_feedforward_layernorm`, x), geluTanh);
    x = add(x, norm(`${layer}.post_feedforward_layernorm`, fed));
  });
  const tied = { 'lm_head.weight': weights['model.embed_tokens.weight'] };
  const cap = config.final_logit_softcapping;
  return mul(cap, tanh(mul(linear(tied, 'lm_head', norm('model.norm', x)), 1 / cap)));
};
