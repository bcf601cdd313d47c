import { dot } from '../core/reduce';

/** y = x / sqrt(mean(x^2) + eps) * (offset + weight) for rows [begin, end) of x [rows, D]; weight may be 0 (none). */
export function rmsNorm(
  x: usize, weight: usize, y: usize, D: i32, eps: f32, offset: f32, begin: i32, end: i32,
): void {
  const row = <usize>D << 2;
  for (let r = begin; r < end; r++) {
    const px = x + <usize>r * row, py = y + <usize>r * row;
    const rstd: f32 = 1 / sqrt<f32>(dot(px, px, D) / <f32>D + eps);
    scaleRow(px, weight, py, D, rstd, offset);
  }
}

/** y[i] = x[i] * rstd * (offset + weight[i]) */
// @ts-ignore: decorator
@inline
function scaleRow(x: usize, weight: usize, y: usize, D: i32, rstd: f32, offset: f32): void {
  const scale = f32x4.splat(rstd), shift = f32x4.splat(offset);
  let i = 0;
  for (; i + 4 <= D; i += 4) {
    const p = <usize>i << 2;
    let v = f32x4.mul(v128.load(x + p), scale);
    if (weight) v = f32x4.mul(v, f32x4.add(shift, v128.load(weight + p)));
    v128.store(y + p, v);
  }
  for (; i < D; i++) {
    const p = <usize>i << 2;
    let v = load<f32>(x + p) * rstd;
    if (weight) v *= offset + load<f32>(weight + p);
    store<f32>(y + p, v);
  }
}
