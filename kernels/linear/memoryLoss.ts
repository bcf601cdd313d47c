import { fma } from '../core/exp';
import { axpy, copyPadded } from '../core/matrix';
import { dot, sumLanes } from '../core/reduce';

// The loss of test-time training, |LN(y) - target|^2 / 2 with LN(y) = w x + b, x = (y - mean) / deviation: its gradient
// with respect to y, the gradient of that, and the layer norm with a residual that reads the memory out.
// All vectors are padded with zeros to multiples of 4; D is the true size.

/** A layer norm: w, b [Dp] and their gradients, or 0. */
@unmanaged
export class Norm {
  w: usize;
  b: usize;
  dw: usize;
  db: usize;
  D: i32;
  eps: f32;
  /** Whether g is not divided by the deviation, as in flash-linear-attention's titans. */
  undivided: i32;
}

// @ts-ignore: decorator
@inline
function sum(x: usize, D: i32): f32 {
  let s = f32x4.splat(0);
  for (let i = 0; i < D; i += 4) s = f32x4.add(s, v128.load(x + (<usize>i << 2)));
  return sumLanes(s);
}

/** x = (y - mean) / deviation, zeros in the padding; returns the deviation. */
export function standardize(y: usize, x: usize, D: i32, eps: f32): f32 {
  const mean: f32 = sum(y, D) / <f32>D;
  let squares: f32 = 0;
  for (let i = 0; i < D; i++) {
    const centred = load<f32>(y + (<usize>i << 2)) - mean;
    store<f32>(x + (<usize>i << 2), centred);
    squares += centred * centred;
  }
  for (let i = D; i & 3; i++) store<f32>(x + (<usize>i << 2), 0);
  const deviation: f32 = sqrt<f32>(squares / <f32>D + eps);
  const factor = f32x4.splat(1 / deviation);
  for (let i = 0; i < D; i += 4) {
    const p = x + (<usize>i << 2);
    v128.store(p, f32x4.mul(factor, v128.load(p)));
  }
  return deviation;
}

/** dy = gradient through x = (y - mean) / deviation of dx, and of dDeviation; dy may be dx. */
function standardizeBackward(x: usize, dx: usize, dDeviation: f32, deviation: f32, dy: usize, D: i32): void {
  const mean = sum(dx, D) / <f32>D, along = dot(dx, x, (D + 3) & ~3) / <f32>D;
  for (let i = 0; i < D; i++) {
    const at = <usize>i << 2, hat = load<f32>(x + at);
    store<f32>(dy + at, (load<f32>(dx + at) - mean - hat * along) / deviation + dDeviation * hat / <f32>D);
  }
  for (let i = D; i & 3; i++) store<f32>(dy + (<usize>i << 2), 0);
}

/** e = w x + b - (v - k), g = w e */
// @ts-ignore: decorator
@inline
function residual(norm: Norm, x: usize, k: usize, v: usize, e: usize, g: usize): void {
  for (let at: usize = 0; at < <usize>norm.D << 2; at += 16) {
    const w = v128.load(norm.w + at);
    const target = f32x4.sub(v128.load(v + at), v128.load(k + at));
    const r = f32x4.sub(fma(w, v128.load(x + at), v128.load(norm.b + at)), target);
    v128.store(e + at, r);
    v128.store(g + at, f32x4.mul(w, r));
  }
}

/** u = the loss's gradient with respect to y, for the target v - k: (g - mean g - x (g . x) / D) / deviation. x, g: scratch. */
export function lossGradient(norm: Norm, y: usize, k: usize, v: usize, u: usize, x: usize, g: usize): void {
  const D = norm.D, deviation = standardize(y, x, D, norm.eps);
  residual(norm, x, k, v, u, g);
  const c: f32 = 1 / (deviation * <f32>D), a: f32 = norm.undivided ? <f32>D : 1 / deviation;
  const shift = sum(g, D) * c, along = dot(g, x, (D + 3) & ~3) * c;
  for (let i = 0; i < D; i++) {
    const at = <usize>i << 2;
    store<f32>(u + at, a * load<f32>(g + at) - shift - along * load<f32>(x + at));
  }
  for (let i = D; i & 3; i++) store<f32>(u + (<usize>i << 2), 0);
}

/**
 * From du: dy (which may be du's place), dk and dv added to, dw and db added to. scratch: 4 vectors.
 * With a and c as above, u = a g - c sum(g) - c (g . x) x.
 */
export function lossGradientBackward(
  norm: Norm, y: usize, k: usize, v: usize, du: usize, dy: usize, dk: usize, dv: usize, scratch: usize,
): void {
  const D = norm.D, Dp = (D + 3) & ~3, bytes = <usize>Dp << 2;
  const x = scratch, e = x + bytes, g = e + bytes, dx = g + bytes;
  const deviation = standardize(y, x, D, norm.eps);
  residual(norm, x, k, v, e, g);
  const n = <f32>D, c: f32 = 1 / (deviation * n), a: f32 = norm.undivided ? n : 1 / deviation;
  const total = sum(g, D), p = dot(g, x, Dp), duSum = sum(du, D), r = dot(du, x, Dp);
  const dc = -total * duSum - p * r;
  let dDeviation = -dc * c / deviation;
  if (!norm.undivided) dDeviation -= dot(g, du, Dp) * a / deviation;
  for (let i = 0; i < D; i++) {
    const at = <usize>i << 2;
    const hat = load<f32>(x + at), up = load<f32>(du + at), w = load<f32>(norm.w + at);
    const dg = a * up - c * (duSum + r * hat);
    const dTarget = -dg * w;
    store<f32>(dx + at, -c * (p * up + r * load<f32>(g + at)) - dTarget * w);
    store<f32>(norm.dw + at, load<f32>(norm.dw + at) + dg * (load<f32>(e + at) + w * hat));
    store<f32>(norm.db + at, load<f32>(norm.db + at) - dTarget);
    store<f32>(dv + at, load<f32>(dv + at) + dTarget);
    store<f32>(dk + at, load<f32>(dk + at) - dTarget);
  }
  for (let i = D; i & 3; i++) store<f32>(dx + (<usize>i << 2), 0);
  standardizeBackward(x, dx, dDeviation, deviation, dy, D);
}

/** y += w x + b, x the standardized y; x: scratch */
export function residualNorm(norm: Norm, y: usize, x: usize): void {
  standardize(y, x, norm.D, norm.eps);
  for (let at: usize = 0; at < <usize>norm.D << 2; at += 16) {
    v128.store(y + at, f32x4.add(v128.load(y + at), fma(v128.load(norm.w + at), v128.load(x + at), v128.load(norm.b + at))));
  }
}

/** dy [Dp] = gradient of y + w x + b with respect to y, from dO [D] without padding; dw and db added to. scratch: 2 vectors. */
export function residualNormBackward(norm: Norm, y: usize, dO: usize, dy: usize, scratch: usize): void {
  const D = norm.D, bytes = <usize>((D + 3) & ~3) << 2;
  const x = scratch, dx = x + bytes;
  const deviation = standardize(y, x, D, norm.eps);
  copyPadded(dO, dy, D);
  for (let at: usize = 0; at < <usize>D << 2; at += 16) {
    const d = v128.load(dy + at);
    v128.store(norm.dw + at, fma(d, v128.load(x + at), v128.load(norm.dw + at)));
    v128.store(norm.db + at, f32x4.add(d, v128.load(norm.db + at)));
    v128.store(dx + at, f32x4.mul(d, v128.load(norm.w + at)));
  }
  standardizeBackward(x, dx, 0, deviation, dx, D);
  axpy(1, dx, dy, (D + 3) & ~3);
}
