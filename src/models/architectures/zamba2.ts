import type { Mamba2Spec } from '../mixers/mamba2';
import { ropeSpec } from '../rope';
import type { LayerSpec } from '../spec';
import { type Architecture, decoder, hiddenActivation, range, rms } from './common';

/** Zamba2: Mamba-2 layers, before some of which a transformer block runs that they share. */
export const zamba2: Architecture = (config) => {
  if (config.boolean('use_shared_attention_adapter', false)) {
    throw new RangeError('config: use_shared_attention_adapter is true; expected false');
  }
  const [size, eps] = [config.number('hidden_size'), config.number('rms_norm_eps', 1e-5)];
  const heads = config.number('num_attention_heads', 32);
  const mambaHeads = config.number('n_mamba_heads', 8);
  const inner = config.number('mamba_expand', 2) * size;
  const groups = config.number('mamba_ngroups', 1);
  const bias = config.boolean('add_bias_linear', false);
  const mamba: Mamba2Spec = {
    type: 'mamba2',
    size,
    heads: mambaHeads,
    headDim: inner / mambaHeads,
    groups,
    stateSize: config.number('mamba_d_state', 64),
    convolution: { width: config.number('mamba_d_conv', 4), bias: true },
    bias: { into: bias, out: bias },
    stepLimits: [config.number('time_step_min', 0.001), Number.POSITIVE_INFINITY],
    norm: { eps: 1e-5, groupSize: inner / groups, beforeGate: false },
  };
  const types = config.list<string>('layers_block_type');
  const hybrids = range(types.length).filter((i) => types[i] === 'hybrid');
  const blocks = config.number('num_mem_blocks', 1);
  const layers = range(config.number('num_hidden_layers')).map((i): LayerSpec => {
    const name = `model.layers.${i}`;
    const index = hybrids.indexOf(i);
    if (index < 0) {
      return { name, token: { name: 'mamba', preNorm: rms('input_layernorm', size, eps), mixer: mamba } };
    }
    return {
      name,
      token: {
        name: '',
        mixer: {
          type: 'zamba2',
          size,
          heads,
          kvHeads: config.number('num_key_value_heads', heads),
          intermediate: config.number('intermediate_size', 4 * size),
          activation: hiddenActivation(config, 'gelu'),
          rope: config.boolean('use_mem_rope', false) ? ropeSpec(config, (2 * size) / heads) : undefined,
          block: `model.layers.${hybrids[index % blocks]}.shared_transformer`,
          adapter: { index, rank: config.number('adapter_rank', 128) },
          mamba,
          eps,
        },
      },
    };
  });
  const tied = config.boolean('tie_word_embeddings', true);
  return decoder(config, layers, {
    norm: rms('model.final_layernorm', size, eps),
    head: tied ? {} : { name: 'lm_head' },
    ignored: [/shared_transformer\./, ...(tied ? [/^lm_head\./] : [])],
  });
};
