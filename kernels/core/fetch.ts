/**
 * Reads a number of every 64 bytes of rows [rows, bytes], so that they come into the cache together: where kernels use them a
 * part of a row at a time, nothing fetches ahead, and each waits for memory anew (2 to 5 GB/s, and 40 in one stream). A row
 * after the other takes half as long again as these pairs of 256 bytes where rows are parts of longer ones. The sum goes to
 * `sink` because loads that nobody uses are left out.
 */
export function fetchRows(src: usize, pitch: usize, rows: i32, bytes: usize, sink: usize): void {
  let sum: i32 = 0, at: usize = 0;
  for (; at + 256 <= bytes; at += 256) {
    let row = src + at, i = 1;
    for (; i < rows; i += 2, row += 2 * pitch) sum |= fourLines(row) | fourLines(row + pitch);
    if (i == rows) sum |= fourLines(row);
  }
  for (; at < bytes; at += 64) {
    for (let i = 0, row = src + at; i < rows; i++, row += pitch) sum |= load<i32>(row);
  }
  store<i32>(sink, sum);
}

/** Heads [from, to) of x [T, heads, D] of `rows` tokens, from one on or, in reverse, back from it. */
export function fetchHeads(
  x: usize, heads: i32, D: i32, from: i32, to: i32, token: i32, rows: i32, reverse: bool, sink: usize,
): void {
  const row = <usize>(heads * D) << 2, first = <usize>(token * heads + from) * <usize>D << 2;
  fetchRows(x + first, reverse ? 0 - row : row, rows, <usize>((to - from) * D) << 2, sink);
}

// @ts-ignore: decorator
@inline
function fourLines(at: usize): i32 {
  return load<i32>(at) | load<i32>(at, 64) | load<i32>(at, 128) | load<i32>(at, 192);
}
