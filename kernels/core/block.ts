import { columnTile, inSixes, pairTile, rowTile, sixTile } from './tile';

// Strips of tiles, for sizes that are multiples of them. They are functions and have more than one caller, so that the
// compiler does not merge them into a kernel, whose variables would push the accumulators out of the registers.

/** C [rows][8] = A [rows][n] B [n][8] for a multiple of 4 rows; rows of B are 32 bytes apart. */
export function rowStrip(a: usize, rowA: usize, b: usize, n: i32, c: usize, rowC: usize, rows: i32): void {
  let i = 0;
  for (; ASC_FEATURE_RELAXED_SIMD && i < inSixes(rows); i += 6) {
    sixTile(a + <usize>i * rowA, rowA, 4, b, 32, n, c + <usize>i * rowC, rowC, false);
  }
  for (; i < rows; i += 4) rowTile(a + <usize>i * rowA, rowA, b, 32, n, c + <usize>i * rowC, rowC, false);
}

/** C [4][columns] += A [4][n] B [n][columns] for a multiple of 8 columns. */
export function addRows(
  a: usize, rowA: usize, b: usize, stepB: usize, n: i32, c: usize, rowC: usize, columns: i32,
): void {
  for (let j = 0; j < columns; j += 8) {
    rowTile(a, rowA, b, stepB, n, c, rowC, true);
    b += 32;
    c += 32;
  }
}

/** C [8][columns] += A^T B with A [n][8] and B [n][columns], for a multiple of 8 columns. */
export function addColumns(
  a: usize, stepA: usize, b: usize, stepB: usize, n: i32, c: usize, rowC: usize, columns: i32,
): void {
  let j = 0;
  for (; ASC_FEATURE_RELAXED_SIMD && j + 16 <= columns; j += 16) {
    sixTile(a, 4, stepA, b, stepB, n, c, rowC, true);
    sixTile(a, 4, stepA, b + 32, stepB, n, c + 32, rowC, true);
    pairTile(a + 24, stepA, b, stepB, n, c + 6 * rowC, rowC);
    b += 64;
    c += 64;
  }
  for (; j < columns; j += 8) {
    columnTile(a, stepA, b, stepB, n, c, rowC, true);
    columnTile(a + 16, stepA, b, stepB, n, c + (rowC << 2), rowC, true);
    b += 32;
    c += 32;
  }
}
