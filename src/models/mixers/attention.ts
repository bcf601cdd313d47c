import { clipByValue, mul, sigmoid, type Tensor } from '@tensorflow/tfjs-core';
import { linear, linearParts } from '../../nn/layers/linear';
import { channels, fromHeads, toHeads } from '../../nn/layers/shape';
import { rmsNorm, rope, scaledDotProductAttention } from '../../ops';
import type { MixerState } from '../cache';
import type { Parameter, Weights } from '../parameters';
import type { RopeSpec } from '../rope';
import type { MixerFactory } from './mixer';

/** Attention over the tokens a mixer remembers and those of the input. */
export function causalAttention(
  state: MixerState,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: { scale?: number; window?: number; softcap?: number; sink?: Tensor },
  isCausal = true,
): Tensor {
  const seen = isCausal ? state.keyValues(options.window) : undefined;
  if (seen === undefined) return scaledDotProductAttention(q, k, v, { ...options, isCausal });
  seen.append(k, v);
  return seen.attend(q, options);
}

export interface AttentionSpec {
  type: 'attention';
  size: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  /** Default none. */
  rope?: RopeSpec;
  /** Multiplies the scores; default `headDim ** -0.5`. */
  scale?: number;
  /** Keys a query sees, itself included; default all before it. */
  window?: number;
  softcap?: number;
  /** Root mean square norms of q and k before they are rotated, per head or over all of them. */
  norm?: {
    eps: number;
    weightOffset?: number;
    over: 'head' | 'heads';
    names?: readonly [q: string, k: string];
  };
  /** Whether `q_proj` holds, per head, the query and a gate of the output. */
  gated?: boolean;
  /** Bounds q, k and v before their heads are told apart. */
  clip?: number;
  /** Multiplies the keys. */
  keyScale?: number;
  /** Whether each head has a logit `sinks` that takes part in the softmax. */
  sinks?: boolean;
  /** Biases of q, k, v and of the output; default none. */
  bias?: { qkv: boolean; output: boolean };
  /** Channels of the output; default `size`. */
  outputSize?: number;
  /** Default true; without it nothing is remembered. */
  causal?: boolean;
  /** Default `['q_proj', 'k_proj', 'v_proj', 'o_proj']`. */
  names?: readonly [q: string, k: string, v: string, output: string];
}

/** What goes into attention and what becomes of its output. */
export interface Projections {
  /**
   * Queries `[B, T, H, D]`, keys and values `[B, T, Hkv, D]` of tokens from a position on, the keys before they are
   * rotated, and the gate of the output.
   */
  into(x: Tensor, position: number): { q: Tensor; k: Tensor; v: Tensor; unrotated: Tensor; gate?: Tensor };
  out(heads: Tensor, gate: Tensor | undefined): Tensor;
  sinks?: Parameter;
}

export function projections(weights: Weights, spec: AttentionSpec): Projections {
  const { size, heads, kvHeads, headDim: D, norm, gated = false, clip } = spec;
  const { bias = { qkv: false, output: false }, names = ['q_proj', 'k_proj', 'v_proj', 'o_proj'] } = spec;
  const sizes = [heads * D * (gated ? 2 : 1), kvHeads * D, kvHeads * D];
  const qkv = weights.joined(
    sizes.map((out, i) => [names[i], out] as const),
    size,
    bias.qkv,
  );
  const oProj = weights.linear(names[3], heads * D, spec.outputSize ?? size, bias.output);
  const [qNorm, kNorm] = ([heads, kvHeads] as const).map((count, i) => {
    const name = norm?.names?.[i] ?? ['q_norm', 'k_norm'][i];
    return norm && weights.tensor(`${name}.weight`, [norm.over === 'head' ? D : count * D]);
  });
  const clipped = (x: Tensor) => (clip === undefined ? x : clipByValue(x, -clip, clip));

  function normed(x: Tensor, weight: typeof qNorm, over: 'head' | 'heads'): Tensor {
    return norm?.over === over ? rmsNorm(x, weight!.value, norm) : x;
  }

  return {
    sinks: spec.sinks ? weights.tensor('sinks', [heads]) : undefined,
    into: (x, position) => {
      const rotated = (part: Tensor) =>
        spec.rope === undefined ? part : rope(part, { ...spec.rope, offset: position });
      const [projected, keys, values] = linearParts(x, qkv, sizes);
      const both = gated ? toHeads(projected, 2 * D) : undefined;
      const query = both === undefined ? clipped(projected) : fromHeads(channels(both, 0, D));
      const key = toHeads(normed(clipped(keys), kNorm, 'heads'), D);
      const unrotated = normed(spec.keyScale === undefined ? key : mul(key, spec.keyScale), kNorm, 'head');
      return {
        q: rotated(normed(toHeads(normed(query, qNorm, 'heads'), D), qNorm, 'head')),
        k: rotated(unrotated),
        v: toHeads(clipped(values), D),
        unrotated,
        gate: both && channels(both, D, D),
      };
    },
    out: (output, gate) => {
      const open = gate === undefined ? output : mul(output, sigmoid(gate));
      return linear(fromHeads(open), oProj);
    },
  };
}

/** Softmax attention over the tokens seen and those of the input. */
export const attention: MixerFactory<AttentionSpec> = (weights, spec) => {
  const { into, out, sinks } = projections(weights, spec);
  const { scale, window, softcap, causal } = spec;
  return (x, { state, position }) => {
    const { q, k, v, gate } = into(x, position);
    const options = { scale, window, softcap, sink: sinks?.value };
    return out(causalAttention(state, q, k, v, options, causal), gate);
  };
};
