import type { Tensor } from '@tensorflow/tfjs-core';
import { tidied } from '../op/tidied';
import { checkFinite, checkMultiple, checkObject, checkShapes } from '../tensor/shape';
import { attendOver, checkPositive, pairTable } from './attendOver';
import { greatest } from './cachePolicies';
import { gatedSum } from './gatedSum';

export interface MosaAttentionOptions {
  /** Tokens each head chooses. */
  topk: number;
  /** Default `D ** -0.5`. */
  scale?: number;
}

/**
 * Mixture of sparse attention: each head chooses the `topk` tokens it scores highest, which attend causally to one another,
 * `output[i] = scores[i] softmax(scale q_i k^T) v` over chosen tokens up to i; the others get zeros.
 *
 * Differentiable in q, k, v and scores. With topk >= T and scores of 1 it is causal attention.
 *
 * @param q `[B, T, Hq, D]`
 * @param k `[B, T, Hkv, D]`
 * @param v `[B, T, Hkv, Dv]`
 * @param scores `[B, T, Hq]`, of a router, after its sigmoid; of equal ones the earlier token is chosen
 * @returns `[B, T, Hq, Dv]`
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see Piekos et al., "Mixture of Sparse Attention: Content-Based Learnable Sparse Attention via Expert-Choice Routing"
 * @example
 * ```ts
 * import { randomNormal, randomUniform } from '@tensorflow/tfjs-core';
 * import { mosaAttention, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 128, 4, 32]);
 * const k = randomNormal([1, 128, 2, 32]);
 * const v = randomNormal([1, 128, 2, 32]);
 * const scores = randomUniform([1, 128, 4]);
 * const output = mosaAttention(q, k, v, scores, { topk: 32 }); // [1, 128, 4, 32]
 * ```
 */
export function mosaAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  scores: Tensor,
  options: MosaAttentionOptions,
): Tensor {
  const op = 'mosaAttention';
  const { B, T, Hq, D, Hkv } = checkShapes(op, [
    ['q', q, 'B T Hq D'],
    ['k', k, 'B T Hkv D'],
    ['v', v, 'B T Hkv Dv'],
    ['scores', scores, 'B T Hq'],
  ]);
  checkMultiple(op, 'Hq', Hq, 'Hkv', Hkv);
  checkObject(op, 'options', options, '{ topk, ... }');
  const { topk, scale = D ** -0.5 } = options;
  checkPositive(op, { topk });
  checkFinite(op, 'scale', scale);
  const values = scores.dataSync();
  const table = pairTable({ B, H: Hq, Tq: T, Tkv: T }, (b, h, see) => {
    const tokens = greatest(
      Array.from({ length: T }, (_, t) => values[(b * T + t) * Hq + h]),
      topk,
    );
    for (const i of tokens) for (const j of tokens) if (j <= i) see(i, j);
  });
  return tidied(() => gatedSum([{ x: attendOver(q, k, v, table, scale), gate: scores }]));
}
