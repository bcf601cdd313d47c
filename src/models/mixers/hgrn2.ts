import {
  add,
  cumsum,
  exp,
  log,
  mul,
  sigmoid,
  slice,
  softmax,
  sub,
  type Tensor,
  transpose,
} from '@tensorflow/tfjs-core';
import { splitChannels } from '../../nn/channels';
import { activations } from '../../nn/layers/activation';
import { linear } from '../../nn/layers/linear';
import { fromHeads, toHeads } from '../../nn/layers/shape';
import { gla, rmsNorm } from '../../ops';
import { convolution } from './convolution';
import type { MixerFactory } from './mixer';

export interface Hgrn2Spec {
  type: 'hgrn2';
  size: number;
  heads: number;
  /** Channels of a head's key. */
  keyDim: number;
  /** Which of the layers this is, and where the parameter of their least decays lies; default without least decays. */
  bound?: { layer: number; layers: number; name: string };
  /** Width of the convolutions; default none. */
  convolution?: { width: number };
  eps: number;
}

/** Least decays `[1, C]` that grow with depth, from 0 in the first layer: sums over layers of a softmax over them. */
function leastDecays(bounds: Tensor, layer: number): Tensor {
  const shares = transpose(softmax(transpose(bounds, [1, 0])), [1, 0]);
  const channels = bounds.shape[1]!;
  const first = slice(shares, [0, 0], [1, channels]);
  return sub(slice(cumsum(shares, 0), [layer, 0], [1, channels]), first);
}

/** HGRN2: gated linear attention whose keys are what the decays leave. */
export const hgrn2: MixerFactory<Hgrn2Spec> = (weights, spec) => {
  const { size, heads: H, keyDim, bound, eps } = spec;
  const sizes = [H * keyDim, H * keyDim, size];
  const parts = (ending: string) =>
    ['q', 'f', 'i'].map((name, i) => [`${name}_${ending}`, sizes[i]] as const);
  const qfi = weights.joined(parts('proj'), size);
  const conv =
    spec.convolution && convolution(weights, { parts: parts('conv1d'), width: spec.convolution.width });
  const bounds = bound && weights.root.tensor(bound.name, [bound.layers, H * keyDim]);
  const norm = weights.tensor('g_norm.weight', [size]);
  const out = weights.linear('o_proj', size, size);
  return (x, { state }) => {
    const projected = linear(x, qfi);
    const [q, f, v] = splitChannels(conv === undefined ? projected : conv(projected, state), sizes);
    let decay: Tensor = sigmoid(f);
    if (bounds !== undefined && bound!.layer > 0) {
      const least = leastDecays(bounds.value, bound!.layer);
      decay = add(least, mul(sub(1, least), decay));
    }
    const g = log(decay);
    const { output, finalState } = gla(
      toHeads(activations.silu(q), keyDim),
      toHeads(sub(1, exp(g)), keyDim),
      toHeads(v, size / H),
      toHeads(g, keyDim),
      { initialState: state.get('state'), outputFinalState: true },
    );
    state.set('state', finalState);
    return linear(rmsNorm(fromHeads(output), norm.value, { eps }), out);
  };
};
