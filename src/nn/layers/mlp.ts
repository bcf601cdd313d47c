import { mul, type Tensor } from '@tensorflow/tfjs-core';
import { type ActivationName, activations } from './activation';
import { type LinearWeights, linear } from './linear';

export interface MlpWeights {
  up: LinearWeights;
  down: LinearWeights;
  /** Makes `down(f(gate(x)) * up(x))` of `down(f(up(x)))`. */
  gate?: LinearWeights;
}

/** A feed-forward network, gated if it has a gate (SwiGLU, GeGLU). */
export function mlp(
  x: Tensor,
  { up, down, gate }: MlpWeights,
  { activation = 'silu' }: { activation?: ActivationName } = {},
): Tensor {
  const f = activations[activation];
  const hidden = gate === undefined ? f(linear(x, up)) : mul(f(linear(x, gate)), linear(x, up));
  return linear(hidden, down);
}
