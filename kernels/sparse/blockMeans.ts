/**
 * means [B, N, width] of the rows of x [B, T, width] in each block; `bounds` [N][2] are rows [lo, hi), lo < hi.
 * A work item is (batch, block).
 */
export function blockMeans(
  x: usize, bounds: usize, means: usize, T: i32, N: i32, width: i32, begin: i32, end: i32,
): void {
  const row = <usize>width << 2;
  for (let item = begin; item < end; item++) {
    const b = item / N, at = bounds + (<usize>(item % N) << 3), lo = load<i32>(at), hi = load<i32>(at, 4);
    const from = x + <usize>(b * T + lo) * row, to = means + <usize>item * row;
    const inverse: f32 = <f32>1 / <f32>(hi - lo);
    let d = 0;
    for (; d + 4 <= width; d += 4) {
      let p = from + (<usize>d << 2), sum = f32x4.splat(0);
      for (let j = lo; j < hi; j++) {
        sum = f32x4.add(sum, v128.load(p));
        p += row;
      }
      v128.store(to + (<usize>d << 2), f32x4.mul(sum, f32x4.splat(inverse)));
    }
    for (; d < width; d++) {
      let p = from + (<usize>d << 2), sum: f32 = 0;
      for (let j = lo; j < hi; j++) {
        sum += load<f32>(p);
        p += row;
      }
      store<f32>(to + (<usize>d << 2), sum * inverse);
    }
  }
}

/** dx [B, T, width] from dmeans; rows of no block get zeros from the caller. A work item is (batch, block). */
export function blockMeansBackward(
  dmeans: usize, bounds: usize, dx: usize, T: i32, N: i32, width: i32, begin: i32, end: i32,
): void {
  const row = <usize>width << 2;
  for (let item = begin; item < end; item++) {
    const b = item / N, at = bounds + (<usize>(item % N) << 3), lo = load<i32>(at), hi = load<i32>(at, 4);
    const inverse: f32 = <f32>1 / <f32>(hi - lo);
    const from = dmeans + <usize>item * row;
    for (let j = lo; j < hi; j++) {
      const to = dx + <usize>(b * T + j) * row;
      for (let d: usize = 0; d < row; d += 4) store<f32>(to + d, load<f32>(from + d) * inverse);
    }
  }
}
