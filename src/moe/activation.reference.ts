import type { ActivationKind } from './activation';

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const density = (x: number) => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);

/** erf by its power series up to 3, beyond that by the continued fraction of erfc. */
export function erf(x: number): number {
  const z = Math.abs(x);
  if (Number.isNaN(x) || z === Number.POSITIVE_INFINITY) return Math.sign(x);
  if (z < 3) {
    let term = x;
    let sum = x;
    for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
      term *= -(x * x) / n;
      sum += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let f = z;
  for (let n = 60; n > 0; n--) f = z + n / 2 / f;
  return Math.sign(x) * (1 - Math.exp(-z * z) / Math.sqrt(Math.PI) / f);
}

const normalCdf = (x: number) => (1 + erf(x / Math.SQRT2)) / 2;
const tanhArgument = (x: number) => Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3);

type Plain = Exclude<ActivationKind, 'clamped'>;

const VALUE: Record<Plain, (x: number) => number> = {
  identity: (x) => x,
  relu: (x) => Math.max(x, 0),
  silu: (x) => x * sigmoid(x),
  gelu: (x) => x * normalCdf(x),
  geluTanh: (x) => 0.5 * x * (1 + Math.tanh(tanhArgument(x))),
};

const SLOPE: Record<Plain, (x: number) => number> = {
  identity: () => 1,
  relu: (x) => (x > 0 ? 1 : 0),
  silu: (x) => sigmoid(x) * (1 + x * (1 - sigmoid(x))),
  gelu: (x) => normalCdf(x) + x * density(x),
  geluTanh: (x) => {
    const t = Math.tanh(tanhArgument(x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x * x);
  },
};

export interface Form {
  kind: ActivationKind;
  gated: boolean;
  alpha: number;
  limit: number;
}

/** h of gate and up, and its derivatives with respect to each; up plays no part unless the form is gated. */
export function activationReference(
  { kind, gated, alpha, limit }: Form,
  gate: number,
  up: number,
): { h: number; dGate: number; dUp: number } {
  if (kind === 'clamped') {
    const g = gate > limit ? limit : gate;
    const u = up > limit ? limit : Math.max(up, -limit);
    const s = sigmoid(alpha * g);
    return {
      h: (u + 1) * g * s,
      dGate: gate > limit ? 0 : (u + 1) * s * (1 + alpha * g * (1 - s)),
      dUp: Math.abs(up) > limit ? 0 : g * s,
    };
  }
  const value = VALUE[kind](gate);
  const slope = SLOPE[kind](gate);
  return gated ? { h: value * up, dGate: slope * up, dUp: value } : { h: value, dGate: slope, dUp: 0 };
}
