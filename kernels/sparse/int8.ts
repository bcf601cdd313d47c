import { LOG2E } from '../attention/score';
import { exp2 } from '../core/exp';
import { toInt16 } from './quantize';

/** Keys whose weights share a scale. */
const BLOCK: i32 = 64;

// @ts-ignore: decorator
@inline
function product(key: usize, query: usize, sum: v128): v128 {
  const k = v128.load(key);
  const low = i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(k), v128.load(query));
  return i32x4.add(sum, i32x4.add(low, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(k), v128.load(query, 16))));
}

/**
 * Attention over keys and values in int8 with a scale per row. Queries, and weights times the scales of their values, are
 * rounded to int16, so that both products are integer dots; the softmax is in float32. A work item is (batch, KV head,
 * query) and reads blocks of keys and values once for its heads; `ranges` [Tq][2] are the keys [lo, hi) each query
 * sees, rows of keys and values are `pitch` and `pitchV` bytes, multiples of 16.
 *
 * workspace, for each head: scores [Tk + 8], O [pitchV], factor and sum, Q int16 [pitch]; scales [BLOCK], weights int16
 *            [4][BLOCK]
 */
export function int8Attention(
  q: usize, keys: usize, keyScales: usize, values: usize, valueScales: usize, ranges: usize, output: usize,
  Tq: i32, Tk: i32, Hq: i32, Hkv: i32, D: i32, Dv: i32, pitch: i32, pitchV: i32, scale: f32, workspace: usize,
  begin: i32, end: i32,
): void {
  const group = Hq / Hkv, heads = <usize>group;
  const rowS = <usize>(Tk + 8) << 2, rowQ = <usize>pitch << 1, rowO = <usize>pitchV << 2;
  const S = workspace;
  const O = S + heads * rowS;
  const F = O + heads * rowO;
  const Q = F + (heads << 3);
  const X = Q + heads * rowQ;
  const W = X + (<usize>BLOCK << 2);
  const rowK = <usize>(Hkv * pitch), rowV = <usize>(Hkv * pitchV), stepS = <usize>Hkv << 2;

  for (let item = begin; item < end; item++) {
    const i = item % Tq, kv = item / Tq % Hkv, b = item / (Tq * Hkv);
    const lo = load<i32>(ranges + (<usize>i << 3)), n = load<i32>(ranges + (<usize>i << 3), 4) - lo;
    const first = <usize>(b * Tk + lo), row = <usize>((b * Tq + i) * Hq + kv * group);
    const K = keys + first * rowK + <usize>kv * <usize>pitch, KS = keyScales + first * stepS + (<usize>kv << 2);
    const V = values + first * rowV + <usize>kv * <usize>pitchV, VS = valueScales + first * stepS + (<usize>kv << 2);
    const out = output + row * (<usize>Dv << 2);
    if (n <= 0) {
      memory.fill(out, 0, heads * (<usize>Dv << 2));
      continue;
    }
    memory.fill(Q, 0, heads * rowQ);
    memory.fill(O, 0, heads * rowO);
    for (let h: usize = 0; h < heads; h++) {
      store<f32>(F + (h << 3), toInt16(q + (row + h) * (<usize>D << 2), Q + h * rowQ, D) * (scale * LOG2E));
    }
    for (let j = 0; j < n; j += BLOCK) {
      const count = min(BLOCK, n - j), at = <usize>j << 2;
      gather(KS + <usize>j * stepS, stepS, count, X);
      let h: usize = 0;
      for (; h + 2 <= heads; h += 2) {
        scores(K + <usize>j * rowK, rowK, X, count, pitch, Q + h * rowQ, rowQ, F + (h << 3), S + h * rowS + at, rowS, true);
      }
      if (h < heads) {
        scores(K + <usize>j * rowK, rowK, X, count, pitch, Q + h * rowQ, 0, F + (h << 3), S + h * rowS + at, 0, false);
      }
    }
    for (let h: usize = 0; h < heads; h++) {
      for (let j = n; j & 3; j++) store<f32>(S + h * rowS + (<usize>j << 2), -Infinity);
      store<f32>(F + (h << 3), softmax(S + h * rowS, n), 4);
    }
    for (let j = 0; j < n; j += BLOCK) {
      const count = min(BLOCK, n - j), at = <usize>j << 2;
      gather(VS + <usize>j * stepS, stepS, count, X);
      const values = V + <usize>j * rowV;
      for (let h: usize = 0; h < heads;) {
        const weights = S + h * rowS + at, to = O + h * rowO, left = heads - h;
        if (left >= 4) accumulate(weights, rowS, X, values, rowV, count, pitchV, W, to, 4);
        else if (left >= 2) accumulate(weights, rowS, X, values, rowV, count, pitchV, W, to, 2);
        else accumulate(weights, rowS, X, values, rowV, count, pitchV, W, to, 1);
        h += left >= 4 ? 4 : left >= 2 ? 2 : 1;
      }
    }
    for (let h: usize = 0; h < heads; h++) {
      const to = out + h * (<usize>Dv << 2), sum = load<f32>(F + (h << 3), 4);
      for (let p: usize = 0; p < <usize>Dv << 2; p += 4) store<f32>(to + p, load<f32>(O + h * rowO + p) / sum);
    }
  }
}

/** n floats that lie `step` bytes apart, side by side, zeros up to a multiple of 4. */
function gather(from: usize, step: usize, n: i32, to: usize): void {
  for (let j = 0; j < n; j++) store<f32>(to + (<usize>j << 2), load<f32>(from + <usize>j * step));
  for (let j = n; j & 3; j++) store<f32>(to + (<usize>j << 2), 0);
}

// @ts-ignore: decorator
@inline
function dots(low: v128, high: v128, query: usize, sum: v128): v128 {
  const a = i32x4.dot_i16x8_s(low, v128.load(query)), b = i32x4.dot_i16x8_s(high, v128.load(query, 16));
  return i32x4.add(sum, i32x4.add(a, b));
}

/**
 * S [n] = factor * scale_j * (Q . K_j) for one head or `two`, four keys at a time; Q, factors and S of the second are `nextQ`,
 * 8 and `nextS` bytes further, and S has room up to a multiple of 4 behind.
 */
// @ts-ignore: decorator
@inline
function scores(
  K: usize, rowK: usize, scales: usize, n: i32, pitch: i32, Q: usize, nextQ: usize, factors: usize, S: usize, nextS: usize,
  two: bool,
): void {
  for (let j = 0; j < n; j += 4) {
    // the last key stands in for those past the end
    let k0 = K + <usize>j * rowK, k1 = K + <usize>min(j + 1, n - 1) * rowK;
    let k2 = K + <usize>min(j + 2, n - 1) * rowK, k3 = K + <usize>min(j + 3, n - 1) * rowK;
    let a0 = i32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
    let p = Q, r = Q + nextQ;
    for (let d = 0; d < pitch; d += 16) {
      let low = v128.load_ext<i8>(k0), high = v128.load_ext<i8>(k0, 8);
      a0 = dots(low, high, p, a0);
      if (two) b0 = dots(low, high, r, b0);
      low = v128.load_ext<i8>(k1); high = v128.load_ext<i8>(k1, 8);
      a1 = dots(low, high, p, a1);
      if (two) b1 = dots(low, high, r, b1);
      low = v128.load_ext<i8>(k2); high = v128.load_ext<i8>(k2, 8);
      a2 = dots(low, high, p, a2);
      if (two) b2 = dots(low, high, r, b2);
      low = v128.load_ext<i8>(k3); high = v128.load_ext<i8>(k3, 8);
      a3 = dots(low, high, p, a3);
      if (two) b3 = dots(low, high, r, b3);
      k0 += 16; k1 += 16; k2 += 16; k3 += 16;
      p += 32; r += 32;
    }
    const at = <usize>j << 2, s = v128.load(scales + at);
    v128.store(S + at, f32x4.mul(sums(a0, a1, a2, a3), f32x4.mul(s, v128.load32_splat(factors))));
    if (two) v128.store(S + nextS + at, f32x4.mul(sums(b0, b1, b2, b3), f32x4.mul(s, v128.load32_splat(factors, 8))));
  }
}

/** The sums of the lanes of four vectors, as floats. */
// @ts-ignore: decorator
@inline
function sums(a0: v128, a1: v128, a2: v128, a3: v128): v128 {
  const low = i32x4.add(v128.shuffle<i32>(a0, a1, 0, 4, 1, 5), v128.shuffle<i32>(a0, a1, 2, 6, 3, 7)); // 0 1 0 1
  const high = i32x4.add(v128.shuffle<i32>(a2, a3, 0, 4, 1, 5), v128.shuffle<i32>(a2, a3, 2, 6, 3, 7));
  return f32x4.convert_i32x4_s(
    i32x4.add(v128.shuffle<i32>(low, high, 0, 1, 4, 5), v128.shuffle<i32>(low, high, 2, 3, 6, 7)),
  );
}

/** In place 2^(S - max), n numbers and padding of -Infinity up to a multiple of 4; their sum. */
function softmax(S: usize, n: i32): f32 {
  let m = f32x4.splat(-Infinity);
  for (let j = 0; j < n; j += 4) m = f32x4.pmax(m, v128.load(S + (<usize>j << 2)));
  m = f32x4.pmax(m, v128.shuffle<f32>(m, m, 2, 3, 0, 1));
  m = f32x4.pmax(m, v128.shuffle<f32>(m, m, 1, 0, 3, 2));
  let sum = f32x4.splat(0);
  for (let j = 0; j < n; j += 4) {
    const p = S + (<usize>j << 2), e = exp2(f32x4.sub(v128.load(p), m));
    sum = f32x4.add(sum, e);
    v128.store(p, e);
  }
  sum = f32x4.add(sum, v128.shuffle<f32>(sum, sum, 2, 3, 0, 1));
  return f32x4.extract_lane(sum, 0) + f32x4.extract_lane(sum, 1);
}

/** Up to BLOCK weights times scales, as int16 in W; returns their unit. */
function toWeights(weights: usize, scales: usize, n: i32, W: usize): v128 {
  for (let p: usize = 0; p < <usize>n << 2; p += 16) {
    v128.store(weights + p, f32x4.mul(v128.load(weights + p), v128.load(scales + p)));
  }
  return f32x4.splat(toInt16(weights, W, n));
}

/**
 * O [heads][pitchV] += weights V over up to BLOCK keys for 1, 2 or 4 heads, each of which has its weights `next` bytes behind
 * those of the one before.
 */
// @ts-ignore: decorator
@inline
function accumulate(
  weights: usize, next: usize, scales: usize, V: usize, rowV: usize, n: i32, pitchV: i32, W: usize, O: usize, heads: i32,
): void {
  const step = <usize>BLOCK << 1, row = <usize>pitchV << 2;
  const unit0 = toWeights(weights, scales, n, W);
  const unit1 = heads > 1 ? toWeights(weights + next, scales, n, W + step) : unit0;
  const unit2 = heads > 2 ? toWeights(weights + 2 * next, scales, n, W + 2 * step) : unit0;
  const unit3 = heads > 3 ? toWeights(weights + 3 * next, scales, n, W + 3 * step) : unit0;
  for (let d = 0; d < pitchV; d += 8) {
    let a0 = i32x4.splat(0), a1 = a0, b0 = a0, b1 = a0, c0 = a0, c1 = a0, d0 = a0, d1 = a0;
    let v = V + <usize>d, w = W;
    for (let j = 0; j < n; j += 2) {
      const x = v128.load_ext<i8>(v), y = v128.load_ext<i8>(j + 1 < n ? v + rowV : v);
      const low = v128.shuffle<i16>(x, y, 0, 8, 1, 9, 2, 10, 3, 11), high = v128.shuffle<i16>(x, y, 4, 12, 5, 13, 6, 14, 7, 15);
      let pair = v128.load32_splat(w);
      a0 = i32x4.add(a0, i32x4.dot_i16x8_s(low, pair)); a1 = i32x4.add(a1, i32x4.dot_i16x8_s(high, pair));
      if (heads > 1) {
        pair = v128.load32_splat(w + step);
        b0 = i32x4.add(b0, i32x4.dot_i16x8_s(low, pair)); b1 = i32x4.add(b1, i32x4.dot_i16x8_s(high, pair));
      }
      if (heads > 2) {
        pair = v128.load32_splat(w + 2 * step);
        c0 = i32x4.add(c0, i32x4.dot_i16x8_s(low, pair)); c1 = i32x4.add(c1, i32x4.dot_i16x8_s(high, pair));
        pair = v128.load32_splat(w + 3 * step);
        d0 = i32x4.add(d0, i32x4.dot_i16x8_s(low, pair)); d1 = i32x4.add(d1, i32x4.dot_i16x8_s(high, pair));
      }
      v += 2 * rowV;
      w += 4;
    }
    const to = O + (<usize>d << 2);
    addScaled(to, unit0, a0, a1);
    if (heads > 1) addScaled(to + row, unit1, b0, b1);
    if (heads > 2) {
      addScaled(to + 2 * row, unit2, c0, c1);
      addScaled(to + 3 * row, unit3, d0, d1);
    }
  }
}

// @ts-ignore: decorator
@inline
function addScaled(to: usize, unit: v128, low: v128, high: v128): void {
  v128.store(to, f32x4.add(v128.load(to), f32x4.mul(f32x4.convert_i32x4_s(low), unit)));
  v128.store(to, f32x4.add(v128.load(to, 16), f32x4.mul(f32x4.convert_i32x4_s(high), unit)), 16);
}
