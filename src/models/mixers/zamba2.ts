import { add, concat } from '@tensorflow/tfjs-core';
import { splitChannels } from '../../nn/channels';
import { type ActivationName, activate } from '../../nn/layers/activation';
import { linear } from '../../nn/layers/linear';
import { rmsNorm } from '../../ops';
import type { RopeSpec } from '../rope';
import { attention } from './attention';
import { type Mamba2Spec, mamba2 } from './mamba2';
import type { MixerFactory } from './mixer';

export interface Zamba2Spec {
  type: 'zamba2';
  size: number;
  heads: number;
  kvHeads: number;
  intermediate: number;
  activation: ActivationName;
  rope?: RopeSpec;
  /** Where the shared block lies, and which of its adapters is this layer's. */
  block: string;
  adapter: { index: number; rank: number };
  mamba: Mamba2Spec;
  eps: number;
}

/** Zamba2's hybrid layer: Mamba-2 whose input has the output of a transformer block shared between layers added to it. */
export const zamba2: MixerFactory<Zamba2Spec> = (weights, spec) => {
  const { size, heads, kvHeads, intermediate: F, activation, adapter, eps } = spec;
  const block = weights.root.at(spec.block);
  const headDim = (2 * size) / heads;
  const inputNorm = block.tensor('input_layernorm.weight', [2 * size]);
  const attend = attention(block.at('self_attn'), {
    type: 'attention',
    size: 2 * size,
    heads,
    kvHeads,
    headDim,
    scale: (headDim / 2) ** -0.5,
    rope: spec.rope,
    outputSize: size,
  });
  const channelNorm = block.tensor('pre_ff_layernorm.weight', [size]);
  const channel = block.at('feed_forward');
  const gateUp = channel.linear('gate_up_proj', size, 2 * F);
  const down = channel.linear('down_proj', F, size);
  const adapted = channel.at(`gate_up_proj_adapter_list.${adapter.index}`);
  const into = adapted.linear('0', size, adapter.rank);
  const out = adapted.linear('1', adapter.rank, 2 * F);
  const join = weights.linear('linear', size, size);
  const norm = weights.tensor('mamba_decoder.input_layernorm.weight', [size]);
  const scan = mamba2(weights.at('mamba_decoder.mamba'), spec.mamba);
  return (x, step) => {
    const both = rmsNorm(concat([x, step.shared.get('embeddings')!], -1), inputNorm.value, { eps });
    const attended = attend(both, { ...step, state: step.stateOf('attention') });
    const normed = rmsNorm(attended, channelNorm.value, { eps });
    const wide = add(linear(normed, gateUp), linear(linear(normed, into), out));
    const [gate, up] = splitChannels(wide, [F, F]);
    const block = linear(activate(activation, gate, up), down);
    return scan(rmsNorm(add(x, linear(block, join)), norm.value, { eps }), step);
  };
};
