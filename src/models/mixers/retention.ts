import { splitChannels } from '../../nn/channels';
import { type ActivationName, activations } from '../../nn/layers/activation';
import { linear } from '../../nn/layers/linear';
import { repeatHeads, toHeads } from '../../nn/layers/shape';
import { retention as retentionOp, rope } from '../../ops';
import type { RopeSpec } from '../rope';
import { flaConvolutions } from './convolution';
import type { MixerFactory } from './mixer';
import { type GatedNormSpec, gatedNorm } from './output';

export interface RetentionSpec {
  type: 'retention';
  size: number;
  heads: number;
  kvHeads: number;
  keyDim: number;
  valueDim: number;
  rope: RopeSpec;
  /** Of queries and keys; default none. */
  activation?: ActivationName;
  /** Width of the convolutions; default none. */
  convolution?: { width: number };
  output: GatedNormSpec;
}

/** Multi-scale retention: rotated queries and keys, a constant decay per head. */
export const retention: MixerFactory<RetentionSpec> = (weights, spec) => {
  const { size, heads: H, kvHeads, keyDim, valueDim, activation = 'identity', output } = spec;
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
  const gate = output.gate === undefined ? undefined : weights.linear('g_proj', size, H * valueDim);
  const open = gatedNorm(weights, valueDim, output);
  const out = weights.linear('o_proj', H * valueDim, size);
  return (x, { state, position }) => {
    const [q, k, v] = splitChannels(conv(linear(x, qkv), state), sizes);
    const feature = (part: typeof q) =>
      rope(toHeads(activations[activation](part), keyDim), { ...spec.rope, offset: position });
    const { output: read, finalState } = retentionOp(
      feature(q),
      repeatHeads(feature(k), H / kvHeads),
      repeatHeads(toHeads(v, valueDim), H / kvHeads),
      { initialState: state.get('state'), outputFinalState: true },
    );
    state.set('state', finalState);
    return linear(open(read, gate && linear(x, gate)), out);
  };
};
