import { fma } from './exp';

// The two products every heavy kernel is made of, each on a 4 x 8 tile of C held in eight registers:
//
//   C[i][j] (+)= sum over s < n of A(i, s) * B[s][j],   i < 4, j < 8
//
// B gives two vectors per step, A four elements that are splat. All strides are in bytes.
// With `accumulate` the old tile is loaded and added to; without it is overwritten.

/** A(i, s) = a[i * rowA + s * 4]: rows of A are contiguous (keys of a block, rows of a weight). */
// @ts-ignore: decorator
@inline
export function rowTile(
  a: usize, rowA: usize, b: usize, stepB: usize, n: i32, c: usize, rowC: usize, accumulate: bool,
): void {
  const c1 = c + rowC, c2 = c1 + rowC, c3 = c2 + rowC;
  let c00 = f32x4.splat(0), c01 = f32x4.splat(0), c10 = f32x4.splat(0), c11 = f32x4.splat(0);
  let c20 = f32x4.splat(0), c21 = f32x4.splat(0), c30 = f32x4.splat(0), c31 = f32x4.splat(0);
  if (accumulate) {
    c00 = v128.load(c); c01 = v128.load(c, 16); c10 = v128.load(c1); c11 = v128.load(c1, 16);
    c20 = v128.load(c2); c21 = v128.load(c2, 16); c30 = v128.load(c3); c31 = v128.load(c3, 16);
  }
  let a0 = a, a1 = a0 + rowA, a2 = a1 + rowA, a3 = a2 + rowA;
  let pb = b;
  for (let s = n; s > 0; s -= 2) {
    let b0 = v128.load(pb), b1 = v128.load(pb, 16); // [8]
    let x = v128.load32_splat(a0);
    c00 = fma(x, b0, c00); c01 = fma(x, b1, c01);
    x = v128.load32_splat(a1);
    c10 = fma(x, b0, c10); c11 = fma(x, b1, c11);
    x = v128.load32_splat(a2);
    c20 = fma(x, b0, c20); c21 = fma(x, b1, c21);
    x = v128.load32_splat(a3);
    c30 = fma(x, b0, c30); c31 = fma(x, b1, c31);
    if (s == 1) break;
    pb += stepB;
    b0 = v128.load(pb); b1 = v128.load(pb, 16);
    x = v128.load32_splat(a0, 4);
    c00 = fma(x, b0, c00); c01 = fma(x, b1, c01);
    x = v128.load32_splat(a1, 4);
    c10 = fma(x, b0, c10); c11 = fma(x, b1, c11);
    x = v128.load32_splat(a2, 4);
    c20 = fma(x, b0, c20); c21 = fma(x, b1, c21);
    x = v128.load32_splat(a3, 4);
    c30 = fma(x, b0, c30); c31 = fma(x, b1, c31);
    pb += stepB;
    a0 += 8; a1 += 8; a2 += 8; a3 += 8;
  }
  v128.store(c, c00); v128.store(c, c01, 16); v128.store(c1, c10); v128.store(c1, c11, 16);
  v128.store(c2, c20); v128.store(c2, c21, 16); v128.store(c3, c30); v128.store(c3, c31, 16);
}

/** A(i, s) = a[i * 4 + s * stepA]: columns of A are contiguous (a transposed score tile). */
// @ts-ignore: decorator
@inline
export function columnTile(
  a: usize, stepA: usize, b: usize, stepB: usize, n: i32, c: usize, rowC: usize, accumulate: bool,
): void {
  const c1 = c + rowC, c2 = c1 + rowC, c3 = c2 + rowC;
  let c00 = f32x4.splat(0), c01 = f32x4.splat(0), c10 = f32x4.splat(0), c11 = f32x4.splat(0);
  let c20 = f32x4.splat(0), c21 = f32x4.splat(0), c30 = f32x4.splat(0), c31 = f32x4.splat(0);
  if (accumulate) {
    c00 = v128.load(c); c01 = v128.load(c, 16); c10 = v128.load(c1); c11 = v128.load(c1, 16);
    c20 = v128.load(c2); c21 = v128.load(c2, 16); c30 = v128.load(c3); c31 = v128.load(c3, 16);
  }
  let pa = a, pb = b;
  for (let s = n; s > 0; s -= 2) {
    let b0 = v128.load(pb), b1 = v128.load(pb, 16); // [8]
    let x = v128.load32_splat(pa);
    c00 = fma(x, b0, c00); c01 = fma(x, b1, c01);
    x = v128.load32_splat(pa, 4);
    c10 = fma(x, b0, c10); c11 = fma(x, b1, c11);
    x = v128.load32_splat(pa, 8);
    c20 = fma(x, b0, c20); c21 = fma(x, b1, c21);
    x = v128.load32_splat(pa, 12);
    c30 = fma(x, b0, c30); c31 = fma(x, b1, c31);
    if (s == 1) break;
    pa += stepA;
    pb += stepB;
    b0 = v128.load(pb); b1 = v128.load(pb, 16);
    x = v128.load32_splat(pa);
    c00 = fma(x, b0, c00); c01 = fma(x, b1, c01);
    x = v128.load32_splat(pa, 4);
    c10 = fma(x, b0, c10); c11 = fma(x, b1, c11);
    x = v128.load32_splat(pa, 8);
    c20 = fma(x, b0, c20); c21 = fma(x, b1, c21);
    x = v128.load32_splat(pa, 12);
    c30 = fma(x, b0, c30); c31 = fma(x, b1, c31);
    pa += stepA;
    pb += stepB;
  }
  v128.store(c, c00); v128.store(c, c01, 16); v128.store(c1, c10); v128.store(c1, c11, 16);
  v128.store(c2, c20); v128.store(c2, c21, 16); v128.store(c3, c30); v128.store(c3, c31, 16);
}

/** How many of some rows go in sixes, so that fours remain. */
// @ts-ignore: decorator
@inline
export function inSixes(rows: i32): i32 {
  return rows / 12 * 12;
}

/**
 * Six rows, A(i, s) = a[i * rowA + s * stepA], for fused multiply-adds: twelve sums keep them busy, with eight they are no
 * faster than separate ones. Those would need registers for their products too.
 */
// @ts-ignore: decorator
@inline
export function sixTile(
  a: usize, rowA: usize, stepA: usize, b: usize, stepB: usize, n: i32, c: usize, rowC: usize, accumulate: bool,
): void {
  const c1 = c + rowC, c2 = c1 + rowC, c3 = c2 + rowC, c4 = c3 + rowC, c5 = c4 + rowC;
  let c00 = f32x4.splat(0), c01 = f32x4.splat(0), c10 = f32x4.splat(0), c11 = f32x4.splat(0);
  let c20 = f32x4.splat(0), c21 = f32x4.splat(0), c30 = f32x4.splat(0), c31 = f32x4.splat(0);
  let c40 = f32x4.splat(0), c41 = f32x4.splat(0), c50 = f32x4.splat(0), c51 = f32x4.splat(0);
  if (accumulate) {
    c00 = v128.load(c); c01 = v128.load(c, 16); c10 = v128.load(c1); c11 = v128.load(c1, 16);
    c20 = v128.load(c2); c21 = v128.load(c2, 16); c30 = v128.load(c3); c31 = v128.load(c3, 16);
    c40 = v128.load(c4); c41 = v128.load(c4, 16); c50 = v128.load(c5); c51 = v128.load(c5, 16);
  }
  let a0 = a, a1 = a0 + rowA, a2 = a1 + rowA, a3 = a2 + rowA, a4 = a3 + rowA, a5 = a4 + rowA, pb = b;
  for (let s = n; s > 0; s--) {
    const b0 = v128.load(pb), b1 = v128.load(pb, 16); // [8]
    let x = v128.load32_splat(a0);
    c00 = fma(x, b0, c00); c01 = fma(x, b1, c01);
    x = v128.load32_splat(a1);
    c10 = fma(x, b0, c10); c11 = fma(x, b1, c11);
    x = v128.load32_splat(a2);
    c20 = fma(x, b0, c20); c21 = fma(x, b1, c21);
    x = v128.load32_splat(a3);
    c30 = fma(x, b0, c30); c31 = fma(x, b1, c31);
    x = v128.load32_splat(a4);
    c40 = fma(x, b0, c40); c41 = fma(x, b1, c41);
    x = v128.load32_splat(a5);
    c50 = fma(x, b0, c50); c51 = fma(x, b1, c51);
    pb += stepB;
    a0 += stepA; a1 += stepA; a2 += stepA; a3 += stepA; a4 += stepA; a5 += stepA;
  }
  v128.store(c, c00); v128.store(c, c01, 16); v128.store(c1, c10); v128.store(c1, c11, 16);
  v128.store(c2, c20); v128.store(c2, c21, 16); v128.store(c3, c30); v128.store(c3, c31, 16);
  v128.store(c4, c40); v128.store(c4, c41, 16); v128.store(c5, c50); v128.store(c5, c51, 16);
}

/** Two rows of sixteen columns, A(i, s) = a[i * 4 + s * stepA]: what sixes leave of eight rows. */
// @ts-ignore: decorator
@inline
export function pairTile(a: usize, stepA: usize, b: usize, stepB: usize, n: i32, c: usize, rowC: usize): void {
  const d = c + rowC;
  let c0 = v128.load(c), c1 = v128.load(c, 16), c2 = v128.load(c, 32), c3 = v128.load(c, 48);
  let d0 = v128.load(d), d1 = v128.load(d, 16), d2 = v128.load(d, 32), d3 = v128.load(d, 48);
  let pa = a, pb = b;
  for (let s = n; s > 0; s--) {
    const x = v128.load32_splat(pa), y = v128.load32_splat(pa, 4), b0 = v128.load(pb), b1 = v128.load(pb, 16);
    c0 = fma(x, b0, c0); c1 = fma(x, b1, c1); d0 = fma(y, b0, d0); d1 = fma(y, b1, d1);
    const b2 = v128.load(pb, 32), b3 = v128.load(pb, 48);
    c2 = fma(x, b2, c2); c3 = fma(x, b3, c3); d2 = fma(y, b2, d2); d3 = fma(y, b3, d3);
    pa += stepA;
    pb += stepB;
  }
  v128.store(c, c0); v128.store(c, c1, 16); v128.store(c, c2, 32); v128.store(c, c3, 48);
  v128.store(d, d0); v128.store(d, d1, 16); v128.store(d, d2, 32); v128.store(d, d3, 48);
}

/** Any tile at the edge, rows <= 4 and columns <= 8, one element of C at a time: A(i, s) = a[i * rowA + s * stepA]. */
export function edgeTile(
  a: usize, rowA: usize, stepA: usize, b: usize, stepB: usize, n: i32,
  c: usize, rowC: usize, rows: i32, columns: i32, accumulate: bool,
): void {
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const out = c + <usize>i * rowC + (<usize>j << 2);
      let pa = a + <usize>i * rowA, pb = b + (<usize>j << 2);
      let sum: f32 = accumulate ? load<f32>(out) : 0;
      for (let s = n; s > 0; s--) {
        sum += load<f32>(pa) * load<f32>(pb);
        pa += stepA;
        pb += stepB;
      }
      store<f32>(out, sum);
    }
  }
}
