import { exp2 } from '../core/exp';
import { log1p } from '../core/log';

/** Keys of a packed block. */
export const KEYS: i32 = 64;
export const LOG2E: f32 = 1.4426950408889634;
export const LN2: f32 = 0.6931471805599453;

/** Natural logarithm of four positive normal numbers. */
// @ts-ignore: decorator
@inline
export function log(x: v128): v128 {
  const exponent = f32x4.convert_i32x4_s(i32x4.sub(i32x4.shr_u(x, 23), i32x4.splat(127)));
  const mantissa = v128.or(v128.and(x, i32x4.splat(0x7fffff)), i32x4.splat(0x3f800000)); // [1, 2)
  const value = f32x4.add(f32x4.mul(exponent, f32x4.splat(LN2)), log1p(f32x4.sub(mantissa, f32x4.splat(1))));
  return v128.bitselect(x, value, f32x4.ne(x, x));
}

/** 2^(x - max), with a maximum of -Infinity read as 0 */
// @ts-ignore: decorator
@inline
export function finiteMax(max: v128): v128 {
  return v128.andnot(max, f32x4.eq(max, f32x4.splat(-Infinity)));
}

// @ts-ignore: decorator
@inline
export function rescale(before: v128, after: v128): v128 {
  return exp2(f32x4.sub(before, after));
}

/** Copies rows [rows, n] into rows of pitch `pitch` (a multiple of 8 floats), zeros after n; true if any is NaN or infinite. */
export function packRows(src: usize, srcRow: usize, dst: usize, rows: i32, n: i32, pitch: i32): bool {
  return placeRows(src, srcRow, dst, rows, n, pitch, true);
}

/** The same without looking. */
export function layRows(src: usize, srcRow: usize, dst: usize, rows: i32, n: i32, pitch: i32): void {
  placeRows(src, srcRow, dst, rows, n, pitch, false);
}

// @ts-ignore: decorator
@inline
function placeRows(src: usize, srcRow: usize, dst: usize, rows: i32, n: i32, pitch: i32, look: bool): bool {
  // x - x is 0 or NaN, and the bits of 0 are none
  let probe = f32x4.splat(0);
  for (let r = 0; r < rows; r++) {
    let from = src + <usize>r * srcRow, to = dst + (<usize>(r * pitch) << 2), i = n;
    for (; i >= 4; i -= 4) {
      const x = v128.load(from);
      if (look) probe = v128.or(probe, f32x4.sub(x, x));
      v128.store(to, x);
      from += 16;
      to += 16;
    }
    for (; i > 0; i--) {
      const x = load<f32>(from);
      if (look) probe = v128.or(probe, f32x4.splat(x - x));
      store<f32>(to, x);
      from += 4;
      to += 4;
    }
    for (i = pitch - n; i > 0; i--) {
      store<f32>(to, 0);
      to += 4;
    }
  }
  return look && v128.any_true(probe);
}

/**
 * Sets -Infinity where a lane's key range [lo, hi) does not hold the key; `ranges` are lo [8] and hi [8], int32. Keys in
 * [fullLo, fullHi), which every lane sees, are passed over.
 */
export function applyRanges(
  scores: usize, pitch: usize, ranges: usize, fullLo: i32, fullHi: i32, first: i32, keys: i32,
): void {
  const before = min(keys, fullLo - first), after = max(0, fullHi - first);
  hideOutside(scores, pitch, ranges, first, 0, before);
  hideOutside(scores, pitch, ranges, first, max(before, after), keys);
}

function hideOutside(scores: usize, pitch: usize, ranges: usize, first: i32, begin: i32, end: i32): void {
  const lo0 = v128.load(ranges), lo1 = v128.load(ranges, 16), hi0 = v128.load(ranges, 32), hi1 = v128.load(ranges, 48);
  const hidden = f32x4.splat(-Infinity);
  for (let j = begin; j < end; j++) {
    const key = i32x4.splat(first + j), p = scores + <usize>j * pitch;
    const in0 = v128.and(i32x4.ge_s(key, lo0), i32x4.lt_s(key, hi0));
    const in1 = v128.and(i32x4.ge_s(key, lo1), i32x4.lt_s(key, hi1));
    v128.store(p, v128.bitselect(v128.load(p), hidden, in0));
    v128.store(p, v128.bitselect(v128.load(p, 16), hidden, in1), 16);
  }
}
