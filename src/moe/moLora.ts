import type { Tensor } from '@tensorflow/tfjs-core';
import { checkShapes } from '../tensor/shape';
import { moeMlp, type Routing } from './moeMlp';

/**
 * A mixture of low-rank adapters beside a frozen layer: `y = output + sum over the chosen e of weight_e * B_e A_e x`.
 * The usual `alpha / r` belongs into the routing weights (`routedScalingFactor`).
 *
 * @param hidden `[..., D]`, the input of the layer
 * @param a `[E, r, D]`
 * @param b `[E, M, r]`
 * @param routing weights and indices `[..., k]`
 * @param output `[..., M]`, what the frozen layer gave, or undefined for the adapters alone
 * @returns `[..., M]`
 * @throws TypeError, RangeError for a wrong dtype or shape, or an index that names no expert
 * @see Zadouri et al., "Pushing Mixture of Experts to the Limit: Extremely Parameter Efficient MoE for Instruction Tuning"
 */
export function moLora(hidden: Tensor, a: Tensor, b: Tensor, routing: Routing, output?: Tensor): Tensor {
  checkShapes('moLora', [
    ['a', a, 'E r D'],
    ['b', b, 'E M r'],
  ]);
  return moeMlp(hidden, { gateUp: a, down: b }, routing, { activation: 'identity', residual: output });
}
