// A mode is one eigenvalue A of a diagonal system x' = A x + B u sampled every `step`: x_t = z x_{t-1} + f B u_t.
// Everything is float64 and per mode; complex numbers are pairs. A gradient pair is that of real and imaginary part.

export type Pair = readonly [re: number, im: number];
export type ModeRule = 'zoh' | 'bilinear';
export const MODE_RULES: readonly ModeRule[] = ['zoh', 'bilinear'];

export const times = ([a, b]: Pair, [c, d]: Pair): Pair => [a * c - b * d, a * d + b * c];
export const plus = ([a, b]: Pair, [c, d]: Pair): Pair => [a + c, b + d];
export const conj = ([a, b]: Pair): Pair => [a, -b];
export const scaled = ([a, b]: Pair, factor: number): Pair => [a * factor, b * factor];
export const inverse = ([a, b]: Pair): Pair => scaled([a, -b], 1 / (a * a + b * b));
export const power = ([re, im]: Pair): Pair => scaled([Math.cos(im), Math.sin(im)], Math.exp(re));

/** Where (e^a - 1) / a loses digits, its power series does not. */
const SERIES_BELOW = 1e-3;

/** z and f: e^(A step) and (z - 1) / A, or by the trapezoidal rule (1 + A step / 2) / q and step / q, q = 1 - A step / 2. */
export function mode(A: Pair, step: number, rule: ModeRule): { z: Pair; f: Pair } {
  const a = scaled(A, step);
  if (rule === 'bilinear') {
    const q = inverse(plus([1, 0], scaled(a, -0.5)));
    return { z: times(plus([1, 0], scaled(a, 0.5)), q), f: scaled(q, step) };
  }
  const z = power(a);
  if (Math.hypot(...a) < SERIES_BELOW) return { z, f: scaled(series(a, [1, 1 / 2, 1 / 6, 1 / 24]), step) };
  return { z, f: times(plus(z, [-1, 0]), inverse(A)) };
}

/** The gradients of A and of the step from those of z and f. */
export function modeGradient(
  A: Pair,
  step: number,
  rule: ModeRule,
  dz: Pair,
  df: Pair,
): { dA: Pair; dStep: number } {
  const a = scaled(A, step);
  const { z, f } = mode(A, step, rule);
  if (rule === 'bilinear') {
    const q = scaled(f, 1 / step);
    const da = times(conj(times(q, q)), plus(dz, scaled(df, step / 2)));
    return { dA: scaled(da, step), dStep: times(conj(A), da)[0] + times(conj(q), df)[0] };
  }
  const slope =
    Math.hypot(...a) < SERIES_BELOW
      ? scaled(series(a, [1 / 2, 1 / 3, 1 / 8, 1 / 30]), step * step)
      : times(plus(scaled(z, step), scaled(f, -1)), inverse(A));
  return {
    dA: plus(times(conj(scaled(z, step)), dz), times(conj(slope), df)),
    dStep: times(conj(times(A, z)), dz)[0] + times(conj(z), df)[0],
  };
}

/** The polynomial in a with these coefficients. */
function series(a: Pair, coefficients: readonly number[]): Pair {
  return coefficients.reduceRight<Pair>((sum, c) => plus(times(sum, a), [c, 0]), [0, 0]);
}

/** @throws RangeError unless it is a rule for modes. */
export function checkRule(op: string, rule: ModeRule): void {
  if (!MODE_RULES.includes(rule)) {
    throw new RangeError(`${op}: discretization must be one of ${MODE_RULES.join(', ')}; got ${rule}`);
  }
}
