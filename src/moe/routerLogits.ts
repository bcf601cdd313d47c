import type { Tensor } from '@tensorflow/tfjs-core';
import { checkShapes } from '../tensor/shape';
import { groupedMatMulOp } from './groupedMatMul';

/**
 * Scores of every token for every expert: `logits = hidden weight^T + bias`, a linear layer whose gradient needs nothing
 * but linnet.
 *
 * @param hidden `[..., D]`
 * @param weight `[E, D]`
 * @param bias `[E]`, or undefined for none
 * @returns `[..., E]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Shazeer et al., "Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer", section 2.1
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { ready, routerLogits } from 'linnet';
 *
 * await ready();
 * const hidden = randomNormal([64, 32]);
 * const weight = randomNormal([8, 32]);
 * const logits = routerLogits(hidden, weight); // [64, 8]
 * ```
 */
export function routerLogits(hidden: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  const { E } = checkShapes('routerLogits', [
    ['hidden', hidden, `${leadingAxes(hidden)} D`.trim()],
    ['weight', weight, 'E D'],
    ['bias?', bias, 'E'],
  ]);
  const rows = hidden.shape.slice(0, -1).reduce((n, size) => n * size, 1);
  return groupedMatMulOp.run(
    { x: hidden, weights: weight, bias },
    { groupSizes: [rows], width: E, transposed: true },
  )[0];
}

/** Names for all axes but the last, of any number of them. */
export function leadingAxes(tensor: Tensor): string {
  let axes = '';
  for (let i = 0; i < (tensor?.shape?.length ?? 0) - 1; i++) axes += i === 0 ? 'N0' : ` N${i}`;
  return axes;
}
