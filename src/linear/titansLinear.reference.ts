import type { Tape, Var } from '../op/tape';
import { lossGradientReference, residualNormReference } from './memoryLoss.reference';
import { place, readOut, rowOf, type Vars } from './taped';
import type { TitansAttrs, TitansInput } from './titansLinear';

/** Token by token; the tokens that fill up the last chunk are zero. */
export function titansLinearReference(
  tape: Tape,
  inputs: { readonly [name in TitansInput]?: Vars },
  { offsets, eps, chunkSize, finalState }: TitansAttrs,
): Var[][] {
  const { q, k, v, w, b, theta, alpha, eta, state, momentum } = inputs as Record<TitansInput, Vars>;
  const [B, T, H, D] = q.shape;
  const N = offsets.length - 1;
  const output: Var[] = new Array(B * T * H * D);
  const [states, momenta]: Var[][] = [new Array(N * H * D * D), new Array(N * H * D * D)];
  for (let n = 0; n < N; n++) {
    for (let head = 0; head < H; head++) {
      const item = n * H + head;
      const last = offsets[n + 1];
      const [weight, shift] = [rowOf(w, head, D), rowOf(b, head, D)];
      let M = state ? rowOf(state, item, D * D) : tape.constants(D * D);
      let S = momentum ? rowOf(momentum, item, D * D) : tape.constants(D * D);
      let start = M;
      const end = offsets[n] + Math.ceil((last - offsets[n]) / chunkSize) * chunkSize;
      for (let t = offsets[n]; t < end; t++) {
        const row = t * H + head;
        if ((t - offsets[n]) % chunkSize === 0) start = M;
        const [key, value] = [k, v].map((x) => (t < last ? rowOf(x, row, D) : tape.constants(D)));
        const gated = t < last || t === end - 1;
        const [rate, decay, keep] = [theta, alpha, eta].map((gate) =>
          gated ? gate.data[Math.min(t, last - 1) * H + head] : tape.constant(0),
        );
        const read = readOut(tape, key, start, D);
        const u = lossGradientReference(tape, [read, key, value, weight, shift], eps, true);
        const step = tape.affine(rate, -2);
        S = S.map((s, at) => tape.mulAdd(keep, s, step, tape.mul(key[Math.floor(at / D)], u[at % D])));
        const kept = tape.affine(decay, -1, 1);
        M = M.map((m, at) => tape.add(tape.mul(kept, m), S[at]));
        if (t < last) {
          const y = readOut(tape, rowOf(q, row, D), M, D);
          place(output, row, residualNormReference(tape, y, weight, shift, eps));
        }
      }
      place(states, item, M);
      place(momenta, item, S);
    }
  }
  return finalState ? [output, states, momenta] : [output];
}
