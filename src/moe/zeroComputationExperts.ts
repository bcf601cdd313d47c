import { type Tensor, tensor, tidy } from '@tensorflow/tfjs-core';
import { checkObject, checkShapes } from '../tensor/shape';
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
 * what they give, and the routing of the experts that do compute, with -1 in place of the others, which `moeMlp` takes.
 *
 * @param hidden `[..., D]`
 * @param routing weights and indices `[..., k]` over all experts, those that compute first
 * @returns `{ output, routing }`, output `[..., D]`
 * @throws TypeError, RangeError for a wrong dtype or shape, or an index that names no expert
 * @see Zeng et al., "AdaMoE"; Jin et al., "MoE++: Accelerating Mixture-of-Experts Methods with Zero-Computation Experts"
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { moeMlp, ready, topkRouting, zeroComputationExperts } from 'linnet';
 *
 * await ready();
 * const hidden = randomNormal([64, 32]);
 * const logits = randomNormal([64, 12]);
 * const gateUp = randomNormal([8, 96, 32]);
 * const down = randomNormal([8, 32, 48]);
 * const all = topkRouting(logits, { topK: 4 }); // 8 experts that compute, then 4 that give 0
 * const { output, routing } = zeroComputationExperts(hidden, all, { numExperts: 8, numZero: 4 });
 * const y = moeMlp(hidden, { gateUp, down }, routing, { residual: output }); // [64, 32]
 * ```
 */
export function zeroComputationExperts(
  hidden: Tensor,
  routing: Routing,
  options: ZeroComputationOptions,
): { output: Tensor; routing: Routing } {
  checkObject('zeroComputationExperts', 'routing', routing, '{ weights, indices }');
  checkObject('zeroComputationExperts', 'options', options, '{ numExperts, ... }');
  const { numExperts, numZero = 0, numCopy = 0, constants, residual } = options;
  const { weights, indices } = routing;
  const axes = leadingAxes(hidden);
  const { k, C = 0 } = checkShapes('zeroComputationExperts', [
    ['hidden', hidden, `${axes} D`.trim()],
    ['indices', indices, `${axes} k`.trim(), 'int32'],
    ['weights', weights, `${axes} k`.trim()],
    ['constants?', constants, 'C D'],
    ['residual?', residual, `${axes} D`.trim()],
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
