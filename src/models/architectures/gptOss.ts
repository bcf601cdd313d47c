import { type Architecture, attentionSpec, perLayer, transformer } from './common';

/** GPT-OSS: a sink per head, every other layer with a window, clamped experts stored `[in, out]` with biases. */
export const gptOss: Architecture = (config) => {
  const types = perLayer(config, 'layer_types', (i) =>
    i % 2 === 0 ? 'sliding_attention' : 'full_attention',
  );
  const bias = config.boolean('attention_bias', true);
  return transformer(
    config,
    (i) =>
      attentionSpec(config, {
        sinks: true,
        bias: { qkv: bias, output: bias },
        window: types[i] === 'sliding_attention' ? config.number('sliding_window', 128) : undefined,
      }),
    () => ({
      type: 'moe',
      size: config.number('hidden_size'),
      intermediate: config.number('intermediate_size'),
      experts: config.number('num_local_experts'),
      routing: { topK: config.number('num_experts_per_tok'), softmaxAfterTopK: true },
      activation: 'swigluOss',
      router: { name: 'router', bias: true },
      packed: true,
    }),
  );
};
