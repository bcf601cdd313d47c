import type { Tensor } from '@tensorflow/tfjs-core';
import { checkShapes } from '../tensor/shape';
import { attentionOp } from './attentionOp';
import { type AttentionOptions, type AttentionResult, resolveAttention } from './scaledDotProductAttention';

export type ForgettingAttentionOptions = Pick<
  AttentionOptions,
  'scale' | 'window' | 'softcap' | 'mask' | 'sink' | 'kvLengths' | 'cuSeqlens' | 'returnLse'
>;

const NAME = 'forgettingAttention';

/**
 * Causal softmax attention that forgets (FoX): the score of query i and key j falls by the log forget gates between them,
 * `output = softmax(scale q k^T + F_i - F_j) v` with `F_i = g_0 + ... + g_i`.
 *
 * With gates of 0 it is `scaledDotProductAttention` with `isCausal: true`. When Tq < Tk, as with a cache, the last
 * query stands at the last key, and g covers all keys. Differentiable in q, k, v, g and sink, through output and lse.
 *
 * @param q `[B, Tq, Hq, D]`
 * @param k `[B, Tk, Hkv, D]`, Hq a multiple of Hkv
 * @param v `[B, Tk, Hkv, Dv]`
 * @param g `[B, Tk, Hq]`: natural logarithms of the forget gates, `logSigmoid` of a projection, not scaled
 * @returns `[B, Tq, Hq, Dv]`, or `{ output, lse }` with `returnLse: true`
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see Lin et al., "Forgetting Transformer: Softmax Attention with a Forget Gate" (2025), equation 8
 * @example
 * ```ts
 * import { randomNormal, randomUniform } from '@tensorflow/tfjs-core';
 * import { forgettingAttention, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 128, 4, 32]);
 * const k = randomNormal([1, 128, 2, 32]);
 * const v = randomNormal([1, 128, 2, 32]);
 * const g = randomUniform([1, 128, 4], -0.1, 0);
 * const output = forgettingAttention(q, k, v, g); // [1, 128, 4, 32]
 * ```
 */
export function forgettingAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  g: Tensor,
  options: ForgettingAttentionOptions & { returnLse: true },
): AttentionResult;
export function forgettingAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  g: Tensor,
  options?: ForgettingAttentionOptions,
): Tensor;
export function forgettingAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  g: Tensor,
  options: ForgettingAttentionOptions = {},
): Tensor | AttentionResult {
  const { inputs, attrs } = resolveAttention(NAME, q, k, v, { ...options, isCausal: true });
  checkShapes(NAME, [
    ['q', q, 'B Tq Hq D'],
    ['k', k, 'B Tk Hkv D'],
    ['g', g, 'B Tk Hq'],
  ]);
  const [output, lse] = attentionOp.run({ ...inputs, gate: g }, attrs);
  if (options.returnLse) return { output, lse };
  lse.dispose();
  return output;
}
