import { type Tensor, tensor, tidy } from '@tensorflow/tfjs-core';
import type { Routing } from './moeMlp';
import { weightsOfChosen } from './routingWeights';
import { topkRouting } from './topkRouting';

export interface TopPRoutingOptions {
  /** Experts are added, most probable first, until their probabilities sum to this; default 0.4. */
  topP?: number;
  /** At most so many experts; default all. */
  maxExperts?: number;
  /** Divide the weights of a token by their sum; default false. */
  normTopkProb?: boolean;
}

/**
 * As many experts as a token needs: the fewest whose probabilities reach `topP`. A token the router is sure of takes one,
 * a hard one takes more.
 *
 * @param logits `[..., E]`
 * @returns weights and indices `[..., maxExperts]`, best first, index -1 and weight 0 behind the last
 * @throws TypeError, RangeError for a wrong dtype or shape, or options out of range
 * @see Huang et al., "Harder Tasks Need More Experts: Dynamic Routing in MoE Models"
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { ready, topPRouting } from 'linnet';
 *
 * await ready();
 * const logits = randomNormal([64, 8]);
 * const { weights, indices } = topPRouting(logits, { topP: 0.5, maxExperts: 4 }); // weights [64, 4], indices [64, 4]
 * ```
 */
export function topPRouting(logits: Tensor, options: TopPRoutingOptions = {}): Routing {
  const { topP = 0.4, maxExperts = logits?.shape?.at(-1) ?? 1, normTopkProb = false } = options;
  if (!(topP > 0)) throw new RangeError(`topPRouting: topP is ${topP}; expected a positive number`);
  return tidy(() => {
    const all = topkRouting(logits, { topK: maxExperts });
    const probability = all.weights.dataSync();
    const kept = Int32Array.from(all.indices.dataSync());
    for (let first = 0; first < kept.length; first += maxExperts) {
      let sum = 0;
      for (let i = first; i < first + maxExperts; i++) {
        if (sum >= topP) kept[i] = -1;
        sum += probability[i];
      }
    }
    const indices = tensor(kept, all.indices.shape, 'int32');
    const attrs = { scoring: 'softmax', normalize: normTopkProb, scale: 1 } as const;
    return { weights: weightsOfChosen(logits, indices, attrs), indices };
  });
}
