import type { ActivationName } from '../../nn/layers/activation';
import { mlp } from '../../nn/layers/mlp';
import type { MixerFactory } from '../mixers/mixer';

export interface FeedForwardSpec {
  type: 'feedForward';
  size: number;
  intermediate: number;
  /** Default `'silu'`. */
  activation?: ActivationName;
  /** Default false. */
  bias?: boolean;
  /** Multiplies the gate before its activation; default 1. */
  gateScale?: number;
  /** Default `['gate_proj', 'up_proj', 'down_proj']`; without a gate the first is undefined. */
  names?: readonly [gate: string | undefined, up: string, down: string];
}

/** A feed-forward network, gated unless its gate has no name. */
export const feedForward: MixerFactory<FeedForwardSpec> = (weights, spec) => {
  const { size, intermediate: F, activation, bias = false } = spec;
  const [gate, up, down] = spec.names ?? ['gate_proj', 'up_proj', 'down_proj'];
  const layers = {
    ...(gate === undefined
      ? { up: weights.linear(up, size, F, bias) }
      : {
          gateUp: weights.joined(
            [gate, up].map((name) => [name, F] as const),
            size,
            bias,
          ),
        }),
    down: weights.linear(down, F, size, bias),
  };
  return (x) => mlp(x, layers, { activation, gateScale: spec.gateScale });
};
