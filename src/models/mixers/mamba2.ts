import { concat, exp, mul, neg, type Tensor } from '@tensorflow/tfjs-core';
import { splitChannels } from '../../nn/channels';
import { activations } from '../../nn/layers/activation';
import { linear, linearParts } from '../../nn/layers/linear';
import { fromHeads, toHeads } from '../../nn/layers/shape';
import { rmsNormGated, ssd } from '../../ops';
import { convolution } from './convolution';
import type { MixerFactory } from './mixer';

export interface Mamba2Spec {
  type: 'mamba2';
  size: number;
  heads: number;
  headDim: number;
  groups: number;
  stateSize: number;
  convolution: { width: number; bias: boolean };
  /** Of the projection in, and of that out. */
  bias: { into: boolean; out: boolean };
  /** Least and greatest step size. */
  stepLimits: readonly [min: number, max: number];
  /** Multiplies the input, and gate, x, B, C and steps of its projection (Falcon-H1); default 1. */
  multipliers?: { input: number; parts: readonly number[] };
  /** Norm of the output over groups of channels, before or after its gate; default none, only the gate. */
  norm?: { eps: number; groupSize: number; beforeGate: boolean };
}

/** Mamba-2: a convolution, and a scan with one decay per head and token. */
export const mamba2: MixerFactory<Mamba2Spec> = (weights, spec) => {
  const { size, heads: H, headDim: P, groups: G, stateSize: N, bias, norm, multipliers } = spec;
  const [inner, shared] = [H * P, G * N];
  const parts = [inner, inner, shared, shared, H];
  const into = weights.linear(
    'in_proj',
    size,
    parts.reduce((a, b) => a + b),
    bias.into,
  );
  const conv = convolution(weights, {
    ...spec.convolution,
    parts: [['conv1d', inner + 2 * shared]],
    activation: 'silu',
  });
  const stepBias = weights.tensor('dt_bias', [H]);
  const A = weights.made('A', [{ sources: [{ name: 'A_log', shape: [H] }], prepare: ([t]) => neg(exp(t)) }]);
  const D = weights.tensor('D', [H]);
  const weight = norm && weights.tensor('norm.weight', [inner]);
  const out = weights.linear('out_proj', inner, size, bias.out);

  function project(x: Tensor): Tensor[] {
    if (multipliers === undefined) return linearParts(x, into, [inner, inner + 2 * shared, H]);
    const scaled = linearParts(mul(x, multipliers.input), into, parts).map((part, i) =>
      mul(part, multipliers.parts[i]),
    );
    return [scaled[0], concat(scaled.slice(1, 4), -1), scaled[4]];
  }

  return (x, { state }) => {
    const [z, mixed, steps] = project(x);
    const [u, B, C] = splitChannels(conv(mixed, state), [inner, shared, shared]);
    const { output, finalState } = ssd(toHeads(u, P), steps, A.value, toHeads(B, N), toHeads(C, N), {
      D: D.value,
      dtBias: stepBias.value,
      dtSoftplus: true,
      dtLimit: spec.stepLimits,
      initialState: state.get('state'),
      outputFinalState: true,
    });
    state.set('state', finalState);
    const y = fromHeads(output);
    const gated =
      norm === undefined
        ? mul(y, activations.silu(z))
        : rmsNormGated(y, weight!.value, z, {
            eps: norm.eps,
            groupSize: norm.groupSize,
            normBeforeGate: norm.beforeGate,
          });
    return linear(gated, out);
  };
};
