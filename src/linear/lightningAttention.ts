import type { Tensor } from '@tensorflow/tfjs-core';
import { defineAdditive } from './additive';
import { type FixedDecayOptions, runFixedDecay } from './fixedDecay';
import type { Recurrent } from './recurrent';

export interface LightningAttentionOptions extends FixedDecayOptions {
  /** Index of the layer, from 0; later layers decay more slowly. Default 0. */
  layerIdx?: number;
  /** Layers of the model; default 1. */
  numLayers?: number;
}

const { op } = defineAdditive('lightningAttention');

/**
 * Lightning attention (TransNormerLLM, MiniMax): constant decays that depend on head and layer,
 * `S_t = exp(g_h) S_{t-1} + k_t v_t^T`, `o_t = scale S_t^T q_t` with `g_h = -(8 / HV) (1 - layerIdx / numLayers) h`.
 *
 * @param q `[B, T, H, K]`
 * @param k `[B, T, H, K]`
 * @param v `[B, T, HV, V]`, HV a multiple of H: value head h has key head `h / (HV / H)`, rounded down
 * @param options.layerIdx index of the layer, default 0
 * @param options.numLayers layers of the model, default 1
 * @param options.logDecay log decays `[HV]` instead of g
 * @param options.scale multiplies the output; default `K ** -0.5`
 * @param options.initialState `[N, HV, K, V]`, zeros by default
 * @param options.outputFinalState returns `{ output, finalState }` instead of the output alone
 * @param options.cuSeqlens bounds of sequences packed along T, with B = 1
 * @param options.reverse runs every sequence from its last token to its first; default false
 * @returns `[B, T, HV, V]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Qin et al., "Various Lengths, Constant Speed: Efficient Language Modeling with Lightning Attention", section 3
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { lightningAttention, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 64, 2, 16]);
 * const k = randomNormal([1, 64, 2, 16]);
 * const v = randomNormal([1, 64, 4, 32]);
 * const output = lightningAttention(q, k, v, { layerIdx: 3, numLayers: 12 }); // [1, 64, 4, 32]
 * ```
 */
export function lightningAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: LightningAttentionOptions & { outputFinalState: true },
): Recurrent;
export function lightningAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options?: LightningAttentionOptions,
): Tensor;
export function lightningAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: LightningAttentionOptions = {},
): Tensor | Recurrent {
  const { layerIdx = 0, numLayers = 1 } = options;
  return runFixedDecay(op, q, k, v, options, (HV) =>
    Array.from({ length: HV }, (_, h) => -(8 / HV) * (1 - layerIdx / numLayers) * h),
  );
}
