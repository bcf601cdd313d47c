import type { Tape, Var } from '../op/tape';
import type { LogLinearAttrs, LogLinearInput } from './logLinearAttention';
import { place, rowOf, type Vars } from './taped';

/** Pair by pair. */
export function logLinearAttentionReference(
  tape: Tape,
  inputs: { readonly [name in LogLinearInput]?: Vars },
  { offsets, scale }: LogLinearAttrs,
): Var[][] {
  const { q, k, v, g, levelScales } = inputs as Record<LogLinearInput, Vars>;
  const [B, T, H, K] = q.shape;
  const [, , HV, V] = v.shape;
  const L = levelScales.shape[3];
  const output: Var[] = new Array(B * T * HV * V);
  for (let n = 0; n + 1 < offsets.length; n++) {
    for (let head = 0; head < HV; head++) {
      const keyHead = Math.floor(head / (HV / H));
      for (let t = offsets[n]; t < offsets[n + 1]; t++) {
        const query = rowOf(q, t * H + keyHead, K);
        let decay = tape.constant(0);
        const weights: Var[] = [];
        const values: Var[][] = [];
        for (let s = t; s >= offsets[n]; s--) {
          const level = 32 - Math.clz32((t - offsets[n]) ^ (s - offsets[n]));
          const score = tape.affine(tape.dot(query, rowOf(k, s * H + keyHead, K)), scale);
          const weight = tape.mul(levelScales.data[(t * HV + head) * L + level], tape.exp(decay));
          weights.push(tape.mul(weight, score));
          values.push(rowOf(v, s * HV + head, V));
          decay = tape.add(decay, g.data[s * HV + head]);
        }
        const read = Array.from({ length: V }, (_, j) =>
          tape.dot(
            weights,
            values.map((value) => value[j]),
          ),
        );
        place(output, t * HV + head, read);
      }
    }
  }
  return [output];
}
