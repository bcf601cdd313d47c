import { type Tensor, tensor1d, tidy } from '@tensorflow/tfjs-core';
import { checkFunction, checkShapes } from '../tensor/shape';
import { groupedMatMulOp } from './groupedMatMul';
import { groupedOuter } from './groupedOuter';
import { routingSoftmax } from './softmax';
import { gatherRows } from './tokens';

/** Experts on their slots: rows `[sum of groupSizes, D]`, those of expert 0 first, to rows `[.., M]`. */
export type SlotExperts = (slots: Tensor, groupSizes: readonly number[]) => Tensor;

/**
 * Every expert works on weighted means of all tokens instead of on chosen ones. With `L = hidden phi`, slots are
 * `softmax over tokens (L)^T hidden` and the output is `softmax over slots (L) experts(slots)`, sequence by sequence:
 * nothing is dropped, nothing is discrete.
 *
 * @param hidden `[B, T, D]`
 * @param phi `[D, E, S]`, the parameters of S slots for each of E experts
 * @param experts computes the slots, for instance
 *   `(slots, sizes) => groupedMatMul(slots, weights, sizes)`; made of linnet ops it is differentiable
 * @returns `[B, T, M]`
 * @throws TypeError, RangeError for a wrong dtype or shape, also of what `experts` returns
 * @see Puigcerver et al., "From Sparse to Soft Mixtures of Experts", equations 1 and 2
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { groupedMatMul, ready, softMoe } from 'linnet';
 *
 * await ready();
 * const hidden = randomNormal([1, 64, 32]);
 * const phi = randomNormal([32, 4, 2]);
 * const weights = randomNormal([4, 32, 16]);
 * const y = softMoe(hidden, phi, (slots, sizes) => groupedMatMul(slots, weights, sizes)); // [1, 64, 16]
 * ```
 */
export function softMoe(hidden: Tensor, phi: Tensor, experts: SlotExperts): Tensor {
  const { B, T, E, S } = checkShapes('softMoe', [
    ['hidden', hidden, 'B T D'],
    ['phi', phi, 'D E S'],
  ]);
  return tidy(() => {
    checkFunction('softMoe', 'experts', experts);
    const perBatch = Array<number>(B).fill(T);
    const [logits] = groupedMatMulOp.run(
      { x: hidden, weights: phi },
      { groupSizes: [B * T], width: E * S, transposed: false },
    );
    const slots = groupedOuter(routingSoftmax(logits, 'rows'), hidden, perBatch);

    const byBatch = Array.from({ length: B * E * S }, (_, i) => i);
    const byExpert = byBatch.map((i) => {
      const [e, b, s] = [Math.floor(i / (B * S)), Math.floor(i / S) % B, i % S];
      return (b * E + e) * S + s;
    });
    const back = Array<number>(B * E * S);
    byExpert.forEach((from, to) => {
      back[from] = to;
    });

    const computed = experts(gatherRows(slots, tensor1d(byExpert, 'int32')), Array<number>(E).fill(B * S));
    const { M } = checkShapes('softMoe', [['experts(...)', computed, `${B * E * S} M`]]);
    const outputs = gatherRows(computed, tensor1d(back, 'int32'));
    const combine = routingSoftmax(logits, 'columns');
    return groupedMatMulOp.run(
      { x: combine, weights: outputs },
      { groupSizes: perBatch, width: M, transposed: false },
    )[0];
  });
}
