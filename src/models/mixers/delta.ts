import { add, div, elu, mul, ones, relu, sigmoid, sum, type Tensor } from '@tensorflow/tfjs-core';
import { splitChannels } from '../../nn/channels';
import { activations } from '../../nn/layers/activation';
import { linear } from '../../nn/layers/linear';
import { toHeads } from '../../nn/layers/shape';
import { deltaRule } from '../../ops';
import { convolution } from './convolution';
import type { MixerFactory } from './mixer';
import { gatedNorm } from './output';

export interface DeltaSpec {
  type: 'delta';
  size: number;
  heads: number;
  keyDim: number;
  valueDim: number;
  /** Width of the convolutions; default none. */
  convolution?: { width: number };
  /** Of queries and keys. */
  activation: 'silu' | 'relu' | 'elu' | 'identity';
  /** Divides queries and keys by their norms, or by the sum of their channels. */
  norm: 'l2' | 'sum';
  /** Whether step sizes are computed, or 1; whether they go up to 2. */
  beta: boolean;
  negativeEigenvalues?: boolean;
  /** Whether a gate opens the output. */
  gate: boolean;
  eps: number;
}

const ACTIVATIONS = {
  silu: activations.silu,
  relu: (x: Tensor): Tensor => relu(x),
  elu: (x: Tensor): Tensor => add(elu(x), 1),
  identity: (x: Tensor): Tensor => x,
};

/** DeltaNet: a state that is corrected. */
export const delta: MixerFactory<DeltaSpec> = (weights, spec) => {
  const { size, heads: H, keyDim, valueDim, activation, norm, negativeEigenvalues = false, eps } = spec;
  const sizes = [H * keyDim, H * keyDim, H * valueDim];
  const projections = ['q', 'k', 'v'].map((name, i) => [`${name}_proj`, sizes[i]] as const);
  const qkv = weights.joined(projections, size);
  const beta = spec.beta ? weights.linear('b_proj', size, H) : undefined;
  const gate = spec.gate ? weights.linear('g_proj', size, H * valueDim) : undefined;
  const wide = ['q', 'k', 'v'].map((name, i) => [`${name}_conv1d`, sizes[i]] as const);
  const conv = spec.convolution && convolution(weights, { parts: wide, width: spec.convolution.width });
  const open = gatedNorm(weights, valueDim, { norm: 'o_norm', eps, gate: spec.gate ? 'silu' : undefined });
  const project = weights.linear('o_proj', H * valueDim, size);
  const f = ACTIVATIONS[activation];
  const feature = (x: Tensor) => {
    const heads = toHeads(f(x), keyDim);
    return norm === 'sum' ? div(heads, sum(heads, -1, true)) : heads;
  };

  return (x, { state }) => {
    const projected = linear(x, qkv);
    const [q, k, v] = splitChannels(conv === undefined ? projected : conv(projected, state), sizes);
    const steps = beta === undefined ? ones([x.shape[0], x.shape[1]!, H]) : sigmoid(linear(x, beta));
    const { output, finalState } = deltaRule(
      feature(q),
      feature(k),
      toHeads(activations.silu(v), valueDim),
      negativeEigenvalues ? mul(2, steps) : steps,
      { useQkL2norm: norm === 'l2', initialState: state.get('state'), outputFinalState: true },
    );
    state.set('state', finalState);
    return linear(open(output, gate && linear(x, gate)), project);
  };
};
