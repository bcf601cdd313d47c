import { type Tensor, tensor, tidy } from '@tensorflow/tfjs-core';
import { checkFunction, checkObject, checkShapes } from '../tensor/shape';
import { gatherNumbers, gatherRows, scatterRows } from './tokens';

/** A block on some tokens: `[B, C, D]` and the positions of each, `[B, C]` int32, to `[B, C, D]`. */
export type TokenBlock = (tokens: Tensor, positions: Tensor) => Tensor;

/**
 * Sends only the `capacity` tokens with the greatest router weight of each sequence through a block; the others pass by:
 * `y_t = x_t + weight_t * block(x)_t` for the chosen, `y_t = x_t` for the rest. `block` gives what is added, without the
 * residual. The chosen keep their order, and their positions come along for causal masks and rotary embeddings.
 *
 * @param hidden `[B, T, D]`
 * @param weights `[B, T]`, the router's
 * @param block made of linnet ops it is differentiable
 * @returns `[B, T, D]`
 * @throws TypeError, RangeError for a wrong dtype or shape, also of what `block` returns, or a capacity beyond T
 * @see Raposo et al., "Mixture-of-Depths: Dynamically allocating compute in transformer-based language models"
 * @example
 * ```ts
 * import { randomNormal, randomUniform, type Tensor } from '@tensorflow/tfjs-core';
 * import { mixtureOfDepths, ready, routerLogits } from 'linnet';
 *
 * await ready();
 * const hidden = randomNormal([1, 64, 32]);
 * const weights = randomUniform([1, 64]);
 * const weight = randomNormal([32, 32]);
 * const block = (x: Tensor) => routerLogits(x, weight);
 * const y = mixtureOfDepths(hidden, weights, block, { capacity: 16 }); // [1, 64, 32]
 * ```
 */
export function mixtureOfDepths(
  hidden: Tensor,
  weights: Tensor,
  block: TokenBlock,
  options: { capacity: number },
): Tensor {
  checkObject('mixtureOfDepths', 'options', options, '{ capacity }');
  const { capacity: C } = options;
  checkFunction('mixtureOfDepths', 'block', block);
  const { B, T, D } = checkShapes('mixtureOfDepths', [
    ['hidden', hidden, 'B T D'],
    ['weights', weights, 'B T'],
  ]);
  if (!(Number.isInteger(C) && C >= 0 && C <= T)) {
    throw new RangeError(`mixtureOfDepths: capacity is ${C}; expected 0 to ${T} (T from hidden)`);
  }
  return tidy(() => {
    const positions = bestPositions(weights.dataSync(), B, T, C);
    const flat = positions.map((t, i) => Math.floor(i / C) * T + t);
    const indices = tensor(flat, [B, C], 'int32');
    const computed = block(gatherRows(hidden, indices), tensor(positions, [B, C], 'int32'));
    checkShapes('mixtureOfDepths', [['block(...)', computed, `${B} ${C} ${D}`]]);
    const chosen = gatherNumbers(weights, indices);
    return scatterRows(computed, chosen, indices, hidden.shape, hidden);
  });
}

/** Positions of the C greatest weights of each sequence in ascending order; ties go to the earlier, NaN ranks last. */
function bestPositions(weights: ArrayLike<number>, B: number, T: number, C: number): Int32Array {
  const positions = new Int32Array(B * C);
  for (let b = 0; b < B; b++) {
    const rank = (t: number) =>
      Number.isNaN(weights[b * T + t]) ? Number.NEGATIVE_INFINITY : weights[b * T + t];
    const best = Array.from({ length: T }, (_, t) => t).sort((s, t) => rank(t) - rank(s) || s - t);
    positions.set(
      best.slice(0, C).sort((s, t) => s - t),
      b * C,
    );
  }
  return positions;
}
