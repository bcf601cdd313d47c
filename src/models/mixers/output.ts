import { mul, type Tensor } from '@tensorflow/tfjs-core';
import { type ActivationName, activations } from '../../nn/layers/activation';
import { fromHeads, toHeads } from '../../nn/layers/shape';
import { rmsNorm, rmsNormGated } from '../../ops';
import type { Weights } from '../parameters';

/** How linear attention ends: a norm per head, opened by a gate if there is one. */
export interface GatedNormSpec {
  norm: string;
  eps: number;
  /** Of the gate; undefined where there is none. */
  gate?: ActivationName;
}

/** `norm(x) f(gate)` per head of `[B, T, H, V]`, as `[B, T, H V]`; the gate is `[B, T, H V]`. */
export function gatedNorm(weights: Weights, V: number, { norm, eps, gate }: GatedNormSpec) {
  const weight = weights.tensor(`${norm}.weight`, [V]);
  return (x: Tensor, opening: Tensor | undefined): Tensor => {
    if (opening === undefined || gate === undefined) return fromHeads(rmsNorm(x, weight.value, { eps }));
    if (gate === 'silu' || gate === 'swish') {
      return fromHeads(rmsNormGated(x, weight.value, toHeads(opening, V), { eps }));
    }
    return mul(fromHeads(rmsNorm(x, weight.value, { eps })), activations[gate](opening));
  };
}
