import type { Tensor } from '@tensorflow/tfjs-core';
import { defineAdditive } from './additive';
import { type FixedDecayOptions, runFixedDecay } from './fixedDecay';
import type { Recurrent } from './recurrent';

const { op } = defineAdditive('retention');

/**
 * Retention: every head decays at its own constant rate, `S_t = gamma_h S_{t-1} + k_t v_t^T`, `o_t = scale S_t^T q_t` with
 * `gamma_h = 1 - 2^(-5 - h)`.
 *
 * @param q `[B, T, H, K]`
 * @param k `[B, T, H, K]`
 * @param v `[B, T, HV, V]`, HV a multiple of H: value head h has key head `h / (HV / H)`, rounded down
 * @param options.logDecay log decays `[HV]` instead of `log gamma_h`
 * @param options.scale multiplies the output; default `K ** -0.5`
 * @param options.initialState `[N, HV, K, V]`, zeros by default
 * @param options.outputFinalState returns `{ output, finalState }` instead of the output alone
 * @param options.cuSeqlens bounds of sequences packed along T, with B = 1
 * @param options.reverse runs every sequence from its last token to its first; default false
 * @returns `[B, T, HV, V]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Sun et al., "Retentive Network: A Successor to Transformer for Large Language Models", equations 6 and 8
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { ready, retention } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 64, 2, 16]);
 * const k = randomNormal([1, 64, 2, 16]);
 * const v = randomNormal([1, 64, 4, 32]);
 * const { output, finalState } = retention(q, k, v, { outputFinalState: true });
 * console.log(output.shape, finalState.shape); // [1, 64, 4, 32] [1, 4, 16, 32]
 * ```
 */
export function retention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: FixedDecayOptions & { outputFinalState: true },
): Recurrent;
export function retention(q: Tensor, k: Tensor, v: Tensor, options?: FixedDecayOptions): Tensor;
export function retention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: FixedDecayOptions = {},
): Tensor | Recurrent {
  return runFixedDecay(op, q, k, v, options, (HV) =>
    Array.from({ length: HV }, (_, h) => Math.log1p(-(2 ** (-5 - h)))),
  );
}
