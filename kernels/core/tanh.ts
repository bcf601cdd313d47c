import { exp } from './exp';

/** tanh x, within 4 ULP: its series up to 0.2, the quotient of exponentials beyond. */
// @ts-ignore: decorator
@inline
export function tanh(x: v128): v128 {
  const a = f32x4.abs(x), z = f32x4.mul(x, x);
  let p = f32x4.add(f32x4.mul(z, f32x4.splat(0.021869488)), f32x4.splat(-0.05396825));
  p = f32x4.add(f32x4.mul(z, p), f32x4.splat(0.13333334));
  p = f32x4.add(f32x4.mul(z, p), f32x4.splat(-0.33333334));
  const small = f32x4.add(x, f32x4.mul(x, f32x4.mul(z, p)));
  const one = f32x4.splat(1), e = exp(f32x4.mul(a, f32x4.splat(-2)));
  const t = f32x4.div(f32x4.sub(one, e), f32x4.add(one, e));
  const signed = v128.or(t, v128.and(x, f32x4.splat(-0.0)));
  return v128.bitselect(small, signed, f32x4.lt(a, f32x4.splat(0.2)));
}
