import { fill, type Tensor, tensor } from '@tensorflow/tfjs-core';
import { checkObject, checkShapes } from '../tensor/shape';
import type { Routing } from './moeMlp';

/** 256 MiB of indices and as much of weights. */
const MOST_CHOICES = 2 ** 26;

export interface HashRoutingOptions {
  numExperts: number;
  /** Distinct experts per token, each with weight 1 / topK; default 1. */
  topK?: number;
  /** Another seed, another assignment; default 0. */
  seed?: number;
}

/** A 32-bit integer whose bits all depend on all bits of x. */
function mix(x: number): number {
  let h = x | 0;
  h = Math.imul(h ^ (h >>> 16), 0x7feb352d);
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
  return (h ^ (h >>> 16)) >>> 0;
}

/**
 * A fixed expert for every entry of the vocabulary, `e = hash(id, seed) mod numExperts`: nothing to learn, nothing to balance.
 *
 * @param tokenIds `[...]` int32
 * @returns weights `[..., topK]`, all `1 / topK`, and indices `[..., topK]` int32
 * @throws TypeError, RangeError for a wrong dtype or more experts per token than there are
 * @see Roller et al., "Hash Layers For Large Sparse Models"
 * @example
 * ```ts
 * import { tensor } from '@tensorflow/tfjs-core';
 * import { hashRouting, ready } from 'linnet';
 *
 * await ready();
 * const tokenIds = tensor([7, 7, 12], [3], 'int32');
 * const { indices } = hashRouting(tokenIds, { numExperts: 64 }); // indices [3, 1]
 * ```
 */
export function hashRouting(tokenIds: Tensor, options: HashRoutingOptions): Routing {
  checkObject('hashRouting', 'options', options, '{ numExperts, ... }');
  const { numExperts, topK = 1, seed = 0 } = options;
  checkShapes('hashRouting', [
    ['tokenIds', tokenIds, tokenIds?.shape?.map((_, i) => `N${i}`).join(' ') ?? '', 'int32'],
  ]);
  if (!(Number.isInteger(numExperts) && numExperts >= 1)) {
    throw new RangeError(`hashRouting: numExperts is ${numExperts}; expected a whole number of at least 1`);
  }
  if (!(Number.isInteger(topK) && topK >= 1 && topK <= numExperts)) {
    throw new RangeError(`hashRouting: topK is ${topK}; expected 1 to ${numExperts} (numExperts)`);
  }
  if (numExperts >= 2 ** 31)
    throw new RangeError(`hashRouting: numExperts is ${numExperts}; expected less than 2 ** 31`);
  if (tokenIds.size * topK > MOST_CHOICES) {
    throw new RangeError(
      `hashRouting: topK is ${topK} for ${tokenIds.size} tokens; expected at most ${MOST_CHOICES} choices in all`,
    );
  }
  const ids = tokenIds.dataSync();
  const indices = new Int32Array(ids.length * topK);
  ids.forEach((id, n) => {
    const first = mix(id ^ mix(seed)) % numExperts;
    // a step without a factor in common with E comes to every expert
    let step = numExperts > 1 ? 1 + (mix(id + seed + 1) % (numExperts - 1)) : 1;
    while (commonFactor(step, numExperts) > 1) step++;
    for (let j = 0; j < topK; j++) indices[n * topK + j] = (first + j * step) % numExperts;
  });
  const shape = [...tokenIds.shape, topK];
  return { weights: fill(shape, 1 / topK), indices: tensor(indices, shape, 'int32') };
}

function commonFactor(a: number, b: number): number {
  return b === 0 ? a : commonFactor(b, a % b);
}
