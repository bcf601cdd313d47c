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
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { moLora, ready, topkRouting } from 'linnet';
 *
 * await ready();
 * const hidden = randomNormal([64, 32]);
 * const logits = randomNormal([64, 4]);
 * const a = randomNormal([4, 8, 32]);
 * const b = randomNormal([4, 48, 8]);
 * const frozen = randomNormal([64, 48]);
 * const routing = topkRouting(logits, { topK: 2, routedScalingFactor: 16 / 8 });
 * const y = moLora(hidden, a, b, routing, frozen); // [64, 48]
 * ```
 */
export function moLora(hidden: Tensor, a: Tensor, b: Tensor, routing: Routing, output?: Tensor): Tensor {
  checkShapes('moLora', [
    ['a', a, 'E r D'],
    ['b', b, 'E M r'],
  ]);
  return moeMlp(hidden, { gateUp: a, down: b }, routing, { activation: 'identity', residual: output });
}
