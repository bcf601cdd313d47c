import { type Tensor, tensor, tidy } from '@tensorflow/tfjs-core';
import { checkShapes } from '../tensor/shape';
import type { Routing } from './moeMlp';
import { checkIndices } from './plan';
import { leadingAxes } from './routerLogits';
import { gatherRows, scatterRows } from './tokens';

export interface ZeroComputationOptions {
  /** Experts that compute; the indices after them are zero, then copy, then constant experts. */
  numExperts: number;
  /** Null experts, which give 0 (AdaMoE); default 0. */
  numZero?: number;
  /** Experts that give the token itself; default 0. */
  numCopy?: number;
  /** `[C, D]`: experts that give a learned vector each. */
  constants?: Tensor;
  /** `[..., D]`, added to the output. */
  residual?: Tensor;
}

/**
 * Experts that cost nothing, chosen like any other: null experts give 0, copy experts `weight * x`, constant experts
 * `weight * v`. A token that needs little picks them, so the number of experts that compute varies by token. Returns
 * what they give, and the routing of the experts that do compute, with -1 in place of the others:
 *
 * ```ts
 * const { output, routing } = zeroComputationExperts(hidden, topkRouting(logits, { topK: 4 }), { numExperts, numZero: 8 });
 * const y = moeMlp(hidden, experts, routing, { residual: output });
 * ```
 *
 * @param hidden `[..., D]`
 * @param routing weights and indices `[..., k]` over all experts, those that compute first
 * @throws TypeError, RangeError for a wrong dtype or shape, or an index that names no expert
 * @see Zeng et al., "AdaMoE"; Jin et al., "MoE++: Accelerating Mixture-of-Experts Methods with Zero-Computation Experts"
 */
export function zeroComputationExperts(
  hidden: Tensor,
  routing: Routing,
  options: ZeroComputationOptions,
): { output: Tensor; routing: Routing } {
  const { numExperts, numZero = 0, numCopy = 0, constants, residual } = options;
  const { weights, indices } = routing;
  const axes = leadingAxes(hidden);
  const { k, C = 0 } = checkShapes('zeroComputationExperts', [
    ['hidden', hidden, `${axes} D`.trim()],
    ['indices', indices, `${axes} k`.trim(), 'int32'],
    ['weights', weights, `${axes} k`.trim()],
    ['constants', constants, 'C D'],
    ['residual', residual, `${axes} D`.trim()],
  ]) as { k: number; C?: number };
  const firstCopy = numExperts + numZero;
  const firstConstant = firstCopy + numCopy;
  const chosen = checkIndices('zeroComputationExperts', 'indices', indices, firstConstant + C, 'experts', -1);
  const table = (entry: (expert: number, token: number) => number) =>
    tensor(
      chosen.map((expert, i) => entry(expert, Math.floor(i / k))),
      indices.shape,
      'int32',
    );
  return tidy(() => {
    const toToken = (is: (expert: number) => boolean) => table((expert, token) => (is(expert) ? token : -1));
    const copied = toToken((expert) => expert >= firstCopy && expert < firstConstant);
    let output = scatterRows(gatherRows(hidden, copied), weights, copied, hidden.shape, residual);
    if (constants !== undefined) {
      const vectors = gatherRows(
        constants,
        table((expert) => Math.max(-1, expert - firstConstant)),
      );
      output = scatterRows(
        vectors,
        weights,
        toToken((expert) => expert >= firstConstant),
        hidden.shape,
        output,
      );
    }
    return { output, routing: { weights, indices: table((expert) => (expert < numExperts ? expert : -1)) } };
  });
}
