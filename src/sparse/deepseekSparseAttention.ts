import { reshape, type Tensor } from '@tensorflow/tfjs-core';
import { tidied } from '../op/tidied';
import { checkFinite, checkMultiple, checkShapes } from '../tensor/shape';
import { attendOver } from './attendOver';
import { checkChoices, chooseBlocks } from './choose';
import { chosenTable } from './chosenTable';

export interface DeepseekSparseAttentionOptions {
  /** Tokens a query sees; default 2048. */
  topk?: number;
  /** Default `D ** -0.5`. */
  scale?: number;
  /** Scale of the indexer's products; default `DI ** -0.5`. */
  indexScale?: number;
  /** Return `{ output, indices }`, indices int32 `[B, T, topk]`, ascending, -1 last. */
  returnIndices?: boolean;
}

export interface DeepseekSparseAttentionResult {
  /** `[B, T, Hq, Dv]` */
  output: Tensor;
  /** int32 `[B, T, topk]` */
  indices: Tensor;
}

/**
 * DeepSeek sparse attention: a lightning indexer scores every token,
 * `score[t, s] = sum over h of wIdx[t, h] relu(indexScale qIdx[t, h] . kIdx[s])`,
 * and query t of every head attends to the `topk` tokens s <= t with the greatest scores, ties to the earlier one.
 *
 * Differentiable in q, k and v; the choice carries no gradient. With topk >= T it is causal attention.
 *
 * @param q `[B, T, Hq, D]`
 * @param k `[B, T, Hkv, D]`
 * @param v `[B, T, Hkv, Dv]`
 * @param qIdx `[B, T, HI, DI]`, queries of the indexer
 * @param kIdx `[B, T, DI]`, its keys, shared by its heads
 * @param wIdx `[B, T, HI]`, weights of its heads
 * @returns `[B, T, Hq, Dv]`, or `{ output, indices }` with `returnIndices: true`
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see DeepSeek-AI, "DeepSeek-V3.2: Pushing the Frontier of Open Large Language Models", equations 1 and 2
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { deepseekSparseAttention, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 128, 4, 32]);
 * const k = randomNormal([1, 128, 2, 32]);
 * const v = randomNormal([1, 128, 2, 32]);
 * const qIdx = randomNormal([1, 128, 2, 16]);
 * const kIdx = randomNormal([1, 128, 16]);
 * const wIdx = randomNormal([1, 128, 2]);
 * const output = deepseekSparseAttention(q, k, v, qIdx, kIdx, wIdx, { topk: 32 }); // [1, 128, 4, 32]
 * ```
 */
export function deepseekSparseAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  qIdx: Tensor,
  kIdx: Tensor,
  wIdx: Tensor,
  options: DeepseekSparseAttentionOptions & { returnIndices: true },
): DeepseekSparseAttentionResult;
export function deepseekSparseAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  qIdx: Tensor,
  kIdx: Tensor,
  wIdx: Tensor,
  options?: DeepseekSparseAttentionOptions,
): Tensor;
export function deepseekSparseAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  qIdx: Tensor,
  kIdx: Tensor,
  wIdx: Tensor,
  options: DeepseekSparseAttentionOptions = {},
): Tensor | DeepseekSparseAttentionResult {
  const op = 'deepseekSparseAttention';
  const { B, T, Hq, D, Hkv, DI } = checkShapes(op, [
    ['q', q, 'B T Hq D'],
    ['k', k, 'B T Hkv D'],
    ['v', v, 'B T Hkv Dv'],
    ['qIdx', qIdx, 'B T HI DI'],
    ['kIdx', kIdx, 'B T DI'],
    ['wIdx', wIdx, 'B T HI'],
  ]);
  checkMultiple(op, 'Hq', Hq, 'Hkv', Hkv);
  const { topk = 2048, scale = D ** -0.5, indexScale = DI ** -0.5 } = options;
  if (!Number.isInteger(topk) || topk < 1)
    throw new RangeError(`${op}: topk must be a positive integer; got ${topk}`);
  checkChoices(op, 'topk', topk, B * T, `T = ${T}`);
  checkFinite(op, 'scale', scale);
  checkFinite(op, 'indexScale', indexScale);

  return tidied(() => {
    const { output, chosen } = attendToChosen(
      { q, k, v },
      { q: qIdx, k: reshape(kIdx, [B, T, 1, DI]), weights: wIdx },
      { topk, scale, indexScale, queryOffset: 0 },
    );
    return options.returnIndices ? { output, indices: reshape(chosen, [B, T, topk]) } : output;
  });
}

/**
 * Attention of queries, the first at position `queryOffset`, to the tokens that the indexer chooses among those up to their
 * own. Keys `[B, Tkv, ...]` and those of the indexer `[B, Tkv, 1, DI]` may go on behind the last query.
 */
export function attendToChosen(
  { q, k, v }: { q: Tensor; k: Tensor; v: Tensor },
  index: { q: Tensor; k: Tensor; weights: Tensor },
  options: { topk: number; scale: number; indexScale: number; queryOffset: number },
): { output: Tensor; chosen: Tensor } {
  const { topk, scale, indexScale, queryOffset } = options;
  const [B, T] = q.shape as [number, number];
  const plan = new Int32Array(3 * T);
  for (let i = 0; i < T; i++) plan.set([0, queryOffset + i + 1, -1], 3 * i);
  const [chosen] = chooseBlocks.run(index, { by: 'relu', scale: indexScale, sets: 1, count: topk, plan });
  const sizes = { B, T, H: 1, S: topk, Tkv: k.shape[1]! };
  const table = chosenTable(chosen.dataSync() as Int32Array, sizes);
  return { output: attendOver(q, k, v, table, scale), chosen };
}
