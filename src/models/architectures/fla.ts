import { ropeFrequencies } from '../../nn/ropeFrequencies';
import type { Config } from '../config';
import type { MixerSpec } from '../mixers';
import type { AttentionSpec } from '../mixers/attention';
import type { LayerSpec, ModelSpec, NormSpec } from '../spec';
import { decoder, hiddenActivation, preNormLayer, range, rms } from './common';

/** Neurons of flash-linear-attention's gated networks: two thirds of `hidden_ratio` times the size, in steps of 256. */
export function intermediateSize(config: Config): number {
  const ratio = config.number('hidden_ratio', 4);
  const size = Math.floor((config.number('hidden_size') * ratio * 2) / 3);
  return config.optional('intermediate_size') ?? 256 * Math.ceil(size / 256);
}

/** Softmax attention of the layers that `attn` of the config lists. */
export function hybridAttention(config: Config, layer: number): AttentionSpec | undefined {
  const attn = config.objects('attn').find((one) => one.list<number>('layers').includes(layer));
  if (attn === undefined) return undefined;
  const size = config.number('hidden_size');
  const heads = attn.number('num_heads');
  const D = size / heads;
  return {
    type: 'attention',
    size,
    heads,
    kvHeads: attn.number('num_kv_heads', heads),
    headDim: D,
    rope: ropeFrequencies(D, { theta: attn.number('rope_theta', 10000) }),
    window: attn.optional('window_size'),
    bias: { qkv: attn.boolean('qkv_bias', false), output: false },
  };
}

/** A model of flash-linear-attention: `attn` and `mlp` with a norm before each, some layers softmax attention. */
export function flaModel(config: Config, token: (layer: number) => MixerSpec): ModelSpec {
  const [size, eps] = [config.number('hidden_size'), config.number('norm_eps', 1e-6)];
  const layers = range(config.number('num_hidden_layers')).map((i) =>
    preNormLayer(
      `model.layers.${i}`,
      [rms('attn_norm', size, eps), rms('mlp_norm', size, eps)],
      ['attn', hybridAttention(config, i) ?? token(i)],
      [
        'mlp',
        {
          type: 'feedForward',
          size,
          intermediate: intermediateSize(config),
          activation: hiddenActivation(config, 'swish'),
        },
      ],
    ),
  );
  return flaDecoder(config, layers, rms('model.norm', size, eps));
}

export function flaDecoder(config: Config, layers: readonly LayerSpec[], norm: NormSpec): ModelSpec {
  return decoder(config, layers, { embedding: { name: 'model.embeddings' }, norm });
}
