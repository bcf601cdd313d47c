import { fma } from './exp';

/** 1.5 * 2^23 + 127: adding it rounds to the nearest integer n and leaves n + 127, the exponent bits of 2^n, lowest. */
const ROUND: f32 = 12583039.0;

/**
 * y / (1 + e^-x), with e^-x = 2^n (a - b) / (a + b) by the Pade approximant of degree 3 (relative error 6e-9 for the rest
 * of |f| <= ln 2 / 2). Within 4 ULP of y sigmoid(x), 0 below x of -86, NaN for NaN.
 */
// @ts-ignore: decorator
@inline
function gated(x: v128, y: v128): v128 {
  const clamped = f32x4.pmin(f32x4.pmax(x, f32x4.splat(-88.9)), f32x4.splat(87));
  const shifted = fma(clamped, f32x4.splat(-1.4426950408889634), f32x4.splat(ROUND));
  const n = f32x4.sub(shifted, f32x4.splat(ROUND));
  // ln 2 in two parts, the first exact in a product with n
  let f = fma(n, f32x4.splat(0.693359375), clamped);
  f = fma(n, f32x4.splat(-2.12194440e-4), f);
  const square = f32x4.mul(f, f);
  const a = f32x4.add(square, f32x4.splat(10));
  const b = f32x4.mul(f, fma(square, f32x4.splat(1.0 / 12.0), f32x4.splat(5)));
  const over = f32x4.add(a, b);
  return f32x4.div(f32x4.mul(y, over), fma(f32x4.sub(a, b), i32x4.shl(shifted, 23), over));
}

/** 1 / (1 + e^-x) */
// @ts-ignore: decorator
@inline
export function sigmoid(x: v128): v128 {
  return gated(x, f32x4.splat(1));
}

// @ts-ignore: decorator
@inline
export function silu(x: v128): v128 {
  return gated(x, x);
}

/**
 * silu in two thirds of its time, where it is what bounds: e^-x = 2^n (a + b) / (a - b) with one term less, and x in one
 * rounded product in place of two. Its relative error is up to 1e-6 + 5e-8 |x|; 0 below x of -86, NaN for NaN.
 */
// @ts-ignore: decorator
@inline
export function quickSilu(x: v128): v128 {
  const scaled = f32x4.mul(x, f32x4.splat(-1.4426950408889634));
  const clamped = f32x4.pmin(f32x4.pmax(scaled, f32x4.splat(-126)), f32x4.splat(128));
  const shifted = f32x4.add(clamped, f32x4.splat(ROUND));
  const f = f32x4.sub(clamped, f32x4.sub(shifted, f32x4.splat(ROUND)));
  const a = fma(f, f, f32x4.splat(25.03910668));
  const b = f32x4.mul(f, f32x4.splat(8.67783884));
  const over = f32x4.sub(a, b);
  return f32x4.div(f32x4.mul(x, over), fma(f32x4.add(a, b), i32x4.shl(shifted, 23), over));
}

/** The derivative of x s, s = sigmoid(x): s (1 + x (1 - s)). */
// @ts-ignore: decorator
@inline
export function siluSlope(x: v128, s: v128): v128 {
  const one = f32x4.splat(1);
  return f32x4.mul(s, f32x4.add(one, f32x4.mul(x, f32x4.sub(one, s))));
}
