import { fma } from './exp';
import { loadLanes, storeLanes } from './lanes';

// Matrices and vectors in a workspace, whose sizes are padded with zeros to multiples of 4.

/** dst = src [n], padded with zeros; zeros where src is 0 */
export function copyPadded(src: usize, dst: usize, n: i32): void {
  if (src == 0) {
    memory.fill(dst, 0, <usize>((n + 3) & ~3) << 2);
    return;
  }
  for (let i = 0; i < n; i += 4) v128.store(dst + (<usize>i << 2), loadLanes(src + (<usize>i << 2), n - i));
}

/** dst = factor src [n], padded */
export function scalePadded(src: usize, dst: usize, n: i32, factor: f32): void {
  const x = f32x4.splat(factor);
  for (let i = 0; i < n; i += 4) {
    v128.store(dst + (<usize>i << 2), f32x4.mul(x, loadLanes(src + (<usize>i << 2), n - i)));
  }
}

/** dst [n] = src, without the padding */
export function copyOut(src: usize, dst: usize, n: i32): void {
  for (let i = 0; i < n; i += 4) storeLanes(dst + (<usize>i << 2), v128.load(src + (<usize>i << 2)), n - i);
}

/** A matrix [rows, n] to one padded in both directions; zeros where `from` is 0. */
export function loadMatrix(from: usize, to: usize, rows: i32, n: i32): void {
  const pitch = <usize>((n + 3) & ~3) << 2;
  for (let i = 0; i < rows; i++) copyPadded(from ? from + (<usize>(i * n) << 2) : 0, to + <usize>i * pitch, n);
  memory.fill(to + <usize>rows * pitch, 0, <usize>(((rows + 3) & ~3) - rows) * pitch);
}

/** A padded matrix to one [rows, n] without padding. */
export function storeMatrix(from: usize, to: usize, rows: i32, n: i32): void {
  const pitch = <usize>((n + 3) & ~3) << 2;
  for (let i = 0; i < rows; i++) copyOut(from + <usize>i * pitch, to + (<usize>(i * n) << 2), n);
}

// Products of matrix and vector have eight sums: as many as a unit that multiplies and adds in one has under way.

/** y [rows] = M x, rows and columns multiples of 4 */
export function matVec(m: usize, x: usize, y: usize, rows: i32, columns: i32): void {
  const pitch = <usize>columns << 2, pairs = pitch & ~31;
  for (let i = 0; i < rows; i += 4) {
    const p0 = m + <usize>i * pitch, p1 = p0 + pitch, p2 = p1 + pitch, p3 = p2 + pitch;
    let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0, t0 = s0, t1 = s0, t2 = s0, t3 = s0;
    for (let at: usize = 0; at < pairs; at += 32) {
      let b = v128.load(x + at);
      s0 = fma(v128.load(p0 + at), b, s0); s1 = fma(v128.load(p1 + at), b, s1);
      s2 = fma(v128.load(p2 + at), b, s2); s3 = fma(v128.load(p3 + at), b, s3);
      b = v128.load(x + at, 16);
      t0 = fma(v128.load(p0 + at, 16), b, t0); t1 = fma(v128.load(p1 + at, 16), b, t1);
      t2 = fma(v128.load(p2 + at, 16), b, t2); t3 = fma(v128.load(p3 + at, 16), b, t3);
    }
    if (pairs < pitch) {
      const b = v128.load(x + pairs);
      s0 = fma(v128.load(p0 + pairs), b, s0); s1 = fma(v128.load(p1 + pairs), b, s1);
      s2 = fma(v128.load(p2 + pairs), b, s2); s3 = fma(v128.load(p3 + pairs), b, s3);
    }
    s0 = f32x4.add(s0, t0); s1 = f32x4.add(s1, t1); s2 = f32x4.add(s2, t2); s3 = f32x4.add(s3, t3);
    const a = f32x4.add(v128.shuffle<f32>(s0, s1, 0, 4, 2, 6), v128.shuffle<f32>(s0, s1, 1, 5, 3, 7));
    const c = f32x4.add(v128.shuffle<f32>(s2, s3, 0, 4, 2, 6), v128.shuffle<f32>(s2, s3, 1, 5, 3, 7));
    const sums = f32x4.add(v128.shuffle<f32>(a, c, 0, 1, 4, 5), v128.shuffle<f32>(a, c, 2, 3, 6, 7));
    v128.store(y + (<usize>i << 2), sums);
  }
}

/** y [columns] = M^T x, rows and columns multiples of 4 */
export function vecMat(x: usize, m: usize, y: usize, rows: i32, columns: i32): void {
  const pitch = <usize>columns << 2;
  let j: usize = 0;
  for (; j + 64 <= pitch; j += 64) {
    let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0, t0 = s0, t1 = s0, t2 = s0, t3 = s0;
    let p = m + j, a = x;
    for (let i = 0; i < rows; i += 2, a += 8) {
      let b = v128.load32_splat(a);
      s0 = fma(b, v128.load(p), s0); s1 = fma(b, v128.load(p, 16), s1);
      s2 = fma(b, v128.load(p, 32), s2); s3 = fma(b, v128.load(p, 48), s3);
      p += pitch;
      b = v128.load32_splat(a, 4);
      t0 = fma(b, v128.load(p), t0); t1 = fma(b, v128.load(p, 16), t1);
      t2 = fma(b, v128.load(p, 32), t2); t3 = fma(b, v128.load(p, 48), t3);
      p += pitch;
    }
    v128.store(y + j, f32x4.add(s0, t0)); v128.store(y + j, f32x4.add(s1, t1), 16);
    v128.store(y + j, f32x4.add(s2, t2), 32); v128.store(y + j, f32x4.add(s3, t3), 48);
  }
  for (; j < pitch; j += 16) {
    let s = f32x4.splat(0), p = m + j, a = x;
    for (let i = 0; i < rows; i++, p += pitch, a += 4) s = fma(v128.load32_splat(a), v128.load(p), s);
    v128.store(y + j, s);
  }
}

/** to = decay from + a b^T and y = to^T q; `to` may be `from`. */
export function advance(
  from: usize, to: usize, decay: f32, a: usize, b: usize, q: usize, y: usize, rows: i32, columns: i32,
): void {
  const pitch = <usize>columns << 2, w = f32x4.splat(decay);
  let j: usize = 0;
  for (; j + 64 <= pitch; j += 64) {
    const b0 = v128.load(b + j), b1 = v128.load(b + j, 16), b2 = v128.load(b + j, 32), b3 = v128.load(b + j, 48);
    let s0 = f32x4.splat(0), s1 = f32x4.splat(0), s2 = f32x4.splat(0), s3 = f32x4.splat(0);
    let src = from + j, dst = to + j;
    for (let i: usize = 0; i < <usize>rows << 2; i += 4, src += pitch, dst += pitch) {
      const x = v128.load32_splat(a + i), z = v128.load32_splat(q + i);
      const m0 = fma(x, b0, f32x4.mul(w, v128.load(src)));
      const m1 = fma(x, b1, f32x4.mul(w, v128.load(src, 16)));
      v128.store(dst, m0); v128.store(dst, m1, 16);
      s0 = fma(z, m0, s0); s1 = fma(z, m1, s1);
      const m2 = fma(x, b2, f32x4.mul(w, v128.load(src, 32)));
      const m3 = fma(x, b3, f32x4.mul(w, v128.load(src, 48)));
      v128.store(dst, m2, 32); v128.store(dst, m3, 48);
      s2 = fma(z, m2, s2); s3 = fma(z, m3, s3);
    }
    v128.store(y + j, s0); v128.store(y + j, s1, 16); v128.store(y + j, s2, 32); v128.store(y + j, s3, 48);
  }
  for (; j < pitch; j += 16) {
    const b0 = v128.load(b + j);
    let s = f32x4.splat(0), src = from + j, dst = to + j;
    for (let i: usize = 0; i < <usize>rows << 2; i += 4, src += pitch, dst += pitch) {
      const m0 = fma(v128.load32_splat(a + i), b0, f32x4.mul(w, v128.load(src)));
      v128.store(dst, m0);
      s = fma(v128.load32_splat(q + i), m0, s);
    }
    v128.store(y + j, s);
  }
}

/** y [n] += factor x, n a multiple of 4 */
export function axpy(factor: f32, x: usize, y: usize, n: i32): void {
  const a = f32x4.splat(factor), bytes = <usize>n << 2;
  for (let at: usize = 0; at < bytes; at += 16) v128.store(y + at, fma(a, v128.load(x + at), v128.load(y + at)));
}

/** y [n] *= factor, n a multiple of 4 */
export function scaleBy(factor: f32, y: usize, n: i32): void {
  const a = f32x4.splat(factor), bytes = <usize>n << 2;
  for (let at: usize = 0; at < bytes; at += 16) v128.store(y + at, f32x4.mul(a, v128.load(y + at)));
}
