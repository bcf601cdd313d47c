/** y[d] = sum over rows of x [rows, D], for blocks of columns [begin, end) of 64. */
export function sumRows(x: usize, y: usize, rows: i32, D: i32, begin: i32, end: i32): void {
  const row = <usize>D << 2;
  const last = min(end << 6, D);
  let d = begin << 6;
  for (; d + 4 <= last; d += 4) {
    let sum = f32x4.splat(0), px = x + (<usize>d << 2);
    for (let r = 0; r < rows; r++, px += row) sum = f32x4.add(sum, v128.load(px));
    v128.store(y + (<usize>d << 2), sum);
  }
  for (; d < last; d++) {
    let sum: f32 = 0, px = x + (<usize>d << 2);
    for (let r = 0; r < rows; r++, px += row) sum += load<f32>(px);
    store<f32>(y + (<usize>d << 2), sum);
  }
}
