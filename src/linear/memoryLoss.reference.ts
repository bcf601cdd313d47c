import type { Tape, Var } from '../op/tape';

/** (y - mean) / deviation, and the deviation */
function standardize(tape: Tape, y: readonly Var[], eps: number) {
  const D = y.length;
  const mean = tape.affine(tape.sum(y), 1 / D);
  const centred = y.map((value) => tape.sub(value, mean));
  const deviation = tape.sqrt(tape.affine(tape.dot(centred, centred), 1 / D, eps));
  return { x: centred.map((value) => tape.div(value, deviation)), deviation };
}

/**
 * The gradient with respect to y of |LN(y) - (v - k)|^2 / 2, LN(y) = w x + b with x the standardized y:
 * (g - mean g - x (g . x) / D) / deviation where g = w (w x + b - v + k); `undivided` leaves D g in the first term.
 */
export function lossGradientReference(
  tape: Tape,
  [y, k, v, w, b]: readonly (readonly Var[])[],
  eps: number,
  undivided: boolean,
): Var[] {
  const D = y.length;
  const { x, deviation } = standardize(tape, y, eps);
  const g = x.map((hat, i) =>
    tape.mul(w[i], tape.sub(tape.add(tape.mul(w[i], hat), b[i]), tape.sub(v[i], k[i]))),
  );
  const total = tape.sum(g);
  const along = tape.dot(g, x);
  const size = tape.affine(deviation, D);
  return g.map((value, i) => {
    const scaled = tape.affine(value, D);
    const rest = tape.div(tape.add(total, tape.mul(x[i], along)), size);
    return tape.sub(undivided ? scaled : tape.div(scaled, size), rest);
  });
}

/** y + LN(y) */
export function residualNormReference(
  tape: Tape,
  y: readonly Var[],
  w: readonly Var[],
  b: readonly Var[],
  eps: number,
): Var[] {
  const { x } = standardize(tape, y, eps);
  return y.map((value, i) => tape.add(value, tape.add(tape.mul(x[i], w[i]), b[i])));
}
