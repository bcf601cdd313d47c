import { exp, fma } from './exp';

/** log(1 + x) for x in [0, 1], within 2 ULP: 2 atanh(x / (2 + x)) by its series. */
// @ts-ignore: decorator
@inline
export function log1p(x: v128): v128 {
  const s = f32x4.div(x, f32x4.add(f32x4.splat(2), x));
  const z = f32x4.mul(s, s);
  let p = fma(z, f32x4.splat(0.06666667), f32x4.splat(0.07692308));
  p = fma(z, p, f32x4.splat(0.09090909));
  p = fma(z, p, f32x4.splat(0.11111111));
  p = fma(z, p, f32x4.splat(0.14285715));
  p = fma(z, p, f32x4.splat(0.2));
  p = fma(z, p, f32x4.splat(0.33333334));
  const twice = f32x4.add(s, s);
  return fma(f32x4.mul(twice, z), p, twice);
}

/** log(1 + e^x) */
// @ts-ignore: decorator
@inline
export function softplus(x: v128): v128 {
  const tail = log1p(exp(f32x4.neg(f32x4.abs(x))));
  return f32x4.add(f32x4.max(x, f32x4.splat(0)), tail);
}
