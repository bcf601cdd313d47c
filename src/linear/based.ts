import type { Tensor } from '@tensorflow/tfjs-core';
import {
  type LinearAttentionOptions,
  type LinearAttentionResult,
  runLinearAttention,
} from './linearAttention';
import { taylorFeatures } from './polynomial';

export type BasedOptions = Omit<LinearAttentionOptions, 'featureMap' | 'isCausal'>;

/**
 * Based: causal linear attention whose weights are the Taylor polynomial of an exponential, `1 + s + s^2 / 2` with
 * `s = scale q.k`.
 *
 * @param q `[B, T, H, D]`
 * @param k `[B, T, H, D]`
 * @param v `[B, T, HV, V]`, HV a multiple of H: value head h has key head `h / (HV / H)`, rounded down
 * @param options.scale multiplies q.k; default `D ** -0.5`
 * @param options.normalize divides by the sum of weights plus eps; default true
 * @param options.eps default 1e-6
 * @returns `[B, T, HV, V]`; states and the other options are those of `linearAttention`, K being the number of features
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Arora et al., "Simple linear attention language models balance the recall-throughput tradeoff", section 3
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { based, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 64, 2, 16]);
 * const k = randomNormal([1, 64, 2, 16]);
 * const v = randomNormal([1, 64, 4, 32]);
 * const output = based(q, k, v); // [1, 64, 4, 32]
 * ```
 */
export function based(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: BasedOptions & { outputFinalState: true },
): LinearAttentionResult;
export function based(q: Tensor, k: Tensor, v: Tensor, options?: BasedOptions): Tensor;
export function based(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: BasedOptions = {},
): Tensor | LinearAttentionResult {
  const scale = options.scale ?? (q?.shape?.at(-1) ?? 1) ** -0.5;
  return runLinearAttention('based', q, k, v, {
    normalize: true,
    eps: 1e-6,
    ...options,
    featureMap: (x) => taylorFeatures(x, { order: 2, scale }),
    scale: 1,
  });
}
