import type { Tensor } from '@tensorflow/tfjs-core';
import {
  type LinearAttentionOptions,
  type LinearAttentionResult,
  runLinearAttention,
} from './linearAttention';
import { powerFeatures } from './polynomial';

export type RebasedOptions = Omit<LinearAttentionOptions, 'featureMap' | 'isCausal'>;

/**
 * ReBased: causal linear attention with the weights `(scale q.k)^2`. The learnt affine map of the paper is applied to q and
 * k by the caller.
 *
 * @param q `[B, T, H, D]`
 * @param k `[B, T, H, D]`
 * @param v `[B, T, HV, V]`, HV a multiple of H: value head h has key head `h / (HV / H)`, rounded down
 * @param options.scale multiplies q.k; default `D ** -0.5`
 * @param options.normalize divides by the sum of weights plus eps; default true
 * @param options.eps default 1e-6
 * @returns `[B, T, HV, V]`; states and the other options are those of `linearAttention`, K being the number of features
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Aksenov et al., "Linear Transformers with Learnable Kernel Functions are Better In-Context Models", section 4
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { ready, rebased } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 64, 2, 16]);
 * const k = randomNormal([1, 64, 2, 16]);
 * const v = randomNormal([1, 64, 4, 32]);
 * const output = rebased(q, k, v); // [1, 64, 4, 32]
 * ```
 */
export function rebased(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: RebasedOptions & { outputFinalState: true },
): LinearAttentionResult;
export function rebased(q: Tensor, k: Tensor, v: Tensor, options?: RebasedOptions): Tensor;
export function rebased(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: RebasedOptions = {},
): Tensor | LinearAttentionResult {
  const scale = options.scale ?? (q?.shape?.at(-1) ?? 1) ** -0.5;
  return runLinearAttention('rebased', q, k, v, {
    normalize: true,
    eps: 1e-6,
    ...options,
    featureMap: (x) => powerFeatures(x, 2),
    scale: scale ** 2,
  });
}
