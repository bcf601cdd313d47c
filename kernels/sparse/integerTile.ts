/**
 * S [4][8] = scale_j * factor_r * (K_j . Q_r) for four rows of int16 keys and eight of queries, in exact integers: Q lies as
 * pairs of channels [pairs][8][2], keys are rows of `rowK` bytes, their scales follow each other.
 */
// @ts-ignore: decorator
@inline
export function integerTile(
  K: usize, rowK: usize, scales: usize, Q: usize, factors: usize, pairs: i32, S: usize,
): void {
  let k0 = K, k1 = k0 + rowK, k2 = k1 + rowK, k3 = k2 + rowK, q = Q;
  let a0 = i32x4.splat(0), a1 = a0, b0 = a0, b1 = a0, c0 = a0, c1 = a0, d0 = a0, d1 = a0;
  for (let n = pairs; n > 0; n--) {
    const q0 = v128.load(q), q1 = v128.load(q, 16);
    let x = v128.load32_splat(k0);
    a0 = i32x4.add(a0, i32x4.dot_i16x8_s(x, q0)); a1 = i32x4.add(a1, i32x4.dot_i16x8_s(x, q1));
    x = v128.load32_splat(k1);
    b0 = i32x4.add(b0, i32x4.dot_i16x8_s(x, q0)); b1 = i32x4.add(b1, i32x4.dot_i16x8_s(x, q1));
    x = v128.load32_splat(k2);
    c0 = i32x4.add(c0, i32x4.dot_i16x8_s(x, q0)); c1 = i32x4.add(c1, i32x4.dot_i16x8_s(x, q1));
    x = v128.load32_splat(k3);
    d0 = i32x4.add(d0, i32x4.dot_i16x8_s(x, q0)); d1 = i32x4.add(d1, i32x4.dot_i16x8_s(x, q1));
    k0 += 4; k1 += 4; k2 += 4; k3 += 4;
    q += 32;
  }
  const f0 = v128.load(factors), f1 = v128.load(factors, 16);
  storeScaled(S, a0, a1, f0, f1, v128.load32_splat(scales));
  storeScaled(S + 32, b0, b1, f0, f1, v128.load32_splat(scales, 4));
  storeScaled(S + 64, c0, c1, f0, f1, v128.load32_splat(scales, 8));
  storeScaled(S + 96, d0, d1, f0, f1, v128.load32_splat(scales, 12));
}

// @ts-ignore: decorator
@inline
function storeScaled(to: usize, low: v128, high: v128, f0: v128, f1: v128, scale: v128): void {
  v128.store(to, f32x4.mul(f32x4.convert_i32x4_s(low), f32x4.mul(f0, scale)));
  v128.store(to, f32x4.mul(f32x4.convert_i32x4_s(high), f32x4.mul(f1, scale)), 16);
}
