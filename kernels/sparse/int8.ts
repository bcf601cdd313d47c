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
 * query); `ranges` [Tq][2] are the keys [lo, hi) each query sees, rows of keys and values are `pitch` and `pitchV` bytes,
 * multiples of 16.
 *
 * workspace: scores [Tk + 8], Q int16 [pitch], weights int16 [BLOCK], O [pitchV]
 */
export function int8Attention(
  q: usize, keys: usize, keyScales: usize, values: usize, valueScales: usize, ranges: usize, output: usize,
  Tq: i32, Tk: i32, Hq: i32, Hkv: i32, D: i32, Dv: i32, pitch: i32, pitchV: i32, scale: f32, workspace: usize,
  begin: i32, end: i32,
): void {
  const group = Hq / Hkv;
  const Q = workspace + (<usize>(Tk + 8) << 2);
  const W = Q + (<usize>pitch << 1);
  const O = W + (<usize>BLOCK << 1);
  const rowK = <usize>(Hkv * pitch), rowV = <usize>(Hkv * pitchV), rowS = <usize>Hkv << 2;

  for (let item = begin; item < end; item++) {
    const i = item % Tq, kv = item / Tq % Hkv, b = item / (Tq * Hkv);
    const lo = load<i32>(ranges + (<usize>i << 3)), n = load<i32>(ranges + (<usize>i << 3), 4) - lo;
    const first = <usize>(b * Tk + lo);
    const K = keys + first * rowK + <usize>kv * <usize>pitch, KS = keyScales + first * rowS + (<usize>kv << 2);
    const V = values + first * rowV + <usize>kv * <usize>pitchV, VS = valueScales + first * rowS + (<usize>kv << 2);
    for (let h = kv * group; h < (kv + 1) * group; h++) {
      const row = <usize>((b * Tq + i) * Hq + h);
      const out = output + row * (<usize>Dv << 2);
      memory.fill(out, 0, <usize>Dv << 2);
      if (n <= 0) continue;
      memory.fill(Q, 0, <usize>pitch << 1);
      const factor = toInt16(q + row * (<usize>D << 2), Q, D) * (scale * LOG2E);
      scores(Q, K, rowK, KS, rowS, n, pitch, factor, workspace);
      const sum = softmax(workspace, n);
      memory.fill(O, 0, <usize>pitchV << 2);
      for (let j = 0; j < n; j += BLOCK) {
        const count = min(BLOCK, n - j);
        accumulate(workspace + (<usize>j << 2), VS + <usize>j * rowS, rowS, V + <usize>j * rowV, rowV, count, pitchV, W, O);
      }
      for (let d = 0; d < Dv; d++) {
        const p = <usize>d << 2;
        store<f32>(out + p, load<f32>(O + p) / sum);
      }
    }
  }
}

/** S [n] = factor * scale_j * (Q . K_j), four keys at a time; S has room up to a multiple of 4 behind. */
function scores(
  Q: usize, K: usize, rowK: usize, scales: usize, rowS: usize, n: i32, pitch: i32, factor: f32, S: usize,
): void {
  for (let j = 0; j < n; j += 4) {
    // the last key stands in for those past the end
    const at0 = <usize>j, at1 = <usize>min(j + 1, n - 1), at2 = <usize>min(j + 2, n - 1), at3 = <usize>min(j + 3, n - 1);
    let k0 = K + at0 * rowK, k1 = K + at1 * rowK, k2 = K + at2 * rowK, k3 = K + at3 * rowK;
    let a0 = i32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, p = Q;
    for (let d = 0; d < pitch; d += 16) {
      a0 = product(k0, p, a0);
      a1 = product(k1, p, a1);
      a2 = product(k2, p, a2);
      a3 = product(k3, p, a3);
      k0 += 16; k1 += 16; k2 += 16; k3 += 16;
      p += 32;
    }
    const low = i32x4.add(v128.shuffle<i32>(a0, a1, 0, 4, 1, 5), v128.shuffle<i32>(a0, a1, 2, 6, 3, 7)); // 0 1 0 1
    const high = i32x4.add(v128.shuffle<i32>(a2, a3, 0, 4, 1, 5), v128.shuffle<i32>(a2, a3, 2, 6, 3, 7));
    const sums = i32x4.add(v128.shuffle<i32>(low, high, 0, 1, 4, 5), v128.shuffle<i32>(low, high, 2, 3, 6, 7));
    let s = v128.load32_zero(scales + at0 * rowS);
    s = f32x4.replace_lane(s, 1, load<f32>(scales + at1 * rowS));
    s = f32x4.replace_lane(s, 2, load<f32>(scales + at2 * rowS));
    s = f32x4.replace_lane(s, 3, load<f32>(scales + at3 * rowS));
    v128.store(S + (at0 << 2), f32x4.mul(f32x4.convert_i32x4_s(sums), f32x4.mul(s, f32x4.splat(factor))));
  }
  for (let j = n; j & 3; j++) store<f32>(S + (<usize>j << 2), -Infinity);
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

/** O [pitchV] += weights V for up to BLOCK keys; weights become int16 in W once multiplied with the scales of V. */
function accumulate(
  weights: usize, scales: usize, rowS: usize, V: usize, rowV: usize, n: i32, pitchV: i32, W: usize, O: usize,
): void {
  for (let j = 0; j < n; j++) {
    const p = weights + (<usize>j << 2);
    store<f32>(p, load<f32>(p) * load<f32>(scales + <usize>j * rowS));
  }
  const unit = f32x4.splat(toInt16(weights, W, n));
  for (let d = 0; d < pitchV; d += 16) {
    let a0 = i32x4.splat(0), a1 = a0, a2 = a0, a3 = a0;
    let v = V + <usize>d, w = W;
    for (let j = 0; j < n; j += 2) {
      const x = v128.load(v), y = v128.load(j + 1 < n ? v + rowV : v), pair = v128.load32_splat(w);
      const low = v128.shuffle<i8>(x, y, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      const high = v128.shuffle<i8>(x, y, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
      a0 = i32x4.add(a0, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(low), pair));
      a1 = i32x4.add(a1, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(low), pair));
      a2 = i32x4.add(a2, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(high), pair));
      a3 = i32x4.add(a3, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(high), pair));
      v += 2 * rowV;
      w += 4;
    }
    const to = O + (<usize>d << 2);
    v128.store(to, f32x4.add(v128.load(to), f32x4.mul(f32x4.convert_i32x4_s(a0), unit)));
    v128.store(to, f32x4.add(v128.load(to, 16), f32x4.mul(f32x4.convert_i32x4_s(a1), unit)), 16);
    v128.store(to, f32x4.add(v128.load(to, 32), f32x4.mul(f32x4.convert_i32x4_s(a2), unit)), 32);
    v128.store(to, f32x4.add(v128.load(to, 48), f32x4.mul(f32x4.convert_i32x4_s(a3), unit)), 48);
  }
}
