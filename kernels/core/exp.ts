// 2^x and e^x on four lanes: x = n + f with n integer and |f| <= 1/2, a degree-6 minimax polynomial in f
// (relative error 2e-9, so the result is within 2 ULP), and n added to the exponent bits.
// Results too small for a normal number are 0 (exp2: or subnormal); NaN stays NaN.

/** 1.5 * 2^23: adding it rounds to the nearest integer and leaves that integer in the low mantissa bits. */
export const ROUND: f32 = 12582912.0;
const MIN_EXP2: f32 = -126.0;
const ZERO_EXP2: f32 = -127.0;
const MIN_EXP: f32 = -87.33654;
const MAX_EXP: f32 = 88.72283;

// @ts-ignore: decorator
@inline
export function fma(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

/** 2^x for x in [-127, 127]; 0 at -127, where the exponent bits of 1.0 cancel. */
// @ts-ignore: decorator
@inline
function power(x: v128): v128 {
  const shifted = f32x4.add(x, f32x4.splat(ROUND));
  const f = f32x4.sub(x, f32x4.sub(shifted, f32x4.splat(ROUND)));
  let p = fma(f, f32x4.splat(0.00015353361959569156), f32x4.splat(0.0013398875016719103));
  p = fma(f, p, f32x4.splat(0.00961843691766262));
  p = fma(f, p, f32x4.splat(0.055503323674201965));
  p = fma(f, p, f32x4.splat(0.24022647738456726));
  p = fma(f, p, f32x4.splat(0.6931471824645996));
  p = fma(f, p, f32x4.splat(1.0));
  return i32x4.add(p, i32x4.shl(shifted, 23));
}

/** 2^x for x <= 127; 0 up to -127. */
// @ts-ignore: decorator
@inline
export function exp2(x: v128): v128 {
  return power(f32x4.pmax(x, f32x4.splat(ZERO_EXP2)));
}

/** 2^x for any x, held to [-126, 127]; NaN for NaN. Never 0 or Infinity: for decays, whose exponents are at most 0. */
// @ts-ignore: decorator
@inline
export function exp2Clamped(x: v128): v128 {
  return power(f32x4.pmin(f32x4.pmax(x, f32x4.splat(MIN_EXP2)), f32x4.splat(127)));
}

/** e^x for any x: 0 below -87.33654, Infinity above 88.72283, NaN for NaN. */
// @ts-ignore: decorator
@inline
export function exp(x: v128): v128 {
  const clamped = f32x4.pmin(f32x4.pmax(x, f32x4.splat(MIN_EXP)), f32x4.splat(MAX_EXP));
  const shifted = fma(clamped, f32x4.splat(1.4426950408889634), f32x4.splat(ROUND));
  const n = f32x4.sub(shifted, f32x4.splat(ROUND));
  // ln 2 in two parts, the first exact in a product with n
  let f = f32x4.sub(clamped, f32x4.mul(n, f32x4.splat(0.693359375)));
  f = f32x4.add(f, f32x4.mul(n, f32x4.splat(2.12194440e-4)));
  let p = fma(f, f32x4.splat(0.001384365139529109), f32x4.splat(0.008374156430363655));
  p = fma(f, p, f32x4.splat(0.04166800156235695));
  p = fma(f, p, f32x4.splat(0.16666431725025177));
  p = fma(f, p, f32x4.splat(0.4999999403953552));
  p = fma(f, p, f32x4.splat(1.0));
  p = fma(f, p, f32x4.splat(1.0));
  // two steps, because 2^128 is no float: half of n first
  const half = i32x4.shr_s(i32x4.sub(shifted, i32x4.splat(0x4b400000)), 1);
  const rest = i32x4.sub(i32x4.sub(shifted, i32x4.splat(0x4b400000)), half);
  p = f32x4.mul(p, i32x4.shl(i32x4.add(half, i32x4.splat(127)), 23));
  p = f32x4.mul(p, i32x4.shl(i32x4.add(rest, i32x4.splat(127)), 23));
  p = v128.andnot(p, f32x4.lt(x, f32x4.splat(MIN_EXP)));
  return v128.bitselect(f32x4.splat(Infinity), p, f32x4.gt(x, f32x4.splat(MAX_EXP)));
}

/** e^x - 1 without cancellation: a power series up to |x| of 0.35, where the difference loses two bits. */
// @ts-ignore: decorator
@inline
export function expm1(x: v128): v128 {
  let p = fma(x, f32x4.splat(1.0 / 5040.0), f32x4.splat(1.0 / 720.0));
  p = fma(x, p, f32x4.splat(1.0 / 120.0));
  p = fma(x, p, f32x4.splat(1.0 / 24.0));
  p = fma(x, p, f32x4.splat(1.0 / 6.0));
  p = fma(x, p, f32x4.splat(0.5));
  p = fma(f32x4.mul(x, x), p, x);
  return v128.bitselect(p, f32x4.sub(exp(x), f32x4.splat(1)), f32x4.lt(f32x4.abs(x), f32x4.splat(0.35)));
}
