import { sumLanes } from '../core/reduce';

/**
 * dx = rstd * (g - x * rstd^2 * share * sum(g x)), g = dy * (offset + weight), for blocks [begin, end) of `blockRows`
 * rows; and, where there is a weight, the block's sum of dy * x * rstd to row `block` of partial [blocks, D].
 */
export function rmsNormBackward(
  x: usize, weight: usize, dy: usize, dx: usize, partial: usize, rows: i32, blockRows: i32, D: i32,
  share: f32, eps: f32, offset: f32, begin: i32, end: i32,
): void {
  const row = <usize>D << 2;
  for (let block = begin; block < end; block++) {
    const sums = partial + <usize>block * row;
    if (weight) memory.fill(sums, 0, row);
    const last = min(rows, (block + 1) * blockRows);
    for (let r = block * blockRows; r < last; r++) {
      const at = <usize>r * row;
      if (weight) weightedRow(x + at, weight, dy + at, dx + at, sums, D, share, eps, offset);
      else plainRow(x + at, dy + at, dx + at, D, share, eps);
    }
  }
}

/** Without a weight, g is dy. */
function plainRow(x: usize, dy: usize, dx: usize, D: i32, share: f32, eps: f32): void {
  let i = 0;
  let xx0 = f32x4.splat(0), xx1 = f32x4.splat(0), gx0 = f32x4.splat(0), gx1 = f32x4.splat(0);
  for (; i + 8 <= D; i += 8) {
    const p = <usize>i << 2;
    const x0 = v128.load(x + p), x1 = v128.load(x + p, 16);
    xx0 = f32x4.add(xx0, f32x4.mul(x0, x0));
    xx1 = f32x4.add(xx1, f32x4.mul(x1, x1));
    gx0 = f32x4.add(gx0, f32x4.mul(v128.load(dy + p), x0));
    gx1 = f32x4.add(gx1, f32x4.mul(v128.load(dy + p, 16), x1));
  }
  let xx = sumLanes(f32x4.add(xx0, xx1)), gx = sumLanes(f32x4.add(gx0, gx1));
  for (; i < D; i++) {
    const p = <usize>i << 2, vx = load<f32>(x + p);
    xx += vx * vx;
    gx += load<f32>(dy + p) * vx;
  }
  const rstd: f32 = 1 / sqrt<f32>(xx * share + eps);
  const c: f32 = rstd * rstd * share * gx;
  const rstd4 = f32x4.splat(rstd), c4 = f32x4.splat(c);
  for (i = 0; i + 4 <= D; i += 4) {
    const p = <usize>i << 2;
    const d = f32x4.sub(v128.load(dy + p), f32x4.mul(v128.load(x + p), c4));
    v128.store(dx + p, f32x4.mul(rstd4, d));
  }
  for (; i < D; i++) {
    const p = <usize>i << 2;
    store<f32>(dx + p, rstd * (load<f32>(dy + p) - load<f32>(x + p) * c));
  }
}

function weightedRow(
  x: usize, weight: usize, dy: usize, dx: usize, sums: usize, D: i32, share: f32, eps: f32, offset: f32,
): void {
  const shift = f32x4.splat(offset);
  let i = 0;
  let xx0 = f32x4.splat(0), xx1 = f32x4.splat(0), gx0 = f32x4.splat(0), gx1 = f32x4.splat(0);
  for (; i + 8 <= D; i += 8) {
    const p = <usize>i << 2;
    const x0 = v128.load(x + p), x1 = v128.load(x + p, 16);
    const g0 = f32x4.mul(v128.load(dy + p), f32x4.add(shift, v128.load(weight + p)));
    const g1 = f32x4.mul(v128.load(dy + p, 16), f32x4.add(shift, v128.load(weight + p, 16)));
    xx0 = f32x4.add(xx0, f32x4.mul(x0, x0));
    xx1 = f32x4.add(xx1, f32x4.mul(x1, x1));
    gx0 = f32x4.add(gx0, f32x4.mul(g0, x0));
    gx1 = f32x4.add(gx1, f32x4.mul(g1, x1));
  }
  let xx = sumLanes(f32x4.add(xx0, xx1)), gx = sumLanes(f32x4.add(gx0, gx1));
  for (; i < D; i++) {
    const p = <usize>i << 2, vx = load<f32>(x + p);
    xx += vx * vx;
    gx += load<f32>(dy + p) * (offset + load<f32>(weight + p)) * vx;
  }
  const rstd: f32 = 1 / sqrt<f32>(xx * share + eps);
  const c: f32 = rstd * rstd * share * gx;
  const rstd4 = f32x4.splat(rstd), c4 = f32x4.splat(c);
  for (i = 0; i + 4 <= D; i += 4) {
    const p = <usize>i << 2;
    const vx = v128.load(x + p), vdy = v128.load(dy + p);
    const g = f32x4.mul(vdy, f32x4.add(shift, v128.load(weight + p)));
    v128.store(dx + p, f32x4.mul(rstd4, f32x4.sub(g, f32x4.mul(vx, c4))));
    v128.store(sums + p, f32x4.add(v128.load(sums + p), f32x4.mul(f32x4.mul(vdy, vx), rstd4)));
  }
  for (; i < D; i++) {
    const p = <usize>i << 2;
    const vx = load<f32>(x + p), vdy = load<f32>(dy + p);
    store<f32>(dx + p, rstd * (vdy * (offset + load<f32>(weight + p)) - vx * c));
    store<f32>(sums + p, load<f32>(sums + p) + vdy * vx * rstd);
  }
}
