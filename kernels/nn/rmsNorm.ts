import { dot } from '../core/reduce';

/**
 * y = x / sqrt(share * sum(x^2) + eps) * (offset + weight) for rows [begin, end) of x [rows, D]; weight may be 0 (none).
 * A share of 1 / D makes it the root mean square norm, 1 the Euclidean one.
 */
export function rmsNorm(
  x: usize, weight: usize, y: usize, D: i32, share: f32, eps: f32, offset: f32, begin: i32, end: i32,
): void {
  const row = <usize>D << 2;
  for (let r = begin; r < end; r++) {
    const px = x + <usize>r * row, py = y + <usize>r * row;
    const rstd: f32 = 1 / sqrt<f32>(dot(px, px, D) * share + eps);
    if (weight) scaleWeighted(px, weight, py, D, rstd, offset);
    else scale(px, py, D, rstd);
  }
}

/** The norm of sum = x + update, row by row, which is kept as well. */
export function addRmsNorm(
  x: usize, update: usize, weight: usize, sum: usize, y: usize, D: i32, share: f32, eps: f32, offset: f32,
  begin: i32, end: i32,
): void {
  const last = <usize>(end * D) << 2;
  let p = <usize>(begin * D) << 2;
  for (; p + 16 <= last; p += 16) v128.store(sum + p, f32x4.add(v128.load(x + p), v128.load(update + p)));
  for (; p < last; p += 4) store<f32>(sum + p, load<f32>(x + p) + load<f32>(update + p));
  rmsNorm(sum, weight, y, D, share, eps, offset, begin, end);
}

/** y[i] = x[i] * rstd */
// @ts-ignore: decorator
@inline
function scale(x: usize, y: usize, D: i32, rstd: f32): void {
  const factor = f32x4.splat(rstd);
  let i = 0;
  for (; i + 8 <= D; i += 8) {
    const p = <usize>i << 2;
    v128.store(y + p, f32x4.mul(v128.load(x + p), factor));
    v128.store(y + p, f32x4.mul(v128.load(x + p, 16), factor), 16);
  }
  for (; i < D; i++) {
    const p = <usize>i << 2;
    store<f32>(y + p, load<f32>(x + p) * rstd);
  }
}

/** y[i] = x[i] * rstd * (offset + weight[i]) */
// @ts-ignore: decorator
@inline
function scaleWeighted(x: usize, weight: usize, y: usize, D: i32, rstd: f32, offset: f32): void {
  const factor = f32x4.splat(rstd), shift = f32x4.splat(offset);
  let i = 0;
  for (; i + 8 <= D; i += 8) {
    const p = <usize>i << 2;
    const w0 = f32x4.add(shift, v128.load(weight + p)), w1 = f32x4.add(shift, v128.load(weight + p, 16));
    v128.store(y + p, f32x4.mul(f32x4.mul(v128.load(x + p), factor), w0));
    v128.store(y + p, f32x4.mul(f32x4.mul(v128.load(x + p, 16), factor), w1), 16);
  }
  for (; i < D; i++) {
    const p = <usize>i << 2;
    store<f32>(y + p, load<f32>(x + p) * rstd * (offset + load<f32>(weight + p)));
  }
}
