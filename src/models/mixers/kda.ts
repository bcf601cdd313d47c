import { mul, reshape, sigmoid } from '@tensorflow/tfjs-core';
import { splitChannels } from '../../nn/channels';
import { activations } from '../../nn/layers/activation';
import { linear } from '../../nn/layers/linear';
import { toHeads } from '../../nn/layers/shape';
import { kdaGate, kda as kdaOp } from '../../ops';
import { convolution } from './convolution';
import type { MixerFactory } from './mixer';
import { gatedNorm } from './output';

export interface KdaSpec {
  type: 'kda';
  size: number;
  keyHeads: number;
  valueHeads: number;
  keyDim: number;
  valueDim: number;
  /** Width of the convolutions; default none. */
  convolution?: { width: number; bias?: boolean; together?: string };
  negativeEigenvalues?: boolean;
  /** Bounds the log decay from below. */
  lowerBound?: number;
  /** Whether the gate of the output has a bias. */
  gateBias: boolean;
  eps: number;
  /** Names of the low-rank projections of decay and gate, and the shape of `A_log`. */
  names: { decay: readonly [string, string]; gate: readonly [string, string]; aLogShape: readonly number[] };
}

/** Kimi delta attention: a state that decays by channel and is corrected. */
export const kda: MixerFactory<KdaSpec> = (weights, spec) => {
  const { size, keyHeads, valueHeads, keyDim, valueDim, names, eps, negativeEigenvalues = false } = spec;
  const [keys, values, decays] = [keyHeads * keyDim, valueHeads * valueDim, valueHeads * keyDim];
  const sizes = [keys, keys, values];
  const qkv = weights.joined(
    ['q', 'k', 'v'].map((name, i) => [`${name}_proj`, sizes[i]] as const),
    size,
  );
  const conv =
    spec.convolution &&
    convolution(weights, {
      ...spec.convolution,
      parts: ['q', 'k', 'v'].map((name, i) => [`${name}_conv1d`, sizes[i]] as const),
      activation: 'silu',
    });
  const decay = [
    weights.linear(names.decay[0], size, valueDim),
    weights.linear(names.decay[1], valueDim, decays),
  ];
  const gate = [
    weights.linear(names.gate[0], size, valueDim),
    weights.linear(names.gate[1], valueDim, values, spec.gateBias),
  ];
  const aLog = weights.made('A_log flat', [
    { sources: [{ name: 'A_log', shape: names.aLogShape }], prepare: ([t]) => reshape(t, [valueHeads]) },
  ]);
  const dtBias = weights.tensor('dt_bias', [decays]);
  const beta = weights.linear('b_proj', size, valueHeads);
  const open = gatedNorm(weights, valueDim, { norm: 'o_norm', eps, gate: 'sigmoid' });
  const project = weights.linear('o_proj', values, size);

  return (x, { state }) => {
    const projected = linear(x, qkv);
    const mixed = conv === undefined ? activations.silu(projected) : conv(projected, state);
    const [q, k, v] = splitChannels(mixed, sizes);
    const rates = toHeads(linear(linear(x, decay[0]), decay[1]), keyDim);
    const b = linear(x, beta);
    const { output, finalState } = kdaOp(
      toHeads(q, keyDim),
      toHeads(k, keyDim),
      toHeads(v, valueDim),
      kdaGate(rates, aLog.value, dtBias.value, { lowerBound: spec.lowerBound }),
      negativeEigenvalues ? mul(2, sigmoid(b)) : b,
      {
        useQkL2norm: true,
        betaSigmoid: !negativeEigenvalues,
        initialState: state.get('state'),
        outputFinalState: true,
      },
    );
    state.set('state', finalState);
    return linear(open(output, linear(linear(x, gate[0]), gate[1])), project);
  };
};
