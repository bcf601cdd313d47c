import type { Tensor } from '@tensorflow/tfjs-core';
import { checkIndices } from './plan';

export interface RoutingStats {
  /** Choices of each expert. */
  load: number[];
  /** The same as shares of all choices. */
  fraction: number[];
  /** Entropy of `fraction` in parts of its greatest value: 1 is even, 0 is one expert for everything. */
  entropy: number;
  /** Load of the busiest expert over the mean load, less 1. */
  maxViolation: number;
  /** Standard deviation of the load over its mean. */
  coefficientOfVariation: number;
  /** Experts that nobody chose. */
  unused: number;
  /** Choices of -1: tokens over capacity, or slots a token did not use. */
  dropped: number;
  /** Tokens without any expert. */
  unrouted: number;
}

/**
 * What one plots while a router trains.
 *
 * @param indices `[..., k]` int32, -1 for none
 * @param numExperts E
 * @throws RangeError for an index that names no expert
 */
export function routingStats(indices: Tensor, numExperts: number): RoutingStats {
  const values = checkIndices('routingStats', 'indices', indices, numExperts, 'experts', -1);
  const k = indices.shape.at(-1)!;
  const load = Array<number>(numExperts).fill(0);
  let unrouted = 0;
  for (let row = 0; row < values.length; row += k) {
    const chosen = values.subarray(row, row + k).filter((e) => e >= 0);
    for (const e of chosen) load[e]++;
    if (chosen.length === 0) unrouted++;
  }
  const total = load.reduce((a, b) => a + b, 0);
  const mean = total / numExperts;
  const fraction = load.map((count) => (total === 0 ? 0 : count / total));
  const entropy = fraction.reduce((sum, f) => (f === 0 ? sum : sum - f * Math.log(f)), 0);
  const variance = load.reduce((sum, count) => sum + (count - mean) ** 2, 0) / numExperts;
  return {
    load,
    fraction,
    entropy: numExperts > 1 ? entropy / Math.log(numExperts) : 1,
    maxViolation: total === 0 ? 0 : Math.max(...load) / mean - 1,
    coefficientOfVariation: total === 0 ? 0 : Math.sqrt(variance) / mean,
    unused: load.filter((count) => count === 0).length,
    dropped: values.length - total,
    unrouted,
  };
}
