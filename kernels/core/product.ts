import { fma } from './exp';
import { columnTile, edgeTile, inSixes, rowTile, sixTile } from './tile';

/**
 * C [rows, columns] (+)= A [rows, n] B [n, columns] for any sizes, A(i, s) = a[i * rowA + s * stepA] with one stride of 4.
 * All strides are in bytes.
 */
export function product(
  a: usize, rowA: usize, stepA: usize, b: usize, stepB: usize, n: i32,
  c: usize, rowC: usize, rows: i32, columns: i32, accumulate: bool,
): void {
  let j = 0;
  for (; j + 8 <= columns; j += 8) {
    const at = <usize>j << 2;
    let i = 0;
    for (; ASC_FEATURE_RELAXED_SIMD && i < inSixes(rows); i += 6) {
      sixTile(a + <usize>i * rowA, rowA, stepA, b + at, stepB, n, c + <usize>i * rowC + at, rowC, accumulate);
    }
    for (; i + 4 <= rows; i += 4) {
      const pa = a + <usize>i * rowA, pc = c + <usize>i * rowC + at;
      if (stepA == 4) rowTile(pa, rowA, b + at, stepB, n, pc, rowC, accumulate);
      else columnTile(pa, stepA, b + at, stepB, n, pc, rowC, accumulate);
    }
    for (; i < rows; i++) stripe(a + <usize>i * rowA, stepA, b + at, stepB, n, c + <usize>i * rowC + at, accumulate);
  }
  if (j == columns) return;
  const at = <usize>j << 2;
  for (let i = 0; i < rows; i += 4) {
    edgeTile(
      a + <usize>i * rowA, rowA, stepA, b + at, stepB, n, c + <usize>i * rowC + at, rowC, min(4, rows - i), columns - j,
      accumulate,
    );
  }
}

/** One row of eight columns. */
function stripe(a: usize, stepA: usize, b: usize, stepB: usize, n: i32, c: usize, accumulate: bool): void {
  let c0 = f32x4.splat(0), c1 = f32x4.splat(0);
  if (accumulate) {
    c0 = v128.load(c); c1 = v128.load(c, 16);
  }
  for (let s = n; s > 0; s--) {
    const x = v128.load32_splat(a);
    c0 = fma(x, v128.load(b), c0);
    c1 = fma(x, v128.load(b, 16), c1);
    a += stepA;
    b += stepB;
  }
  v128.store(c, c0); v128.store(c, c1, 16);
}
