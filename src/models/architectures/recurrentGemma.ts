import { ropeSpec } from '../rope';
import type { LayerSpec } from '../spec';
import {
  type Architecture,
  attentionSpec,
  decoder,
  feedForwardSpec,
  hiddenActivation,
  range,
  rms,
} from './common';

/** The nearest number with 8 significant bits. */
function bfloat16(x: number): number {
  const bits = new Uint32Array(Float32Array.of(x).buffer);
  bits[0] = (bits[0] + 0x7fff + ((bits[0] >>> 16) & 1)) & 0xffff0000;
  return new Float32Array(bits.buffer)[0];
}

/** RecurrentGemma (Griffin): two layers of linear recurrence, one of attention with a window. */
export const recurrentGemma: Architecture = (config) => {
  const [size, eps] = [config.number('hidden_size'), config.number('rms_norm_eps', 1e-6)];
  const heads = config.number('num_attention_heads');
  const norm = (name: string) => rms(name, size, eps, 1);
  const activation = hiddenActivation(config, 'gelu_pytorch_tanh');
  const types = config.list<string>('block_types', ['recurrent', 'recurrent', 'attention']);
  const layers = range(config.number('num_hidden_layers')).map(
    (i): LayerSpec => ({
      name: `model.layers.${i}`,
      token: {
        name: 'temporal_block',
        preNorm: norm('temporal_pre_norm'),
        mixer:
          types[i % types.length] === 'attention'
            ? attentionSpec(config, {
                rope: ropeSpec(config, size / heads, { partial: 0.5 }),
                window: config.optional('attention_window_size') ?? config.number('sliding_window', 2048),
                bias: { qkv: config.boolean('attention_bias', false), output: true },
              })
            : {
                type: 'rgLru',
                size,
                width: config.number('lru_width', size),
                heads,
                convolution: { width: config.number('conv1d_width', 4) },
                activation,
              },
      },
      channel: {
        name: 'mlp_block',
        preNorm: norm('channel_pre_norm'),
        mixer: feedForwardSpec(config, {
          intermediate: config.number('intermediate_size') / 2,
          activation,
          bias: true,
        }),
      },
    }),
  );
  const tied = config.boolean('tie_word_embeddings', true);
  return decoder(config, layers, {
    embedding: { name: 'model.embed_tokens', scale: bfloat16(Math.sqrt(size)) },
    norm: norm('model.final_norm'),
    head: { name: tied ? undefined : 'lm_head', softcap: config.number('logits_soft_cap', 30) },
    ignored: tied ? [/^lm_head\./] : [],
  });
};
