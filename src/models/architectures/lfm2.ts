import type { Config } from '../config';
import { ropeSpec } from '../rope';
import {
  type Architecture,
  attentionSpec,
  decoder,
  feedForwardSpec,
  headDim,
  perLayer,
  preNormLayer,
  rms,
} from './common';

function intermediateSize(config: Config): number {
  const given = config.optional('block_ff_dim') ?? config.number('intermediate_size');
  if (!config.boolean('block_auto_adjust_ff_dim', true)) return given;
  const reduced = Math.floor((2 * given) / 3);
  const factor = config.optional('block_ffn_dim_multiplier');
  if (factor === undefined) return reduced;
  const multiple = config.number('block_multiple_of', 256);
  return multiple * Math.ceil(Math.floor(factor * reduced) / multiple);
}

/** LFM2: gated short convolutions, and some layers of attention. */
export const lfm2: Architecture = (config) => {
  const [size, eps] = [config.number('hidden_size'), config.number('norm_eps', 1e-5)];
  const attending = config.has('full_attn_idxs') ? config.list<number>('full_attn_idxs') : undefined;
  const types = perLayer(config, 'layer_types', (i) =>
    attending === undefined || attending.includes(i) ? 'full_attention' : 'conv',
  );
  const norms = [rms('operator_norm', size, eps), rms('ffn_norm', size, eps)] as const;
  const layers = types.map((type, i) =>
    preNormLayer(
      `model.layers.${i}`,
      norms,
      type === 'full_attention'
        ? [
            'self_attn',
            attentionSpec(config, {
              rope: ropeSpec(config, headDim(config), { theta: 1e6 }),
              norm: { eps, over: 'head', names: ['q_layernorm', 'k_layernorm'] },
              names: ['q_proj', 'k_proj', 'v_proj', 'out_proj'],
            }),
          ]
        : [
            'conv',
            {
              type: 'shortConvolution',
              size,
              width: config.number('conv_L_cache', 3),
              bias: config.boolean('conv_bias', false),
            },
          ],
      [
        'feed_forward',
        feedForwardSpec(config, { intermediate: intermediateSize(config), names: ['w1', 'w3', 'w2'] }),
      ],
    ),
  );
  const tied = config.boolean('tie_embedding', config.boolean('tie_word_embeddings', true));
  return decoder(config, layers, {
    norm: rms('model.embedding_norm', size, eps),
    head: tied ? {} : { name: 'lm_head' },
    ignored: tied ? [/^lm_head\./] : [],
  });
};
