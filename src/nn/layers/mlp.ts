import { mul, type Tensor } from '@tensorflow/tfjs-core';
import { type ActivationName, activate } from './activation';
import { type LinearWeights, linear, linearParts } from './linear';

export interface MlpWeights {
  up: LinearWeights;
  down: LinearWeights;
  /** Makes `down(f(gate(x)) * up(x))` of `down(f(up(x)))`. */
  gate?: LinearWeights;
}

/** The same with a gate, where one layer gives what opens and, behind it, what is let through. */
export interface JoinedMlpWeights {
  gateUp: LinearWeights;
  down: LinearWeights;
}

function opened(x: Tensor, weights: MlpWeights | JoinedMlpWeights): Tensor[] {
  if (!('gateUp' in weights)) {
    const { gate, up } = weights;
    return gate === undefined ? [linear(x, up)] : [linear(x, gate), linear(x, up)];
  }
  const { weight, transposed = false } = weights.gateUp;
  const half = weight.shape[transposed ? 0 : 1]! / 2;
  return linearParts(x, weights.gateUp, [half, half]);
}

/** A feed-forward network, gated if it has a gate (SwiGLU, GeGLU). */
export function mlp(
  x: Tensor,
  weights: MlpWeights | JoinedMlpWeights,
  { activation = 'silu', gateScale = 1 }: { activation?: ActivationName; gateScale?: number } = {},
): Tensor {
  const [opening, up] = opened(x, weights);
  const gated = up !== undefined && gateScale !== 1;
  return linear(activate(activation, gated ? mul(opening, gateScale) : opening, up), weights.down);
}
