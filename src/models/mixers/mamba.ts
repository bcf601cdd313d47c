import { exp, neg } from '@tensorflow/tfjs-core';
import { linear, linearParts } from '../../nn/layers/linear';
import { rmsNorm, selectiveScan } from '../../ops';
import { convolution } from './convolution';
import type { MixerFactory } from './mixer';

export interface MambaSpec {
  type: 'mamba';
  size: number;
  intermediate: number;
  stateSize: number;
  rank: number;
  convolution: { width: number; bias: boolean };
  /** Of the projections in and out. */
  bias: boolean;
  /** Norms of step size, B and C, with weights (Jamba) or without (FalconMamba). */
  norm?: { eps: number; weights: boolean };
}

/** Mamba: a convolution, and a scan whose step sizes, inputs and outputs depend on the token. */
export const mamba: MixerFactory<MambaSpec> = (weights, spec) => {
  const { size, intermediate: I, stateSize: N, rank, bias, norm } = spec;
  const into = weights.linear('in_proj', size, 2 * I, bias);
  const conv = convolution(weights, { ...spec.convolution, parts: [['conv1d', I]], activation: 'silu' });
  const select = weights.linear('x_proj', I, rank + 2 * N);
  const steps = weights.linear('dt_proj', rank, I);
  const stepBias = weights.tensor('dt_proj.bias', [I]);
  const A = weights.made('A', [
    { sources: [{ name: 'A_log', shape: [I, N] }], prepare: ([t]) => neg(exp(t)) },
  ]);
  const D = weights.tensor('D', [I]);
  const out = weights.linear('out_proj', I, size, bias);
  const normWeights = norm?.weights
    ? (['dt', 'b', 'c'] as const).map((name) =>
        weights.tensor(`${name}_layernorm.weight`, [name === 'dt' ? rank : N]),
      )
    : [];

  return (x, { state }) => {
    const [inner, z] = linearParts(x, into, [I, I]);
    const u = conv(inner, state);
    const [dt, B, C] = linearParts(u, select, [rank, N, N]).map((part, i) =>
      norm === undefined ? part : rmsNorm(part, normWeights[i]?.value, { eps: norm.eps }),
    );
    const { output, lastState } = selectiveScan(u, linear(dt, steps), A.value, B, C, {
      D: D.value,
      z,
      deltaBias: stepBias.value,
      deltaSoftplus: true,
      initialState: state.get('state'),
      returnLastState: true,
    });
    state.set('state', lastState);
    return linear(output, out);
  };
};
