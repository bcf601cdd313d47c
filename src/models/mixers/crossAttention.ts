import { linear } from '../../nn/layers/linear';
import { fromHeads, toHeads } from '../../nn/layers/shape';
import { rope, scaledDotProductAttention } from '../../ops';
import type { RopeSpec } from '../rope';
import type { MixerFactory } from './mixer';

export interface CrossAttentionSpec {
  type: 'crossAttention';
  size: number;
  heads: number;
  headDim: number;
  /** The keys and values it reads: the name of the `keyValues` of a layer before it, or of its own. */
  keyValues: string;
  /** Of the queries; default none. */
  rope?: RopeSpec;
}

/** Causal attention to keys and values that an earlier layer has made for all later ones (YOCO). */
export const crossAttention: MixerFactory<CrossAttentionSpec> = (weights, spec) => {
  const { size, heads, headDim: D, keyValues } = spec;
  const query = weights.linear('q_proj', size, heads * D);
  const out = weights.linear('o_proj', heads * D, size);
  return (x, { position, shared, stateAt }) => {
    const q = toHeads(linear(x, query), D);
    const rotated = spec.rope === undefined ? q : rope(q, { ...spec.rope, offset: position });
    const seen = stateAt(keyValues).keyValues();
    const [k, v] = ['keys', 'values'].map((part) => shared.get(`${keyValues}.${part}`)!);
    const output = seen?.attend(rotated) ?? scaledDotProductAttention(rotated, k, v, { isCausal: true });
    return linear(fromHeads(output), out);
  };
};
