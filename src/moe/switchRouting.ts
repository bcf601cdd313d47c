import { type Tensor, tensor, tidy } from '@tensorflow/tfjs-core';
import { checkShapes } from '../tensor/shape';
import type { Routing } from './moeMlp';
import { leadingAxes } from './routerLogits';
import { weightsOfChosen } from './routingWeights';
import { topkRouting } from './topkRouting';

export interface SwitchRoutingOptions {
  /** Tokens an expert takes of each sequence; default `ceil(capacityFactor * T / E)`, or all without a factor. */
  capacity?: number;
  capacityFactor?: number;
}

/**
 * Top-1 routing with a capacity: every token goes to `e = argmax(logits)` with the weight `softmax(logits)[e]`.
 * An expert serves the tokens of a sequence in their order; those that come when it is full are dropped: index -1,
 * weight 0, and nothing but the residual stream goes on from there.
 *
 * @param logits `[..., T, E]`
 * @returns weights `[..., T, 1]` and indices `[..., T, 1]` int32
 * @throws TypeError, RangeError for a wrong dtype or shape, or a capacity below 0
 * @see Fedus et al., "Switch Transformers: Scaling to Trillion Parameter Models with Simple and Efficient Sparsity"
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { ready, switchRouting } from 'linnet';
 *
 * await ready();
 * const logits = randomNormal([1, 64, 8]);
 * const { weights, indices } = switchRouting(logits, { capacityFactor: 1.25 }); // weights [1, 64, 1], indices [1, 64, 1]
 * ```
 */
export function switchRouting(logits: Tensor, options: SwitchRoutingOptions = {}): Routing {
  checkShapes('switchRouting', [['logits', logits, `${leadingAxes(logits)} E`.trim()]]);
  const [T, E] = logits.shape.length > 1 ? logits.shape.slice(-2) : [1, logits.shape[0]];
  const {
    capacityFactor,
    capacity = capacityFactor === undefined ? T : Math.ceil((capacityFactor * T) / E),
  } = options;
  if (!(capacity >= 0)) throw new RangeError(`switchRouting: capacity is ${capacity}; expected 0 or more`);
  return tidy(() => {
    const best = topkRouting(logits, { topK: 1 }).indices;
    const kept = Int32Array.from(best.dataSync());
    for (let first = 0; first < kept.length; first += T) {
      const load = new Int32Array(E);
      for (let t = first; t < first + T; t++) if (load[kept[t]]++ >= capacity) kept[t] = -1;
    }
    const indices = tensor(kept, best.shape, 'int32');
    return { weights: weightsOfChosen(logits, indices, SOFTMAX), indices };
  });
}

const SOFTMAX = { scoring: 'softmax', normalize: false, scale: 1 } as const;
