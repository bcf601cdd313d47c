import type { LayerSpec } from '../spec';
import { type Architecture, attentionSpec, decoder, headDim, perLayer, rms } from './common';
import { mixtralExperts } from './moe';

/** MiniMax: lightning attention, some layers of softmax attention; what goes past a mixer is normed as well, and scaled. */
export const minimax: Architecture = (config) => {
  const [size, eps] = [config.number('hidden_size'), config.number('rms_norm_eps', 1e-6)];
  const heads = config.number('num_attention_heads');
  const types = perLayer(config, 'layer_types', (i) => (i % 2 === 1 ? 'full_attention' : 'linear_attention'));
  /** `2 ** (-8 h / H)` of head h = 1 to H, less in later layers. */
  const decays = (layer: number) =>
    Array.from(
      { length: heads },
      (_, h) => -(2 ** ((-8 * (h + 1)) / heads)) * (1 - layer / (types.length - 1 + 1e-5) + 1e-5),
    );
  const factor = (name: string) => ({
    residual: 'normed' as const,
    residualScale: config.number(`${name}_alpha_factor`, 1),
    outputScale: config.number(`${name}_beta_factor`, 1),
  });
  const layers = types.map((type, i): LayerSpec => {
    const linear = type === 'linear_attention';
    return {
      name: `model.layers.${i}`,
      token: {
        name: 'self_attn',
        preNorm: rms('input_layernorm', size, eps),
        mixer: linear
          ? { type: 'lightning', size, heads, headDim: headDim(config), decays: decays(i), eps: 1e-6 }
          : attentionSpec(config, { window: config.optional('sliding_window') }),
        ...factor(linear ? 'linear_attn' : 'full_attn'),
      },
      channel: {
        name: 'block_sparse_moe',
        preNorm: rms('post_attention_layernorm', size, eps),
        mixer: mixtralExperts(config),
        ...factor('mlp'),
      },
    };
  });
  const spec = decoder(config, layers);
  const computed = /\.self_attn\.(slope_rate|query_decay|key_decay|diagonal_decay)$/;
  return { ...spec, ignored: [...(spec.ignored ?? []), computed] };
};
