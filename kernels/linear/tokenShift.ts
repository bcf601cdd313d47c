/**
 * y_r = x_(r + step) - x_r for rows [begin, end) of x [rows, D], where the row past the first (step -1) or last (step 1)
 * of sequence s is edge[s], or zero if edge is 0. Sequence s has the rows offsets[s] to offsets[s + 1].
 */
export function tokenShift(
  x: usize, edge: usize, y: usize, offsets: usize, D: i32, step: i32, begin: i32, end: i32,
): void {
  const row = <usize>D << 2;
  let s = 0;
  for (let r = begin; r < end; r++) {
    while (load<i32>(offsets + (<usize>(s + 1) << 2)) <= r) s++;
    const bounds = offsets + (<usize>s << 2);
    const outermost = step < 0 ? load<i32>(bounds) : load<i32>(bounds, 4) - 1;
    const px = x + <usize>r * row, py = y + <usize>r * row;
    if (r != outermost) subtract(step < 0 ? px - row : px + row, px, py, D);
    else if (edge) subtract(edge + <usize>s * row, px, py, D);
    else negate(px, py, D);
  }
}

/** y[s] = the last (step -1) or first (step 1) row of sequence s of x; of an empty sequence edge[s], or zero if edge is 0. */
export function edgeTokens(
  x: usize, edge: usize, y: usize, offsets: usize, D: i32, step: i32, begin: i32, end: i32,
): void {
  const row = <usize>D << 2;
  for (let s = begin; s < end; s++) {
    const bounds = offsets + (<usize>s << 2), py = y + <usize>s * row;
    const first = load<i32>(bounds), last = load<i32>(bounds, 4) - 1;
    if (last >= first) memory.copy(py, x + <usize>(step < 0 ? last : first) * row, row);
    else if (edge) memory.copy(py, edge + <usize>s * row, row);
    else memory.fill(py, 0, row);
  }
}

/** y = a - b */
// @ts-ignore: decorator
@inline
function subtract(a: usize, b: usize, y: usize, D: i32): void {
  let i = 0;
  for (; i + 4 <= D; i += 4) {
    const p = <usize>i << 2;
    v128.store(y + p, f32x4.sub(v128.load(a + p), v128.load(b + p)));
  }
  for (; i < D; i++) {
    const p = <usize>i << 2;
    store<f32>(y + p, load<f32>(a + p) - load<f32>(b + p));
  }
}

/** y = 0 - b */
// @ts-ignore: decorator
@inline
function negate(b: usize, y: usize, D: i32): void {
  for (let i = 0; i < D; i++) {
    const p = <usize>i << 2;
    store<f32>(y + p, <f32>0 - load<f32>(b + p));
  }
}
