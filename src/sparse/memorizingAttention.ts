import type { Tensor } from '@tensorflow/tfjs-core';
import { scaledDotProductAttention } from '../attention/scaledDotProductAttention';
import { tidied } from '../op/tidied';
import { checkFinite, checkMultiple, checkShapes } from '../tensor/shape';
import { attendOver, checkPositive } from './attendOver';
import { chooseBlocks } from './choose';
import { chosenTable } from './chosenTable';
import { gatedSum } from './gatedSum';

export interface MemorizingAttentionOptions {
  /** Memories a query of a head sees; default 32. */
  topk?: number;
  /** Default `D ** -0.5`. */
  scale?: number;
}

/**
 * Attention to a memory by exact nearest neighbours, beside local causal attention:
 * `output = gMemory softmax(scale q kM^T) vM + gLocal softmax(scale q k^T) v`, the first over the `topk` memories with the
 * greatest q . kM of each query and head, ties to the earlier one. The paper has `gLocal = 1 - gMemory`.
 *
 * Differentiable in everything but the choice.
 *
 * @param q `[B, T, Hq, D]`
 * @param k `[B, T, Hkv, D]`
 * @param v `[B, T, Hkv, Dv]`
 * @param memoryKeys `[B, M, Hkv, D]`
 * @param memoryValues `[B, M, Hkv, Dv]`
 * @param gMemory `[B, T, Hq]`
 * @param gLocal `[B, T, Hq]`
 * @returns `[B, T, Hq, Dv]`
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see Wu et al., "Memorizing Transformers", section 3; Bertsch et al., "Unlimiformer"
 * @example
 * ```ts
 * import { randomNormal, randomUniform } from '@tensorflow/tfjs-core';
 * import { memorizingAttention, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 128, 4, 32]);
 * const k = randomNormal([1, 128, 2, 32]);
 * const v = randomNormal([1, 128, 2, 32]);
 * const memoryKeys = randomNormal([1, 512, 2, 32]);
 * const memoryValues = randomNormal([1, 512, 2, 32]);
 * const gMemory = randomUniform([1, 128, 4]);
 * const gLocal = randomUniform([1, 128, 4]);
 * const output = memorizingAttention(q, k, v, memoryKeys, memoryValues, gMemory, gLocal, { topk: 8 }); // [1, 128, 4, 32]
 * ```
 */
export function memorizingAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  memoryKeys: Tensor,
  memoryValues: Tensor,
  gMemory: Tensor,
  gLocal: Tensor,
  options: MemorizingAttentionOptions = {},
): Tensor {
  const op = 'memorizingAttention';
  const { B, T, Hq, D, Hkv, M } = checkShapes(op, [
    ['q', q, 'B T Hq D'],
    ['k', k, 'B T Hkv D'],
    ['v', v, 'B T Hkv Dv'],
    ['memoryKeys', memoryKeys, 'B M Hkv D'],
    ['memoryValues', memoryValues, 'B M Hkv Dv'],
    ['gMemory', gMemory, 'B T Hq'],
    ['gLocal', gLocal, 'B T Hq'],
  ]);
  checkMultiple(op, 'Hq', Hq, 'Hkv', Hkv);
  const { topk = 32, scale = D ** -0.5 } = options;
  checkPositive(op, { topk });
  checkFinite(op, 'scale', scale);
  const plan = new Int32Array(3 * T);
  for (let i = 0; i < T; i++) plan.set([0, M, -1], 3 * i);
  const count = Math.min(topk, Math.max(1, M));
  const attrs = { by: 'score', scale: 1, sets: Hq, count, plan } as const;
  return tidied(() => {
    const [chosen] = chooseBlocks.run({ q, k: memoryKeys }, attrs);
    const sizes = { B, T, H: Hq, S: count, Tkv: M };
    const table = chosenTable(chosen.dataSync() as Int32Array, sizes);
    return gatedSum([
      { x: attendOver(q, memoryKeys, memoryValues, table, scale), gate: gMemory },
      { x: scaledDotProductAttention(q, k, v, { isCausal: true, scale }), gate: gLocal },
    ]);
  });
}
