import { clipByValue, logSigmoid, mul } from '@tensorflow/tfjs-core';
import { splitChannels } from '../../nn/channels';
import { type ActivationName, activations } from '../../nn/layers/activation';
import { linear } from '../../nn/layers/linear';
import { repeatHeads, toHeads } from '../../nn/layers/shape';
import { gla as glaOp } from '../../ops';
import { flaConvolutions } from './convolution';
import type { MixerFactory } from './mixer';
import { type GatedNormSpec, gatedNorm } from './output';

export interface GlaSpec {
  type: 'gla';
  size: number;
  heads: number;
  kvHeads: number;
  keyDim: number;
  valueDim: number;
  /** Of the projection that decays come from. */
  rank: number;
  /** Divides the log decays. */
  normalizer: number;
  /** Least log decay. */
  clampMin?: number;
  /** Of queries and keys; default none. */
  activation?: ActivationName;
  /** Width of the convolutions; default none. */
  convolution?: { width: number };
  output: GatedNormSpec;
}

/** Gated linear attention: a decay per key channel and token. */
export const gla: MixerFactory<GlaSpec> = (weights, spec) => {
  const { size, heads: H, kvHeads, keyDim, valueDim, rank, normalizer, clampMin, output } = spec;
  const { activation = 'identity' } = spec;
  const sizes = [H * keyDim, kvHeads * keyDim, kvHeads * valueDim];
  const qkv = weights.joined(
    [
      ['q_proj', sizes[0]],
      ['k_proj', sizes[1]],
      ['v_proj', sizes[2]],
    ],
    size,
  );
  const conv = flaConvolutions(weights, sizes, spec.convolution?.width);
  const decay = [
    weights.linear('gk_proj.0', size, rank),
    weights.linear('gk_proj.1', rank, kvHeads * keyDim, true),
  ];
  const gate = output.gate === undefined ? undefined : weights.linear('g_proj', size, H * valueDim);
  const open = gatedNorm(weights, valueDim, output);
  const out = weights.linear('o_proj', H * valueDim, size);
  return (x, { state }) => {
    const [q, k, v] = splitChannels(conv(linear(x, qkv), state), sizes);
    const logs = mul(logSigmoid(linear(linear(x, decay[0]), decay[1])), 1 / normalizer);
    const g = clampMin === undefined ? logs : clipByValue(logs, clampMin, 0);
    const shared = (part: typeof q, D: number) => repeatHeads(toHeads(part, D), H / kvHeads);
    const { output: read, finalState } = glaOp(
      toHeads(activations[activation](q), keyDim),
      shared(activations[activation](k), keyDim),
      shared(v, valueDim),
      shared(g, keyDim),
      { initialState: state.get('state'), outputFinalState: true },
    );
    state.set('state', finalState);
    return linear(open(read, gate && linear(x, gate)), out);
  };
};
