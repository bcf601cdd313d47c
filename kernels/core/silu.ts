import { exp2 } from './exp';

/** 1 / (1 + e^-x); the power is held below 2^126, which leaves 1e-38 where the true value is less. */
// @ts-ignore: decorator
@inline
export function sigmoid(x: v128): v128 {
  const power = exp2(f32x4.pmin(f32x4.mul(x, f32x4.splat(-1.4426950408889634)), f32x4.splat(126)));
  return f32x4.div(f32x4.splat(1), f32x4.add(f32x4.splat(1), power));
}

// @ts-ignore: decorator
@inline
export function silu(x: v128): v128 {
  return f32x4.mul(x, sigmoid(x));
}

/** The derivative of x s, s = sigmoid(x): s (1 + x (1 - s)). */
// @ts-ignore: decorator
@inline
export function siluSlope(x: v128, s: v128): v128 {
  const one = f32x4.splat(1);
  return f32x4.mul(s, f32x4.add(one, f32x4.mul(x, f32x4.sub(one, s))));
}
