import { exp, logSigmoid, mul, sub } from '@tensorflow/tfjs-core';
import { splitChannels } from '../../nn/channels';
import { type ActivationName, activations } from '../../nn/layers/activation';
import { linear } from '../../nn/layers/linear';
import { fromHeads, toHeads } from '../../nn/layers/shape';
import { gsa as gsaOp, rmsNorm } from '../../ops';
import { flaConvolutions } from './convolution';
import type { MixerFactory } from './mixer';

export interface GsaSpec {
  type: 'gsa';
  size: number;
  heads: number;
  kvHeads: number;
  keyDim: number;
  valueDim: number;
  slots: number;
  /** Divides the log decays. */
  normalizer: number;
  /** Of queries and keys. */
  activation: ActivationName;
  /** Width of the convolutions; default none. */
  convolution?: { width: number };
  eps: number;
}

/** Gated slot attention: slots that forget, read by a softmax over them. */
export const gsa: MixerFactory<GsaSpec> = (weights, spec) => {
  const { size, heads: H, kvHeads, keyDim, valueDim, slots, normalizer, activation, eps } = spec;
  const sizes = [H * keyDim, kvHeads * keyDim, kvHeads * valueDim];
  const qkv = weights.joined(
    ['q', 'k', 'v'].map((name, i) => [`${name}_proj`, sizes[i]] as const),
    size,
  );
  const conv = flaConvolutions(weights, sizes, spec.convolution?.width);
  const forget = weights.linear('f_proj', size, kvHeads * slots);
  const norm = weights.tensor('g_norm.weight', [H * valueDim]);
  const out = weights.linear('o_proj', H * valueDim, size);
  const f = activations[activation];
  return (x, { state }) => {
    const [q, k, v] = splitChannels(conv(linear(x, qkv), state), sizes);
    const g = toHeads(mul(logSigmoid(linear(x, forget)), 1 / normalizer), slots);
    const [keys, values] = [state.get('keys'), state.get('values')];
    const { output, finalState } = gsaOp(
      toHeads(f(q), keyDim),
      toHeads(f(k), keyDim),
      toHeads(activations.silu(v), valueDim),
      sub(1, exp(g)),
      g,
      { scale: 1, initialState: keys && values && [keys, values], outputFinalState: true },
    );
    state.set('keys', finalState[0]);
    state.set('values', finalState[1]);
    return linear(rmsNorm(activations.silu(fromHeads(output)), norm.value, { eps }), out);
  };
};
