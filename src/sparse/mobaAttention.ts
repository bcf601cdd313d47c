import type { Tensor } from '@tensorflow/tfjs-core';
import { bounds as packedBounds } from '../attention/scaledDotProductAttention';
import { tidied } from '../op/tidied';
import type { Integers } from '../tensor/integers';
import { checkFinite, checkMultiple, checkShapes } from '../tensor/shape';
import { attendOver } from './attendOver';
import { blockMeans } from './blockMeans';
import { chooseBlocks } from './choose';
import { chosenTable } from './chosenTable';

export interface MobaAttentionOptions {
  /** Keys of a chunk; default 512. */
  chunkSize?: number;
  /** Chunks a query sees, its own included; default 3. */
  topk?: number;
  /** Default `D ** -0.5`. */
  scale?: number;
  /** Bounds of packed sequences from 0 to T; B must be 1. Chunks begin anew with each sequence. */
  cuSeqlens?: Integers;
}

/**
 * Mixture of block attention: each query of each head sees its own chunk causally and the `topk - 1` earlier chunks of
 * its sequence with the greatest `q . mean(k)`. Differentiable in q, k and v; the choice carries no gradient. With as
 * many chunks chosen as there are it is causal attention.
 *
 * @param q `[B, T, Hq, D]`
 * @param k `[B, T, Hkv, D]`
 * @param v `[B, T, Hkv, Dv]`
 * @returns `[B, T, Hq, Dv]`
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see Lu et al., "MoBA: Mixture of Block Attention for Long-Context LLMs", equations 2 to 6
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { mobaAttention, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 128, 4, 32]);
 * const k = randomNormal([1, 128, 2, 32]);
 * const v = randomNormal([1, 128, 2, 32]);
 * const output = mobaAttention(q, k, v, { chunkSize: 32, topk: 2 }); // [1, 128, 4, 32]
 * ```
 */
export function mobaAttention(q: Tensor, k: Tensor, v: Tensor, options: MobaAttentionOptions = {}): Tensor {
  const op = 'mobaAttention';
  const { B, T, Hq, D, Hkv } = checkShapes(op, [
    ['q', q, 'B T Hq D'],
    ['k', k, 'B T Hkv D'],
    ['v', v, 'B T Hkv Dv'],
  ]);
  checkMultiple(op, 'Hq', Hq, 'Hkv', Hkv);
  const { chunkSize = 512, topk = 3, scale = D ** -0.5, cuSeqlens } = options;
  for (const [name, value] of Object.entries({ chunkSize, topk })) {
    if (!Number.isInteger(value) || value < 1)
      throw new RangeError(`${op}: ${name} must be a positive integer; got ${value}`);
  }
  checkFinite(op, 'scale', scale);
  if (cuSeqlens !== undefined && B !== 1)
    throw new RangeError(`${op}: cuSeqlens needs sequences packed along T with B = 1; got B = ${B}`);
  const sequences = cuSeqlens === undefined ? [0, T] : packedBounds(op, 'cuSeqlens', cuSeqlens, T, 'T');

  const chunks: number[] = [];
  const plan = new Int32Array(3 * T);
  for (let s = 0; s + 1 < sequences.length; s++) {
    const first = chunks.length / 2;
    for (let lo = sequences[s]; lo < sequences[s + 1]; lo += chunkSize) {
      const hi = Math.min(lo + chunkSize, sequences[s + 1]);
      const own = chunks.length / 2;
      for (let i = lo; i < hi; i++) plan.set([first, own, own], 3 * i);
      chunks.push(lo, hi);
    }
  }
  const bounds = Int32Array.from(chunks);
  const count = Math.min(topk, Math.max(1, bounds.length / 2));
  return tidied(() => {
    const means = blockMeans(k, bounds);
    const [chosen] = chooseBlocks.run({ q, k: means }, { by: 'score', scale: 1, sets: Hq, count, plan });
    const table = chosenTable(chosen.dataSync() as Int32Array, { B, T, H: Hq, S: count, Tkv: T }, bounds);
    return attendOver(q, k, v, table, scale);
  });
}
