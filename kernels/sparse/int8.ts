import { KEYS, LOG2E } from '../attention/score';
import { outputsOf, resetTile, softmaxLanes, tileBytes } from '../attention/tile';
import { fma, ROUND } from '../core/exp';
import { fetchRows } from '../core/fetch';
import { sumLanes4 } from '../core/reduce';
import { toInt16 } from './quantize';

/**
 * Attention over keys and values in int8 with a scale per row. Queries, and weights times the scales of their values, are
 * rounded to int16, so that both products are integer dots; the softmax is in float32. Keys and values are read in place,
 * once for all heads: a work item is (batch, query, split of `split` of the keys [lo, hi) that `ranges` [Tq][2] give the
 * query), and leaves max, sum and O of them in `parts` [B, Tq, heads / 8, splits], tiles without queries. Rows of keys and
 * values are `pitch` and `pitchV` bytes, multiples of 16.
 *
 * workspace, for Hq rounded up to a multiple of 4: Q int16 [heads / 4][pitch / 8][4][8], factors [heads]; S [KEYS][8], of
 *            which four lanes are used, weights int16 [KEYS / 2][4][2], their units [4], a query int16 [pitch]
 */
export function int8Attention(
  q: usize, keys: usize, keyScales: usize, values: usize, valueScales: usize, ranges: usize, parts: usize,
  Tq: i32, Tk: i32, Hq: i32, Hkv: i32, D: i32, pitch: i32, pitchV: i32, scale: f32, splits: i32, split: i32,
  workspace: usize, begin: i32, end: i32,
): void {
  const group = Hq / Hkv, tiles = (Hq + 7) >> 3, heads = (Hq + 3) & ~3;
  const size = tileBytes(0, pitchV), partTile = <usize>splits * size;
  const rowK = <usize>(Hkv * pitch), rowV = <usize>(Hkv * pitchV), rowS = <usize>Hkv << 2;
  const rowO = <usize>pitchV << 2;
  const Q = workspace, F = Q + <usize>(heads * pitch << 1), S = F + (<usize>heads << 2);
  const W = S + (<usize>KEYS << 5), X = W + (<usize>KEYS << 3) + 16;

  for (let item = begin; item < end; item++) {
    const row = item / splits, part = item % splits, b = row / Tq, range = ranges + (<usize>(row % Tq) << 3);
    const lo = load<i32>(range) + part * split, hi = min(load<i32>(range, 4), lo + split);
    const own = parts + <usize>(row * tiles) * partTile + <usize>part * size;
    for (let t = 0; t < tiles; t++) resetTile(own + <usize>t * partTile, 0, pitchV);
    if (lo >= hi) continue;
    memory.fill(S, 0, <usize>KEYS << 5);
    for (let h = 0; h < Hq; h++) {
      store<f32>(F + (<usize>h << 2), toInt16(q + <usize>((row * Hq + h) * D << 2), X, D) * (scale * LOG2E));
      memory.fill(X + <usize>(D << 1), 0, <usize>(pitch - D << 1));
      const to = Q + <usize>((h & ~3) * pitch << 1) + <usize>((h & 3) << 4);
      for (let d: usize = 0; d < <usize>pitch << 1; d += 16) v128.store(to + (d << 2), v128.load(X + d));
    }
    for (let first = lo; first < hi; first += KEYS) {
      const count = min(KEYS, hi - first), at = <usize>(b * Tk + first);
      const K = keys + at * rowK, KS = keyScales + at * rowS, V = values + at * rowV, VS = valueScales + at * rowS;
      fetchRows(K, 0, 1, <usize>count * rowK, S);
      fetchRows(V, 0, 1, <usize>count * rowV, S);
      for (let h = 0; h < Hq; h += 4) {
        const kv = h / group, last = min(h + 3, Hq - 1), shared = h + 3 < Hq && last / group == kv;
        const tile = own + <usize>(h >> 3) * partTile, half = <usize>(h & 4), O = outputsOf(tile, 0) + half * rowO;
        const queries = Q + <usize>(h * pitch << 1), factors = F + (<usize>h << 2);
        if (shared) int8SharedScores(K + <usize>(kv * pitch), rowK, KS + (<usize>kv << 2), rowS, count, pitch, queries, factors, S);
        for (let i = h; i <= last && !shared; i++) {
          const kv = i / group, lane = <usize>(i & 3);
          int8OwnScores(
            K + <usize>(kv * pitch), rowK, KS + (<usize>kv << 2), rowS, count, pitch, queries + (lane << 4),
            factors + (lane << 2), S + (lane << 2),
          );
        }
        softmaxLanes(tile + (half << 2), S, count, O, pitchV);
        toWeights(
          S, VS + (<usize>kv << 2), rowS, <usize>(min(h + 1, last) / group - kv) << 2,
          <usize>(min(h + 2, last) / group - kv) << 2, <usize>(last / group - kv) << 2, count, W,
        );
        if (shared) int8AddShared(W, V + <usize>(kv * pitchV), rowV, count, O, pitchV);
        for (let i = h; i <= last && !shared; i++) {
          const lane = <usize>(i & 3);
          int8AddOwn(W + (lane << 2), V + <usize>(i / group * pitchV), rowV, count, O + lane * rowO, pitchV);
        }
      }
    }
  }
}

// The next four are entry points of the module only because that keeps the compiler from merging them into their caller,
// whose variables would push the accumulators out of the registers.

/** S [keys][4] = factor * scale * (Q . K) for four heads with the same keys. */
export function int8SharedScores(
  K: usize, rowK: usize, scales: usize, rowS: usize, keys: i32, pitch: i32, Q: usize, factors: usize, S: usize,
): void {
  for (let j = 0; j < keys; j += 2) {
    let a0 = i32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
    const other = <usize>min(j + 1, keys - 1);
    let ka = K + <usize>j * rowK, kb = K + other * rowK, p = Q;
    for (let d = pitch; d > 0; d -= 8) {
      const x = v128.load_ext<i8>(ka), y = v128.load_ext<i8>(kb);
      let z = v128.load(p);
      a0 = i32x4.add(a0, i32x4.dot_i16x8_s(x, z)); b0 = i32x4.add(b0, i32x4.dot_i16x8_s(y, z));
      z = v128.load(p, 16);
      a1 = i32x4.add(a1, i32x4.dot_i16x8_s(x, z)); b1 = i32x4.add(b1, i32x4.dot_i16x8_s(y, z));
      z = v128.load(p, 32);
      a2 = i32x4.add(a2, i32x4.dot_i16x8_s(x, z)); b2 = i32x4.add(b2, i32x4.dot_i16x8_s(y, z));
      z = v128.load(p, 48);
      a3 = i32x4.add(a3, i32x4.dot_i16x8_s(x, z)); b3 = i32x4.add(b3, i32x4.dot_i16x8_s(y, z));
      ka += 8;
      kb += 8;
      p += 64;
    }
    const to = S + (<usize>j << 5), factor = v128.load(factors);
    const s = v128.load32_splat(scales + <usize>j * rowS), t = v128.load32_splat(scales + other * rowS);
    v128.store(to, f32x4.mul(sums(a0, a1, a2, a3), f32x4.mul(s, factor)));
    v128.store(to, f32x4.mul(sums(b0, b1, b2, b3), f32x4.mul(t, factor)), 32);
  }
}

/** One lane of S for one head. */
export function int8OwnScores(
  K: usize, rowK: usize, scales: usize, rowS: usize, keys: i32, pitch: i32, Q: usize, factor: usize, S: usize,
): void {
  for (let j = 0; j < keys; j += 4) {
    let a = i32x4.splat(0), b = a, c = a, d = a;
    const j0 = <usize>j, j1 = <usize>min(j + 1, keys - 1), j2 = <usize>min(j + 2, keys - 1), j3 = <usize>min(j + 3, keys - 1);
    let k0 = K + j0 * rowK, k1 = K + j1 * rowK, k2 = K + j2 * rowK, k3 = K + j3 * rowK, p = Q;
    for (let n = pitch; n > 0; n -= 16) {
      const y = v128.load(p), z = v128.load(p, 64);
      a = i32x4.add(a, i32x4.dot_i16x8_s(v128.load_ext<i8>(k0), y)); a = i32x4.add(a, i32x4.dot_i16x8_s(v128.load_ext<i8>(k0, 8), z));
      b = i32x4.add(b, i32x4.dot_i16x8_s(v128.load_ext<i8>(k1), y)); b = i32x4.add(b, i32x4.dot_i16x8_s(v128.load_ext<i8>(k1, 8), z));
      c = i32x4.add(c, i32x4.dot_i16x8_s(v128.load_ext<i8>(k2), y)); c = i32x4.add(c, i32x4.dot_i16x8_s(v128.load_ext<i8>(k2, 8), z));
      d = i32x4.add(d, i32x4.dot_i16x8_s(v128.load_ext<i8>(k3), y)); d = i32x4.add(d, i32x4.dot_i16x8_s(v128.load_ext<i8>(k3, 8), z));
      k0 += 16; k1 += 16; k2 += 16; k3 += 16;
      p += 128;
    }
    const to = S + (j0 << 5);
    const s = lanes(scales + j0 * rowS, scales + j1 * rowS, scales + j2 * rowS, scales + j3 * rowS);
    const x = f32x4.mul(sums(a, b, c, d), f32x4.mul(s, v128.load32_splat(factor)));
    // rows of keys past the end are padding
    v128.store32_lane(to, x, 0);
    v128.store32_lane(to, x, 1, 32);
    v128.store32_lane(to, x, 2, 64);
    v128.store32_lane(to, x, 3, 96);
  }
}

/** O [4][pitchV] += weights V for four heads with the same values. */
export function int8AddShared(W: usize, V: usize, rowV: usize, keys: i32, O: usize, pitchV: i32): void {
  const row = <usize>pitchV << 2, units = W + (<usize>KEYS << 3);
  for (let d = 0; d < pitchV; d += 8) {
    let a0 = i32x4.splat(0), a1 = a0, b0 = a0, b1 = a0, c0 = a0, c1 = a0, d0 = a0, d1 = a0;
    let v = V + <usize>d, w = W, n = keys;
    do {
      const x = v128.load_ext<i8>(v), y = v128.load_ext<i8>(n > 1 ? v + rowV : v);
      const low = v128.shuffle<i16>(x, y, 0, 8, 1, 9, 2, 10, 3, 11), high = v128.shuffle<i16>(x, y, 4, 12, 5, 13, 6, 14, 7, 15);
      // one load for all heads: loads come first in the machine code, and eight sums leave eight registers
      const pairs = v128.load(w);
      let pair = v128.shuffle<i32>(pairs, pairs, 0, 0, 0, 0);
      a0 = i32x4.add(a0, i32x4.dot_i16x8_s(low, pair)); a1 = i32x4.add(a1, i32x4.dot_i16x8_s(high, pair));
      pair = v128.shuffle<i32>(pairs, pairs, 1, 1, 1, 1);
      b0 = i32x4.add(b0, i32x4.dot_i16x8_s(low, pair)); b1 = i32x4.add(b1, i32x4.dot_i16x8_s(high, pair));
      pair = v128.shuffle<i32>(pairs, pairs, 2, 2, 2, 2);
      c0 = i32x4.add(c0, i32x4.dot_i16x8_s(low, pair)); c1 = i32x4.add(c1, i32x4.dot_i16x8_s(high, pair));
      pair = v128.shuffle<i32>(pairs, pairs, 3, 3, 3, 3);
      d0 = i32x4.add(d0, i32x4.dot_i16x8_s(low, pair)); d1 = i32x4.add(d1, i32x4.dot_i16x8_s(high, pair));
      v += rowV << 1;
      w += 16;
      n -= 2;
    } while (n > 0);
    const to = O + (<usize>d << 2);
    addScaled(to, v128.load32_splat(units), a0, a1);
    addScaled(to + row, v128.load32_splat(units, 4), b0, b1);
    addScaled(to + 2 * row, v128.load32_splat(units, 8), c0, c1);
    addScaled(to + 3 * row, v128.load32_splat(units, 12), d0, d1);
  }
}

/** O [pitchV] += weights V for one head. */
export function int8AddOwn(W: usize, V: usize, rowV: usize, keys: i32, O: usize, pitchV: i32): void {
  let d = 0;
  for (; d + 32 <= pitchV; d += 32) addColumns(W, V + <usize>d, rowV, keys, O + (<usize>d << 2), true);
  if (d < pitchV) addColumns(W, V + <usize>d, rowV, keys, O + (<usize>d << 2), false);
}

/** O += weights V over 16 channels, or 32 if `wide`. */
// @ts-ignore: decorator
@inline
function addColumns(W: usize, V: usize, rowV: usize, keys: i32, O: usize, wide: bool): void {
  let a0 = i32x4.splat(0), a1 = a0, b0 = a0, b1 = a0, c0 = a0, c1 = a0, d0 = a0, d1 = a0;
  let v = V, w = W, n = keys;
  do {
    const next = n > 1 ? v + rowV : v, pair = v128.load32_splat(w);
    let x = v128.load(v), y = v128.load(next), z = low(x, y);
    a0 = i32x4.add(a0, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(z), pair));
    a1 = i32x4.add(a1, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(z), pair));
    z = high(x, y);
    b0 = i32x4.add(b0, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(z), pair));
    b1 = i32x4.add(b1, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(z), pair));
    if (wide) {
      x = v128.load(v, 16); y = v128.load(next, 16); z = low(x, y);
      c0 = i32x4.add(c0, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(z), pair));
      c1 = i32x4.add(c1, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(z), pair));
      z = high(x, y);
      d0 = i32x4.add(d0, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(z), pair));
      d1 = i32x4.add(d1, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(z), pair));
    }
    v += rowV << 1;
    w += 16;
    n -= 2;
  } while (n > 0);
  const unit = v128.load32_splat(W + (<usize>KEYS << 3));
  addScaled(O, unit, a0, a1);
  addScaled(O + 32, unit, b0, b1);
  if (wide) {
    addScaled(O + 64, unit, c0, c1);
    addScaled(O + 96, unit, d0, d1);
  }
}

/** The bytes of x and y in turn, of the first eight. */
// @ts-ignore: decorator
@inline
function low(x: v128, y: v128): v128 {
  return v128.shuffle<i8>(x, y, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}

/** Of the last eight. */
// @ts-ignore: decorator
@inline
function high(x: v128, y: v128): v128 {
  return v128.shuffle<i8>(x, y, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

// @ts-ignore: decorator
@inline
function addScaled(to: usize, unit: v128, low: v128, high: v128): void {
  v128.store(to, f32x4.add(v128.load(to), f32x4.mul(f32x4.convert_i32x4_s(low), unit)));
  v128.store(to, f32x4.add(v128.load(to, 16), f32x4.mul(f32x4.convert_i32x4_s(high), unit)), 16);
}

/** Four floats from anywhere. */
// @ts-ignore: decorator
@inline
function lanes(a: usize, b: usize, c: usize, d: usize): v128 {
  return v128.load32_lane(d, v128.load32_lane(c, v128.load32_lane(b, v128.load32_splat(a), 1), 2), 3);
}

/** The sums of the lanes of four vectors of integers. */
// @ts-ignore: decorator
@inline
function sums(a: v128, b: v128, c: v128, d: v128): v128 {
  return sumLanes4(
    f32x4.convert_i32x4_s(a), f32x4.convert_i32x4_s(b), f32x4.convert_i32x4_s(c), f32x4.convert_i32x4_s(d),
  );
}

/**
 * Weights S [keys][4], with a row of zeros behind if there is an odd one, times the scales of their values as int16 in
 * pairs of keys, in a unit for each head. The scales of three heads lie so many bytes behind those of the first.
 */
function toWeights(S: usize, scales: usize, rowS: usize, to1: usize, to2: usize, to3: usize, keys: i32, W: usize): void {
  let most = i32x4.splat(0), p = S, s = scales;
  for (let j = keys; j > 0; j--) {
    const x = f32x4.mul(v128.load(p), to3 ? lanes(s, s + to1, s + to2, s + to3) : v128.load32_splat(s));
    v128.store(p, x);
    most = i32x4.max_s(most, v128.and(x, i32x4.splat(0x7fffffff))); // magnitudes, above all of them NaN
    p += 32;
    s += rowS;
  }
  const unit = f32x4.mul(most, f32x4.splat(1 / 32767));
  const inverse = v128.andnot(f32x4.div(f32x4.splat(1), unit), f32x4.eq(unit, f32x4.splat(0)));
  v128.store(W + (<usize>KEYS << 3), unit);
  for (let j = 0; j < keys; j += 2) {
    const from = S + (<usize>j << 5);
    // the integer is in the low bits
    const x = fma(v128.load(from), inverse, f32x4.splat(ROUND)), y = fma(v128.load(from, 32), inverse, f32x4.splat(ROUND));
    v128.store(W + (<usize>j << 3), v128.or(v128.and(x, i32x4.splat(0xffff)), i32x4.shl(y, 16)));
  }
}
