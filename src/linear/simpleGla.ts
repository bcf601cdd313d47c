import type { Tensor } from '@tensorflow/tfjs-core';
import { type AdditiveOptions, defineAdditive } from './additive';
import { runGated } from './gated';
import type { Recurrent } from './recurrent';

const { op } = defineAdditive('simpleGla');

/**
 * Gated linear attention with one decay per head: `S_t = exp(g_t) S_{t-1} + k_t v_t^T`, `o_t = scale S_t^T q_t`. The
 * recurrence of Mamba-2, where q, k and v are its C, B and `dt x`, and `g = dt A`.
 *
 * @param q `[B, T, H, K]`
 * @param k `[B, T, H, K]`
 * @param v `[B, T, HV, V]`, HV a multiple of H: value head h has key head `h / (HV / H)`, rounded down
 * @param g `[B, T, HV]`, log decay
 * @param options.scale multiplies the output; default `K ** -0.5`
 * @param options.initialState `[N, HV, K, V]`, zeros by default
 * @param options.outputFinalState returns `{ output, finalState }` instead of the output alone
 * @param options.cuSeqlens bounds of sequences packed along T, with B = 1
 * @param options.reverse runs every sequence from its last token to its first; default false
 * @returns `[B, T, HV, V]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Dao and Gu, "Transformers are SSMs", section 5; Peng et al., "Random Feature Attention", section 3.2
 * @example
 * ```ts
 * import { randomNormal, randomUniform } from '@tensorflow/tfjs-core';
 * import { ready, simpleGla } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 64, 2, 16]);
 * const k = randomNormal([1, 64, 2, 16]);
 * const v = randomNormal([1, 64, 4, 32]);
 * const g = randomUniform([1, 64, 4], -0.1, 0);
 * const { output, finalState } = simpleGla(q, k, v, g, { outputFinalState: true });
 * console.log(output.shape, finalState.shape); // [1, 64, 4, 32] [1, 4, 16, 32]
 * ```
 */
export function simpleGla(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  g: Tensor,
  options: AdditiveOptions & { outputFinalState: true },
): Recurrent;
export function simpleGla(q: Tensor, k: Tensor, v: Tensor, g: Tensor, options?: AdditiveOptions): Tensor;
export function simpleGla(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  g: Tensor,
  options: AdditiveOptions = {},
): Tensor | Recurrent {
  return runGated(op, { q, k, v, g }, 'B T HV', options);
}
