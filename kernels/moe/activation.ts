import { exp, exp2 } from '../core/exp';
import { sigmoid, silu, siluSlope } from '../core/silu';

/** Which function an expert applies; src/moe/activation.ts has the same numbers. */
export const IDENTITY: i32 = 0;
export const RELU: i32 = 1;
export const SILU: i32 = 2;
export const GELU: i32 = 3;
export const GELU_TANH: i32 = 4;
/** gate * sigmoid(alpha * gate) of a clamped gate, times up + 1 with up clamped as well. */
export const CLAMPED: i32 = 5;

// @ts-ignore: decorator
@inline
function one(): v128 {
  return f32x4.splat(1);
}

// @ts-ignore: decorator
@inline
function positive(x: v128): v128 {
  return v128.andnot(x, f32x4.lt(x, f32x4.splat(0)));
}

/** The distribution function of the normal distribution; relative error of its smaller tail within 3e-7. */
// @ts-ignore: decorator
@inline
function normalCdf(x: v128, density: v128): v128 {
  // half of erfc(z) e^(z^2) is t * polynomial(t), t = 1 / (1 + 0.3 z), z = |x| / sqrt 2
  const t = f32x4.div(one(), f32x4.add(one(), f32x4.mul(f32x4.abs(x), f32x4.splat(0.2121320343559643))));
  let p = f32x4.splat(-0.06524640869236954);
  p = f32x4.add(f32x4.mul(p, t), f32x4.splat(0.24528580366612904));
  p = f32x4.add(f32x4.mul(p, t), f32x4.splat(-0.26165733806322494));
  p = f32x4.add(f32x4.mul(p, t), f32x4.splat(0.28062311284962266));
  p = f32x4.add(f32x4.mul(p, t), f32x4.splat(-0.05235607899211726));
  p = f32x4.add(f32x4.mul(p, t), f32x4.splat(0.1097835611708689));
  p = f32x4.add(f32x4.mul(p, t), f32x4.splat(0.07352270853974094));
  p = f32x4.add(f32x4.mul(p, t), f32x4.splat(0.08545707827701293));
  p = f32x4.add(f32x4.mul(p, t), f32x4.splat(0.08458755129492587));
  const tail = f32x4.mul(density, f32x4.mul(p, t));
  return v128.bitselect(tail, f32x4.sub(one(), tail), f32x4.lt(x, f32x4.splat(0)));
}

/** e^(-x^2 / 2) */
// @ts-ignore: decorator
@inline
function bell(x: v128): v128 {
  return exp(f32x4.mul(f32x4.mul(x, x), f32x4.splat(-0.5)));
}

/** sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)), which is the 0.5 (1 + tanh(...)) of the tanh form of GELU */
// @ts-ignore: decorator
@inline
function tanhGate(x: v128): v128 {
  const cubic = f32x4.add(one(), f32x4.mul(f32x4.mul(x, x), f32x4.splat(0.044715)));
  return sigmoid(f32x4.mul(f32x4.mul(x, cubic), f32x4.splat(1.5957691216057308)));
}

// @ts-ignore: decorator
@inline
export function activate(kind: i32, x: v128): v128 {
  switch (kind) {
    case RELU: return positive(x);
    case SILU: return silu(x);
    case GELU: return f32x4.mul(x, normalCdf(x, bell(x)));
    case GELU_TANH: return f32x4.mul(x, tanhGate(x));
    default: return x;
  }
}

// @ts-ignore: decorator
@inline
export function activateSlope(kind: i32, x: v128): v128 {
  switch (kind) {
    case RELU: return v128.and(one(), f32x4.gt(x, f32x4.splat(0)));
    case SILU: return siluSlope(x, sigmoid(x));
    case GELU: {
      const density = bell(x);
      return f32x4.add(
        normalCdf(x, density), f32x4.mul(x, f32x4.mul(density, f32x4.splat(0.3989422804014327))),
      );
    }
    case GELU_TANH: {
      const s = tanhGate(x);
      const slope = f32x4.mul(
        f32x4.splat(1.5957691216057308),
        f32x4.add(one(), f32x4.mul(f32x4.mul(x, x), f32x4.splat(0.134145))),
      );
      return f32x4.mul(s, f32x4.add(one(), f32x4.mul(f32x4.mul(x, slope), f32x4.sub(one(), s))));
    }
    default: return one();
  }
}

/** h from gate and up on four lanes; `gated` false leaves up alone. */
export function hiddenOf(kind: i32, gated: bool, gate: v128, up: v128, alpha: f32, limit: f32): v128 {
  if (kind == CLAMPED) {
    const g = f32x4.min(gate, f32x4.splat(limit));
    const u = f32x4.max(f32x4.min(up, f32x4.splat(limit)), f32x4.splat(-limit));
    return f32x4.mul(f32x4.add(u, one()), f32x4.mul(g, sigmoid(f32x4.mul(g, f32x4.splat(alpha)))));
  }
  const a = activate(kind, gate);
  return gated ? f32x4.mul(a, up) : a;
}

/** dgate from dh */
export function gateGradient(
  kind: i32, gated: bool, gate: v128, up: v128, dh: v128, alpha: f32, limit: f32,
): v128 {
  if (kind == CLAMPED) {
    const bound = f32x4.splat(limit);
    const g = f32x4.min(gate, bound);
    const u = f32x4.max(f32x4.min(up, bound), f32x4.splat(-limit));
    const ag = f32x4.mul(g, f32x4.splat(alpha)), s = sigmoid(ag);
    const slope = f32x4.mul(s, f32x4.add(one(), f32x4.mul(ag, f32x4.sub(one(), s))));
    const full = f32x4.mul(f32x4.mul(dh, f32x4.add(u, one())), slope);
    return v128.andnot(full, f32x4.gt(gate, bound));
  }
  const d = f32x4.mul(dh, activateSlope(kind, gate));
  return gated ? f32x4.mul(d, up) : d;
}

/** dup from dh */
export function upGradient(kind: i32, gate: v128, up: v128, dh: v128, alpha: f32, limit: f32): v128 {
  if (kind == CLAMPED) {
    const bound = f32x4.splat(limit);
    const g = f32x4.min(gate, bound);
    const full = f32x4.mul(dh, f32x4.mul(g, sigmoid(f32x4.mul(g, f32x4.splat(alpha)))));
    return v128.andnot(full, f32x4.gt(f32x4.abs(up), bound));
  }
  return f32x4.mul(dh, activate(kind, gate));
}
