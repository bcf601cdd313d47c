import {
  type Architecture,
  attentionSpec,
  decoder,
  feedForwardSpec,
  preNormLayer,
  range,
  rms,
} from './common';
import { rankOf } from './mamba';

/** Jamba: mostly Mamba, some layers of attention without positions, every other feed-forward network experts. */
export const jamba: Architecture = (config) => {
  const [size, eps] = [config.number('hidden_size'), config.number('rms_norm_eps', 1e-6)];
  const experts = config.optional('num_experts') ?? config.number('num_local_experts', 16);
  const every = (name: string, period: number, offset: number) => (i: number) =>
    i % config.number(`${name}_period`, period) === config.number(`${name}_offset`, offset);
  const isAttention = every('attn_layer', 8, 4);
  const isSparse = every('expert_layer', 2, 1);
  const norms = [rms('input_layernorm', size, eps), rms('pre_ff_layernorm', size, eps)] as const;
  const layers = range(config.number('num_hidden_layers')).map((i) =>
    preNormLayer(
      `model.layers.${i}`,
      norms,
      isAttention(i)
        ? ['self_attn', attentionSpec(config, { rope: undefined })]
        : [
            'mamba',
            {
              type: 'mamba',
              size,
              intermediate: config.number('mamba_expand', 2) * size,
              stateSize: config.number('mamba_d_state', 16),
              rank: rankOf(config, 'mamba_dt_rank'),
              convolution: {
                width: config.number('mamba_d_conv', 4),
                bias: config.boolean('mamba_conv_bias', true),
              },
              bias: config.boolean('mamba_proj_bias', false),
              norm: { eps, weights: true },
            },
          ],
      [
        'feed_forward',
        isSparse(i) && experts > 1
          ? {
              type: 'moe',
              size,
              intermediate: config.number('intermediate_size'),
              experts,
              routing: { topK: config.number('num_experts_per_tok', 2) },
              router: { name: 'router' },
            }
          : feedForwardSpec(config),
      ],
    ),
  );
  return decoder(config, layers, { norm: rms('model.final_layernorm', size, eps) });
};
