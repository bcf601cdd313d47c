import { concat, reshape, type Tensor } from '@tensorflow/tfjs-core';
import { causalConv1d } from '../../ops';
import type { MixerState } from '../cache';
import type { Weights } from '../parameters';

export interface ConvolutionSpec {
  /** Layers `name.weight` `[size, 1, width]` and, with `bias`, `name.bias`; their channels follow each other. */
  parts: readonly (readonly [name: string, size: number])[];
  width: number;
  bias?: boolean;
  /** What it is called where the parts are stored as one. */
  together?: string;
  /** Default none. */
  activation?: 'silu';
}

/** A causal depthwise convolution that remembers the last tokens it has seen. */
export function convolution(weights: Weights, spec: ConvolutionSpec) {
  const { parts, width, bias = false, activation } = spec;
  const key = parts.map(([name]) => name).join();
  const channels = parts.reduce((sum, [, size]) => sum + size, 0);
  const joined = (t: Tensor[]) => (t.length === 1 ? t[0].clone() : concat(t, 0));
  const weight = weights.made(`${key} rows`, [
    {
      sources: parts.map(([name, size]) => ({ name: `${name}.weight`, shape: [size, 1, width] })),
      prepare: (t) => reshape(joined(t), [-1, width]),
    },
    ...(spec.together === undefined
      ? []
      : [
          {
            sources: [{ name: `${spec.together}.weight`, shape: [channels, 1, width] }],
            prepare: ([t]: Tensor[]) => reshape(t, [-1, width]),
          },
        ]),
  ]);
  const shift = bias
    ? weights.made(`${key} bias`, [
        {
          sources: parts.map(([name, size]) => ({ name: `${name}.bias`, shape: [size] })),
          prepare: joined,
        },
      ])
    : undefined;
  return (x: Tensor, state: MixerState): Tensor => {
    const { output, finalState } = causalConv1d(x, weight.value, {
      bias: shift?.value,
      activation,
      initialState: state.get('conv'),
      outputFinalState: true,
    });
    state.set('conv', finalState);
    return output;
  };
}

/** The convolutions of flash-linear-attention's queries, keys and values, if they have a width. */
export function flaConvolutions(weights: Weights, sizes: readonly number[], width: number | undefined) {
  if (width === undefined) return (x: Tensor): Tensor => x;
  const parts = ['q', 'k', 'v'].map((name, i) => [`${name}_conv1d`, sizes[i]] as const);
  return convolution(weights, { parts, width, activation: 'silu' });
}
