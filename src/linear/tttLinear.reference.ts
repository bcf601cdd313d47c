import type { Tape, Var } from '../op/tape';
import { lossGradientReference, residualNormReference } from './memoryLoss.reference';
import { place, readOut, rowOf, type Vars } from './taped';
import type { TttAttrs, TttInput } from './tttLinear';

/** Token by token, every loss gradient at the state its mini-batch began with. */
export function tttLinearReference(
  tape: Tape,
  inputs: { readonly [name in TttInput]?: Vars },
  { offsets, scale, eps, chunkSize, finalState }: TttAttrs,
): Var[][] {
  const { q, k, v, w, b, eta, state, bias } = inputs as Record<TttInput, Vars>;
  const [B, T, H, D] = q.shape;
  const N = offsets.length - 1;
  const output: Var[] = new Array(B * T * H * D);
  const [states, biases]: Var[][] = [new Array(N * H * D * D), new Array(N * H * D)];
  for (let n = 0; n < N; n++) {
    for (let head = 0; head < H; head++) {
      const item = n * H + head;
      const [weight, shift] = [rowOf(w, head, D), rowOf(b, head, D)];
      let h = state ? rowOf(state, item, D * D) : tape.constants(D * D);
      let c = bias ? rowOf(bias, item, D) : tape.constants(D);
      for (let from = offsets[n]; from < offsets[n + 1]; from += chunkSize) {
        const tokens = Math.min(chunkSize, offsets[n + 1] - from);
        const rate = eta.data[(from + tokens - 1) * H + head];
        let written = tape.constants(D * D);
        let total = tape.constants(D);
        for (let i = 0; i < chunkSize; i++) {
          const row = (from + i) * H + head;
          const real = i < tokens;
          const [key, value] = [k, v].map((x) => (real ? rowOf(x, row, D) : tape.constants(D)));
          const read = readOut(tape, key, h, D).map((y, j) => tape.add(y, c[j]));
          const u = lossGradientReference(tape, [read, key, value, weight, shift], eps, false);
          written = written.map((sum, at) => tape.add(sum, tape.mul(key[Math.floor(at / D)], u[at % D])));
          total = total.map((sum, at) => tape.add(sum, u[at]));
          if (!real) continue;
          const query = rowOf(q, row, D).map((x) => tape.affine(x, scale));
          const [base, corrections] = [readOut(tape, query, h, D), readOut(tape, query, written, D)];
          const y = base.map((x, j) =>
            tape.sub(tape.add(x, c[j]), tape.mul(eta.data[row], tape.add(corrections[j], total[j]))),
          );
          place(output, row, residualNormReference(tape, y, weight, shift, eps));
        }
        h = h.map((x, at) => tape.sub(x, tape.mul(rate, written[at])));
        c = c.map((x, at) => tape.sub(x, tape.mul(rate, total[at])));
      }
      place(states, item, h);
      place(biases, item, c);
    }
  }
  return finalState ? [output, states, biases] : [output];
}
