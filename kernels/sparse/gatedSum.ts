import { dot } from '../core/reduce';

/** sum [rows][D] += gates [rows] x [rows][D], or = where `begins`. */
export function addGated(
  x: usize, gates: usize, sum: usize, D: i32, begins: i32, begin: i32, end: i32,
): void {
  const row = <usize>D << 2;
  for (let r = begin; r < end; r++) {
    const from = x + <usize>r * row, to = sum + <usize>r * row, gate = load<f32>(gates + (<usize>r << 2));
    if (begins) memory.fill(to, 0, row);
    let d: usize = 0;
    for (; d + 16 <= row; d += 16) {
      v128.store(to + d, f32x4.add(v128.load(to + d), f32x4.mul(v128.load(from + d), f32x4.splat(gate))));
    }
    for (; d < row; d += 4) store<f32>(to + d, load<f32>(to + d) + load<f32>(from + d) * gate);
  }
}

/** dx = gates dy and dgates = x . dy for every row. */
export function addGatedBackward(
  x: usize, gates: usize, dy: usize, dx: usize, dgates: usize, D: i32, begin: i32, end: i32,
): void {
  const row = <usize>D << 2;
  for (let r = begin; r < end; r++) {
    const at = <usize>r * row, gate = load<f32>(gates + (<usize>r << 2));
    for (let d: usize = 0; d < row; d += 4) store<f32>(dx + at + d, load<f32>(dy + at + d) * gate);
    store<f32>(dgates + (<usize>r << 2), dot(x + at, dy + at, D));
  }
}
