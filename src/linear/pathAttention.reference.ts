import type { Tape, Var } from '../op/tape';
import type { PathAttrs, PathInput } from './pathAttention';
import { place, readOut, rowOf, type Vars } from './taped';

/** Query by query, key by key from the query to the first one. */
export function pathAttentionReference(
  tape: Tape,
  inputs: { readonly [name in PathInput]?: Vars },
  { offsets, scale }: PathAttrs,
): Var[][] {
  const { q, k, v, w, beta, g } = inputs as Record<PathInput, Vars>;
  const [B, T, HQ, D] = q.shape;
  const [, , H, V] = v.shape;
  const one = tape.constant(1);
  const output: Var[] = new Array(B * T * HQ * V);
  for (let n = 0; n + 1 < offsets.length; n++) {
    for (let head = 0; head < HQ; head++) {
      const keyHead = Math.floor(head / (HQ / H));
      for (let i = offsets[n]; i < offsets[n + 1]; i++) {
        let query = rowOf(q, i * HQ + head, D);
        let gate = tape.constant(0);
        const scores: Var[] = [];
        const values: Var[] = [];
        for (let j = i; j >= offsets[n]; j--) {
          const key = j * H + keyHead;
          scores.push(tape.affine(tape.add(tape.dot(query, rowOf(k, key, D)), gate), scale));
          values.push(...rowOf(v, key, V));
          const along = rowOf(w, key, D);
          const back = tape.affine(tape.mul(beta.data[key], tape.dot(query, along)), -1);
          query = query.map((x, d) => tape.mulAdd(one, x, back, along[d]));
          if (g) gate = tape.add(gate, g.data[j * HQ + head]);
        }
        const most = scores.reduce((max, score) => Math.max(max, tape.value(score)), -Infinity);
        const weights = scores.map((score) => tape.exp(tape.affine(score, 1, -most)));
        const sum = tape.sum(weights);
        const shares = weights.map((weight) => tape.div(weight, sum));
        place(output, i * HQ + head, readOut(tape, shares, values, V));
      }
    }
  }
  return [output];
}
