import { type Tensor, tensor } from '@tensorflow/tfjs-core';
import { checkShapes } from '../tensor/shape';
import type { Routing } from './moeMlp';
import { leadingAxes } from './routerLogits';
import { weightsOfChosen } from './routingWeights';

/**
 * Routing without a choice: the weights are `relu(logits)`, and the experts of a token those with a positive one. It is
 * continuous, so the router learns when to add or to drop an expert.
 *
 * @param logits `[..., E]`
 * @returns weights and indices `[..., E]`, index -1 where the logit is not positive
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Wang et al., "ReMoE: Fully Differentiable Mixture-of-Experts with ReLU Routing"
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { ready, reluRouting } from 'linnet';
 *
 * await ready();
 * const logits = randomNormal([64, 8]);
 * const { weights, indices } = reluRouting(logits); // weights [64, 8], indices [64, 8]
 * ```
 */
export function reluRouting(logits: Tensor): Routing {
  const { E } = checkShapes('reluRouting', [['logits', logits, `${leadingAxes(logits)} E`.trim()]]) as {
    E: number;
  };
  const chosen = Int32Array.from(logits.dataSync(), (logit, i) => (logit > 0 ? i % E : -1));
  const indices = tensor(chosen, logits.shape, 'int32');
  return {
    weights: weightsOfChosen(logits, indices, { scoring: 'relu', normalize: false, scale: 1 }),
    indices,
  };
}
