import { engine, type Tensor, tensor } from '@tensorflow/tfjs-core';
import { exactValues, type ReadWrite } from '../op/exact';
import { checkShapes } from '../tensor/shape';
import type { Routing } from './moeMlp';
import { leadingAxes } from './routerLogits';
import { weightsOfChosen } from './routingWeights';

/** Far more than balancing takes; a call must end. */
const MOST_ITERATIONS = 10_000;

export interface SinkhornRoutingOptions {
  /** Experts per token; default 1. */
  topK?: number;
  /** Of the weights, which the balancing does not touch; default `'sigmoid'` for one expert, else `'softmax'`. */
  scoring?: 'softmax' | 'sigmoid';
  /** At most so many rounds of scaling, 1 to 10000; default 100. */
  iterations?: number;
  /** Scaling ends when the experts' factors change by at most this in the mean; default 1e-4. 0 takes every round unless they stand still. */
  tolerance?: number;
}

/**
 * Chooses by a balanced version of the scores: `e^logits` is scaled by a factor per token and one per expert until every
 * token gives 1 / N and every expert receives 1 / E, and each token takes the `topK` greatest of the result, ties to the
 * lower index. Weights are scores of the plain logits.
 *
 * @param logits `[..., E]`; all tokens of the batch are balanced together
 * @returns weights `[..., topK]` and indices `[..., topK]` int32
 * @throws TypeError, RangeError for a wrong dtype or shape, more experts per token than there are, or a wrong `iterations` or `tolerance`
 * @see Clark et al., "Unified Scaling Laws for Routed Language Models", appendix B
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { ready, sinkhornRouting } from 'linnet';
 *
 * await ready();
 * const logits = randomNormal([64, 8]);
 * const { weights, indices } = sinkhornRouting(logits, { topK: 2 }); // weights [64, 2], indices [64, 2]
 * ```
 */
export function sinkhornRouting(logits: Tensor, options: SinkhornRoutingOptions = {}): Routing {
  const {
    topK = 1,
    scoring = topK === 1 ? 'sigmoid' : 'softmax',
    iterations = 100,
    tolerance = 1e-4,
  } = options;
  const { E } = checkShapes('sinkhornRouting', [['logits', logits, `${leadingAxes(logits)} E`.trim()]]) as {
    E: number;
  };
  if (!(Number.isInteger(topK) && topK >= 1 && topK <= E)) {
    throw new RangeError(`sinkhornRouting: topK is ${topK}; expected 1 to ${E} (E)`);
  }
  if (!(Number.isInteger(iterations) && iterations >= 1 && iterations <= MOST_ITERATIONS)) {
    throw new RangeError(`sinkhornRouting: iterations is ${iterations}; expected 1 to ${MOST_ITERATIONS}`);
  }
  if (!(tolerance >= 0 && tolerance < Infinity)) {
    throw new RangeError(
      `sinkhornRouting: tolerance is ${tolerance}; expected a finite number of at least 0`,
    );
  }
  const values = exactValues(logits, engine().backend as unknown as ReadWrite);
  const ofExpert = expertFactors(values, E, iterations, tolerance);
  const N = values.length / E;
  const indices = new Int32Array(N * topK);
  for (let n = 0; n < N; n++) {
    const score = (e: number) => values[n * E + e] + Math.log(ofExpert[e]);
    const order = Array.from({ length: E }, (_, e) => e).sort((a, b) => score(b) - score(a) || a - b);
    indices.set(order.slice(0, topK), n * topK);
  }
  const chosen = tensor(indices, [...logits.shape.slice(0, -1), topK], 'int32');
  return {
    weights: weightsOfChosen(logits, chosen, { scoring, normalize: false, scale: 1 }),
    indices: chosen,
  };
}

/** The factor of each expert; a token's own factor does not change its choice. */
function expertFactors(logits: Float64Array, E: number, iterations: number, tolerance: number): Float64Array {
  const N = logits.length / E;
  const cost = new Float64Array(logits.length);
  for (let n = 0; n < N; n++) {
    const best = logits
      .subarray(n * E, (n + 1) * E)
      .reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    for (let e = 0; e < E; e++) cost[n * E + e] = Math.exp(logits[n * E + e] - best);
  }
  let factors = new Float64Array(E).fill(1);
  for (let i = 0, change = Number.POSITIVE_INFINITY; i < iterations && change > tolerance; i++) {
    const received = new Float64Array(E);
    for (let n = 0; n < N; n++) {
      let given = 0;
      for (let e = 0; e < E; e++) given += factors[e] * cost[n * E + e];
      for (let e = 0; e < E; e++) received[e] += cost[n * E + e] / (N * given);
    }
    const next = received.map((r) => 1 / (E * r));
    change = next.reduce((sum, f, e) => sum + Math.abs(f - factors[e]), 0) / E;
    factors = Float64Array.from(next);
  }
  return factors;
}
