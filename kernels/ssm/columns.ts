import { loadLanes, storeLanes } from '../core/lanes';

// Elementwise work on rows [*, D] with one factor per column; a block is 64 rows or 64 columns.

/** y = a f + sign b g for blocks of rows [begin, end), f and g [D]. */
export function scaleColumns(
  a: usize, f: usize, b: usize, g: usize, sign: f32, y: usize, rows: i32, D: i32, begin: i32, end: i32,
): void {
  const s = f32x4.splat(sign), last = min(end << 6, rows);
  for (let r = begin << 6; r < last; r++) {
    const row = <usize>r * (<usize>D << 2);
    for (let d = 0; d < D; d += 4) {
      const q = <usize>d << 2, n = D - d;
      const second = f32x4.mul(f32x4.mul(s, loadLanes(b + row + q, n)), loadLanes(g + q, n));
      storeLanes(y + row + q, f32x4.add(f32x4.mul(loadLanes(a + row + q, n), loadLanes(f + q, n)), second), n);
    }
  }
}

/** sum [D] = sums over rows of a b + sign c d, or of a b where c is 0, for blocks of columns [begin, end). */
export function columnProducts(
  a: usize, b: usize, c: usize, d: usize, sign: f32, sum: usize, rows: i32, D: i32, begin: i32, end: i32,
): void {
  const s = f32x4.splat(sign), last = min(end << 6, D);
  for (let column = begin << 6; column < last; column += 4) {
    const n = last - column;
    let total = f32x4.splat(0), p = <usize>column << 2;
    for (let r = 0; r < rows; r++, p += <usize>D << 2) {
      total = f32x4.add(total, f32x4.mul(loadLanes(a + p, n), loadLanes(b + p, n)));
      if (c) total = f32x4.add(total, f32x4.mul(f32x4.mul(s, loadLanes(c + p, n)), loadLanes(d + p, n)));
    }
    storeLanes(sum + (<usize>column << 2), total, n);
  }
}

/** o = scale (a - b) + u skip for blocks of rows [begin, end), skip [D]. */
export function readOut(
  a: usize, b: usize, u: usize, skip: usize, scale: f32, o: usize, rows: i32, D: i32, begin: i32, end: i32,
): void {
  const s = f32x4.splat(scale), last = min(end << 6, rows);
  for (let r = begin << 6; r < last; r++) {
    const row = <usize>r * (<usize>D << 2);
    for (let d = 0; d < D; d += 4) {
      const q = <usize>d << 2, n = D - d;
      const state = f32x4.mul(s, f32x4.sub(loadLanes(a + row + q, n), loadLanes(b + row + q, n)));
      storeLanes(o + row + q, f32x4.add(state, f32x4.mul(loadLanes(u + row + q, n), loadLanes(skip + q, n))), n);
    }
  }
}

/** da = scale dy, db = -da, du = dy skip. */
export function readOutBackward(
  dy: usize, skip: usize, scale: f32, da: usize, db: usize, du: usize, rows: i32, D: i32, begin: i32, end: i32,
): void {
  const s = f32x4.splat(scale), last = min(end << 6, rows);
  for (let r = begin << 6; r < last; r++) {
    const row = <usize>r * (<usize>D << 2);
    for (let d = 0; d < D; d += 4) {
      const q = <usize>d << 2, n = D - d, g = loadLanes(dy + row + q, n), half = f32x4.mul(s, g);
      storeLanes(da + row + q, half, n);
      storeLanes(db + row + q, f32x4.neg(half), n);
      storeLanes(du + row + q, f32x4.mul(g, loadLanes(skip + q, n)), n);
    }
  }
}
