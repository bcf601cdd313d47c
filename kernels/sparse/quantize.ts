const LARGEST: f32 = 32767;

/** Greatest magnitude of n floats; NaN where there is one. */
// @ts-ignore: decorator
@inline
export function magnitude(x: usize, n: i32): f32 {
  let m = f32x4.splat(0), i = 0;
  for (; i + 4 <= n; i += 4) m = f32x4.max(m, f32x4.abs(v128.load(x + (<usize>i << 2))));
  let most = max(
    max(f32x4.extract_lane(m, 0), f32x4.extract_lane(m, 1)),
    max(f32x4.extract_lane(m, 2), f32x4.extract_lane(m, 3)),
  );
  for (; i < n; i++) most = max(most, abs<f32>(load<f32>(x + (<usize>i << 2))));
  return most;
}

/**
 * Rows of D floats to rows of `pitch` bytes, x = scale * int8 with scale = max |x| / 127, rounded half to even, zeros
 * behind. A work item is a row.
 */
export function quantizeRows(
  x: usize, values: usize, scales: usize, D: i32, pitch: i32, begin: i32, end: i32,
): void {
  for (let row = begin; row < end; row++) {
    const from = x + (<usize>row * <usize>D << 2), to = values + <usize>row * <usize>pitch;
    const scale: f32 = magnitude(from, D) / 127;
    store<f32>(scales + (<usize>row << 2), scale);
    for (let d = 0; d < D; d++) {
      const value: f32 = scale == 0 ? 0 : load<f32>(from + (<usize>d << 2)) / scale;
      store<i8>(to + <usize>d, <i8>i32x4.extract_lane(rounded(f32x4.splat(value)), 0));
    }
    memory.fill(to + <usize>D, 0, <usize>(pitch - D));
  }
}

/** Four floats as integers, half to even. */
// @ts-ignore: decorator
@inline
export function rounded(x: v128): v128 {
  return i32x4.trunc_sat_f32x4_s(f32x4.nearest(x));
}

/** n floats to int16, x = scale * int16, zeros up to a multiple of 8; returns the scale. */
export function toInt16(x: usize, to: usize, n: i32): f32 {
  const scale: f32 = magnitude(x, n) / LARGEST;
  const inverse = f32x4.splat(scale == 0 ? 0 : <f32>1 / scale);
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const p = x + (<usize>i << 2);
    const low = rounded(f32x4.mul(v128.load(p), inverse)), high = rounded(f32x4.mul(v128.load(p, 16), inverse));
    v128.store(to + (<usize>i << 1), i16x8.narrow_i32x4_s(low, high));
  }
  for (const end = (n + 7) & ~7; i < end; i++) {
    const value = i < n ? f32x4.mul(v128.load32_splat(x + (<usize>i << 2)), inverse) : f32x4.splat(0);
    store<i16>(to + (<usize>i << 1), <i16>i32x4.extract_lane(rounded(value), 0));
  }
  return scale;
}

/**
 * Blocks of `size` tokens of x [B, T, H, D], less `means` [B, H, D] unless 0, to int16 rows [B, H, T, pitch] of values from
 * -127 to 127 with zeros behind, and the scale max |x| / 127 of its block for each row [B, H, T]. A work item is (batch,
 * head, block).
 *
 * workspace: a row [D]
 */
export function quantizeBlocks(
  x: usize, means: usize, values: usize, scales: usize, T: i32, H: i32, D: i32, pitch: i32, size: i32, workspace: usize,
  begin: i32, end: i32,
): void {
  const blocks = (T + size - 1) / size, row = workspace;
  for (let item = begin; item < end; item++) {
    const bh = item / blocks, b = bh / H, h = bh % H;
    const first = item % blocks * size, last = min(first + size, T);
    const mean = means ? means + (<usize>(bh * D) << 2) : 0;
    let most: f32 = 0;
    for (let t = first; t < last; t++) {
      centre(x + (<usize>(((b * T + t) * H + h) * D) << 2), mean, row, D);
      most = max(most, magnitude(row, D));
    }
    const scale: f32 = most / 127;
    for (let t = first; t < last; t++) {
      const to = values + (<usize>((bh * T + t) * pitch) << 1);
      centre(x + (<usize>(((b * T + t) * H + h) * D) << 2), mean, row, D);
      store<f32>(scales + (<usize>(bh * T + t) << 2), scale);
      const step = f32x4.splat(scale == 0 ? Infinity : scale);
      let d = 0;
      for (; d + 4 <= D; d += 4) {
        const x = rounded(f32x4.div(v128.load(row + (<usize>d << 2)), step));
        v128.store64_lane(to + (<usize>d << 1), i16x8.narrow_i32x4_s(x, x), 0);
      }
      for (; d < D; d++) {
        const x = rounded(f32x4.div(v128.load32_splat(row + (<usize>d << 2)), step));
        store<i16>(to + (<usize>d << 1), <i16>i32x4.extract_lane(x, 0));
      }
      memory.fill(to + (<usize>D << 1), 0, <usize>(pitch - D) << 1);
    }
  }
}

/** to [n] = x - mean, or x. */
// @ts-ignore: decorator
@inline
function centre(x: usize, mean: usize, to: usize, n: i32): void {
  const bytes = <usize>n << 2;
  if (!mean) return memory.copy(to, x, bytes);
  let p: usize = 0;
  for (; p + 16 <= bytes; p += 16) v128.store(to + p, f32x4.sub(v128.load(x + p), v128.load(mean + p)));
  for (; p < bytes; p += 4) store<f32>(to + p, load<f32>(x + p) - load<f32>(mean + p));
}
