import { type Tensor, tensor, tidy } from '@tensorflow/tfjs-core';
import { checkObject, checkShapes } from '../tensor/shape';
import type { Routing } from './moeMlp';
import { checkIndices } from './plan';
import { gatherRows, scatterRows } from './tokens';

export interface MixtureOfHeadsOptions {
  /** `[..., S]`: weights of the first S heads, which every token uses besides the chosen ones. */
  shared?: Tensor;
}

/**
 * Attention heads as experts: of the outputs of all heads a token keeps the chosen ones, times their weights,
 * `y_h = weight_h heads_h`; the others are zero. What follows is the usual output projection.
 *
 * @param heads `[..., H, D]`, what attention gave
 * @param routing weights and indices `[..., k]`, the indices heads; -1 for none
 * @returns `[..., H, D]`
 * @throws TypeError, RangeError for a wrong dtype or shape, or an index that names no head
 * @see Jin et al., "MoH: Multi-Head Attention as Mixture-of-Head Attention", equations 5 to 7
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { mixtureOfHeads, ready, topkRouting } from 'linnet';
 *
 * await ready();
 * const heads = randomNormal([1, 64, 8, 16]);
 * const logits = randomNormal([1, 64, 8]);
 * const output = mixtureOfHeads(heads, topkRouting(logits, { topK: 4 })); // [1, 64, 8, 16]
 * ```
 */
export function mixtureOfHeads(heads: Tensor, routing: Routing, options: MixtureOfHeadsOptions = {}): Tensor {
  checkObject('mixtureOfHeads', 'routing', routing, '{ weights, indices }');
  const { weights, indices } = routing;
  const { shared } = options;
  const axes = Array.from({ length: Math.max(2, heads?.shape?.length ?? 2) - 2 }, (_, i) => `N${i}`).join(
    ' ',
  );
  const { H, S = 0 } = checkShapes('mixtureOfHeads', [
    ['heads', heads, `${axes} H D`.trim()],
    ['indices', indices, `${axes} k`.trim(), 'int32'],
    ['weights', weights, `${axes} k`.trim()],
    ['shared?', shared, `${axes} S`.trim()],
  ]) as { H: number; S?: number };
  const chosen = checkIndices('mixtureOfHeads', 'indices', indices, H, 'heads', -1);
  if (S > H)
    throw new RangeError(`mixtureOfHeads: shared weighs ${S} heads; expected at most ${H} (H from heads)`);
  return tidy(() => {
    const k = indices.shape.at(-1)!;
    const scaled = (weight: Tensor, rows: Int32Array, residual?: Tensor) => {
      const places = tensor(rows, weight.shape, 'int32');
      return scatterRows(gatherRows(heads, places), weight, places, heads.shape, residual);
    };
    const routed = scaled(
      weights,
      chosen.map((head, i) => (head < 0 ? -1 : Math.floor(i / k) * H + head)),
    );
    if (shared === undefined) return routed;
    const always = Int32Array.from({ length: shared.size }, (_, i) => Math.floor(i / S) * H + (i % S));
    return scaled(shared, always, routed);
  });
}
