import type { Tape, Var } from '../op/tape';
import type { SLstmAttrs, SLstmInput } from './sLstm';
import { readOut, rowOf, type Vars } from './taped';

/** Equations 8 to 18 of xLSTM; the stabilizer is i where nothing has been written yet. */
export function sLstmReference(
  tape: Tape,
  inputs: { readonly [name in SLstmInput]?: Vars },
  { offsets, finalState }: SLstmAttrs,
): Var[][] {
  const { x, r, state } = inputs as Record<SLstmInput, Vars>;
  const [B, T, , H, D] = x.shape;
  const N = offsets.length - 1;
  const output: Var[] = new Array(B * T * H * D);
  const states: Var[] = new Array(N * 4 * H * D);
  for (let n = 0; n < N; n++) {
    for (let head = 0; head < H; head++) {
      const parts = Array.from({ length: 4 }, (_, part) => (n * 4 + part) * H + head);
      let [h, c, norm, m] = parts.map((part) => (state ? rowOf(state, part, D) : tape.constants(D)));
      for (let t = offsets[n]; t < offsets[n + 1]; t++) {
        const [i, f, z, o] = Array.from({ length: 4 }, (_, gate) => {
          const weights = rowOf(r, gate * H + head, D * D);
          const recurrent = readOut(tape, h, weights, D);
          return rowOf(x, (t * 4 + gate) * H + head, D).map((value, j) => tape.add(value, recurrent[j]));
        });
        const cells = i.map((input, j) => {
          const kept = tape.add(tape.logSigmoid(f[j]), m[j]);
          const fresh = tape.value(norm[j]) === 0;
          const largest = fresh ? input : tape.max(kept, input);
          const difference = tape.sub(kept, largest);
          const forget = tape.exp(
            fresh ? tape.affine(tape.max(tape.affine(difference, -1), tape.constant(0)), -1) : difference,
          );
          const write = tape.exp(tape.sub(input, largest));
          const cell = tape.mulAdd(forget, c[j], write, tape.tanh(z[j]));
          const total = tape.add(tape.mul(forget, norm[j]), write);
          const out = tape.div(tape.mul(tape.sigmoid(o[j]), cell), total);
          return [out, cell, total, largest];
        });
        [h, c, norm, m] = [0, 1, 2, 3].map((part) => cells.map((cell) => cell[part]));
        h.forEach((value, j) => {
          output[(t * H + head) * D + j] = value;
        });
      }
      [h, c, norm, m].forEach((values, part) => {
        values.forEach((value, j) => {
          states[parts[part] * D + j] = value;
        });
      });
    }
  }
  return finalState ? [output, states] : [output];
}
