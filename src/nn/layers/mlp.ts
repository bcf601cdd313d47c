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
  { activation = 'silu', gateScale = 1 }: { activation?: ActivationName; gateScale?: number } = {},
): Tensor {
  const f = activations[activation];
  if (gate === undefined) return linear(f(linear(x, up)), down);
  const opening = linear(x, gate);
  return linear(mul(f(gateScale === 1 ? opening : mul(opening, gateScale)), linear(x, up)), down);
}
