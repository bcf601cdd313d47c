import type { Tensor } from '@tensorflow/tfjs-core';
import { gatherTokens } from '../../moe/tokens';

/**
 * The rows of `weight` `[V, C]` that int32 `ids` `[...]` name: `[..., C]`. Its gradient needs nothing but linnet.
 *
 * @throws TypeError, RangeError for a wrong dtype or shape, or an id out of range
 */
export function embedding(ids: Tensor, weight: Tensor): Tensor {
  return gatherTokens(weight, ids);
}
