import {
  type Architecture,
  attentionSpec,
  decoder,
  feedForwardSpec,
  hiddenActivation,
  perLayer,
  rms,
} from './common';

/** Gemma 2: norms on both sides of each mixer, caps on scores and logits, every other layer with a window. */
export const gemma2: Architecture = (config) => {
  const [size, eps] = [config.number('hidden_size'), config.number('rms_norm_eps', 1e-6)];
  const norm = (name: string) => rms(name, size, eps, 1);
  const types = perLayer(config, 'layer_types', (i) =>
    i % 2 === 0 ? 'sliding_attention' : 'full_attention',
  );
  const layers = types.map((type, i) => ({
    name: `model.layers.${i}`,
    token: {
      name: 'self_attn',
      mixer: attentionSpec(config, {
        scale: config.number('query_pre_attn_scalar', 256) ** -0.5,
        softcap: config.optional('attn_logit_softcapping'),
        window: type === 'sliding_attention' ? config.number('sliding_window', 4096) : undefined,
      }),
      preNorm: norm('input_layernorm'),
      postNorm: norm('post_attention_layernorm'),
    },
    channel: {
      name: 'mlp',
      mixer: feedForwardSpec(config, { activation: hiddenActivation(config, 'gelu_pytorch_tanh') }),
      preNorm: norm('pre_feedforward_layernorm'),
      postNorm: norm('post_feedforward_layernorm'),
    },
  }));
  const tied = config.boolean('tie_word_embeddings', true);
  return decoder(config, layers, {
    embedding: { name: 'model.embed_tokens', scale: Math.sqrt(size) },
    norm: norm('model.norm'),
    head: { name: tied ? undefined : 'lm_head', softcap: config.optional('final_logit_softcapping') },
    ignored: [/rotary_emb\.inv_freq$/, ...(tied ? [/^lm_head\./] : [])],
  });
};
