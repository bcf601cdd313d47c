import { mul, sigmoid } from '@tensorflow/tfjs-core';
import { splitChannels } from '../../nn/channels';
import { activations } from '../../nn/layers/activation';
import { linear } from '../../nn/layers/linear';
import { fromHeads, toHeads } from '../../nn/layers/shape';
import { lightningAttention, rmsNorm } from '../../ops';
import type { MixerFactory } from './mixer';

export interface LightningSpec {
  type: 'lightning';
  size: number;
  heads: number;
  headDim: number;
  /** Log decay of each head, negative. */
  decays: readonly number[];
  eps: number;
}

/** MiniMax's lightning attention: linear attention with a constant decay per head, normed over all heads and gated. */
export const lightning: MixerFactory<LightningSpec> = (weights, spec) => {
  const { size, heads: H, headDim: D, eps } = spec;
  const qkv = weights.linear('qkv_proj', size, 3 * H * D);
  const gate = weights.linear('output_gate', size, H * D);
  const norm = weights.tensor('norm.weight', [H * D]);
  const out = weights.linear('out_proj', H * D, size);
  return (x, { state }) => {
    const [q, k, v] = splitChannels(toHeads(activations.silu(linear(x, qkv)), 3 * D), [D, D, D]);
    const { output, finalState } = lightningAttention(q, k, v, {
      scale: 1,
      logDecay: spec.decays,
      initialState: state.get('state'),
      outputFinalState: true,
    });
    state.set('state', finalState);
    const normed = rmsNorm(fromHeads(output), norm.value, { eps });
    return linear(mul(sigmoid(linear(x, gate)), normed), out);
  };
};
