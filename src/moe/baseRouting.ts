import { engine, type Tensor, tensor } from '@tensorflow/tfjs-core';
import { exactValues, type ReadWrite } from '../op/exact';
import { checkShapes } from '../tensor/shape';
import { balancedAssignment } from './balancedAssignment';
import type { Routing } from './moeMlp';
import { leadingAxes } from './routerLogits';
import { weightsOfChosen } from './routingWeights';

/**
 * One expert per token and at most `ceil(N / E)` tokens per expert (when E divides N, the same number for all), with the
 * greatest sum of logits that allows. The weight is the sigmoid of the chosen logit.
 *
 * @param logits `[..., E]`; all tokens of the batch are assigned together
 * @returns weights `[..., 1]` and indices `[..., 1]` int32
 * @throws TypeError, RangeError for a wrong dtype or shape, or a logit that is no finite number
 * @see Lewis et al., "BASE Layers: Simplifying Training of Large, Sparse Models"
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { baseRouting, ready } from 'linnet';
 *
 * await ready();
 * const logits = randomNormal([64, 8]);
 * const { weights, indices } = baseRouting(logits); // weights [64, 1], indices [64, 1]
 * ```
 */
export function baseRouting(logits: Tensor): Routing {
  const axes = leadingAxes(logits);
  const { E } = checkShapes('baseRouting', [['logits', logits, `${axes} E`.trim()]]) as { E: number };
  if (E === 0) throw new RangeError('baseRouting: logits has no experts, E = 0');
  const scores = exactValues(logits, engine().backend as unknown as ReadWrite);
  const wrong = scores.findIndex((score) => !Number.isFinite(score));
  if (wrong >= 0) {
    throw new RangeError(`baseRouting: logits[${wrong}] is ${scores[wrong]}; expected a finite number`);
  }
  const indices = tensor(balancedAssignment(scores, E), [...logits.shape.slice(0, -1), 1], 'int32');
  return {
    weights: weightsOfChosen(logits, indices, { scoring: 'sigmoid', normalize: false, scale: 1 }),
    indices,
  };
}
