import type { Tensor } from '@tensorflow/tfjs-core';

// Score modifications by name. All but `softcap` add terms that depend on head and distance only, so that the kernels
// read them from one table of Tq + Tkv - 1 terms per head, whatever they are. p is the position of the query.

/** A description that `flexAttention` compiles into its kernel; made by the functions in `scoreMods`. */
export type ScoreMod =
  | { readonly kind: 'softcap'; readonly cap: number }
  | { readonly kind: 'alibi'; readonly slopes?: Tensor | readonly number[] }
  | { readonly kind: 'causalDecay'; readonly logDecay: Tensor | readonly number[] }
  | { readonly kind: 'relativePositionBias'; readonly table: Tensor }
  | {
      readonly kind: 't5Bias';
      readonly table: Tensor;
      readonly bidirectional: boolean;
      readonly maxDistance: number;
    };

/** Scores become `cap * tanh(score / cap)`, as in Gemma 2. */
export function softcap(cap: number): ScoreMod {
  if (!(cap > 0 && Number.isFinite(cap))) {
    throw new RangeError(`scoreMods.softcap: cap must be a positive number; got ${cap}`);
  }
  return { kind: 'softcap', cap };
}

/**
 * Adds `slope * (j - p)`.
 *
 * @param slopes `[Hq]`, differentiable as a tensor; default the geometric sequence of the paper
 * @see Press et al., "Train Short, Test Long: Attention with Linear Biases Enables Input Length Extrapolation", section 3
 */
export function alibi(slopes?: Tensor | readonly number[]): ScoreMod {
  return { kind: 'alibi', slopes };
}

/**
 * Adds `logDecay * (p - j)` for keys before the query: a decay of `e^logDecay` per step, as in retention.
 *
 * @param logDecay `[Hq]`, natural logarithms of decays, differentiable as a tensor
 * @see Sun et al., "Retentive Network: A Successor to Transformer for Large Language Models", section 2.1
 */
export function causalDecay(logDecay: Tensor | readonly number[]): ScoreMod {
  return { kind: 'causalDecay', logDecay };
}

/**
 * Adds `table[h, clamp(j - p, -R, R) + R]`.
 *
 * @param table `[Hq, 2 R + 1]`, differentiable
 * @see Shaw et al., "Self-Attention with Relative Position Representations", section 3.2 for the clamped distances
 */
export function relativePositionBias(table: Tensor): ScoreMod {
  return { kind: 'relativePositionBias', table };
}

/**
 * Adds `table[bucket(j - p), h]`: one bucket per small distance, logarithmic ones up to `maxDistance`.
 *
 * @param table `[buckets, Hq]`, the layout of `relative_attention_bias.weight` in checkpoints; differentiable
 * @param options.bidirectional keys after the query have buckets of their own; default true, as in encoders
 * @param options.maxDistance from there on all is one bucket; default 128
 * @see Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", section 2.1
 */
export function t5Bias(
  table: Tensor,
  { bidirectional = true, maxDistance = 128 }: { bidirectional?: boolean; maxDistance?: number } = {},
): ScoreMod {
  return { kind: 't5Bias', table, bidirectional, maxDistance };
}
