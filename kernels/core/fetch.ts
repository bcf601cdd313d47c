/**
 * Reads a number of every 64 bytes of rows [rows, bytes], so that they come into the cache together: as kernels use them, a
 * row at a time, each waits for memory anew. Row by row, this takes half as long again where rows are parts of longer ones.
 * The sum goes to `sink` because loads that nobody uses are left out.
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

// @ts-ignore: decorator
@inline
function fourLines(at: usize): i32 {
  return load<i32>(at) | load<i32>(at, 64) | load<i32>(at, 128) | load<i32>(at, 192);
}
