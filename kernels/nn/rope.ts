/**
 * Rotates pairs of channels of rows [begin, end) of x [rows, H, D] by the angles of the row. An angle is the sum of two,
 * whose cosines and sines are float64 tables [., F, 2]: rows holds a row of `coarse` and one of `fine` per row of x.
 * Channels past 2 F are copied. angles is room for 4 F floats.
 */
export function rope(
  x: usize, y: usize, rows: usize, coarse: usize, fine: usize, angles: usize, H: i32, D: i32, F: i32,
  interleaved: i32, scale: f64, sign: f64, begin: i32, end: i32,
): void {
  const head = <usize>D << 2, rotated = <usize>F << 3;
  for (let r = begin; r < end; r++) {
    const which = rows + (<usize>r << 3);
    const a = coarse + (<usize>load<i32>(which) * <usize>F << 4);
    const b = fine + (<usize>load<i32>(which, 4) * <usize>F << 4);
    if (interleaved) pairAngles(a, b, angles, F, scale, sign);
    else halfAngles(a, b, angles, F, scale, sign);
    let px = x + <usize>r * <usize>H * head, py = y + <usize>r * <usize>H * head;
    for (let h = 0; h < H; h++) {
      if (interleaved) rotatePairs(px, py, angles, F);
      else rotateHalves(px, py, angles, F);
      // a call even for no bytes at all, it would take as long as the rotation
      if (rotated < head) memory.copy(py + rotated, px + rotated, head - rotated);
      px += head;
      py += head;
    }
  }
}

/** (cos a cos b - sin a sin b, sin a cos b + cos a sin b) times (scale, scale * sign) */
// @ts-ignore: decorator
@inline
function angleSum(a: usize, b: usize, factors: v128): v128 {
  const va = v128.load(a), vb = v128.load(b); // [cos, sin]
  const cosB = v128.shuffle<f64>(vb, vb, 0, 0), sinB = v128.shuffle<f64>(vb, vb, 1, 1);
  const swapped = f64x2.mul(v128.shuffle<f64>(va, va, 1, 0), sinB); // [sin a sin b, cos a sin b]
  const signed = v128.xor(swapped, i64x2(<i64>1 << 63, 0));
  return f64x2.mul(factors, f64x2.add(f64x2.mul(va, cosB), signed));
}

/** angles = cosines [F], sines [F] */
function halfAngles(a: usize, b: usize, angles: usize, F: i32, scale: f64, sign: f64): void {
  const factors = f64x2.replace_lane(f64x2.splat(scale), 1, scale * sign);
  const sines = angles + (<usize>F << 2);
  for (let i = 0; i < F; i++) {
    const p = <usize>i << 4;
    const sum = angleSum(a + p, b + p, factors);
    store<f32>(angles + (p >> 2), <f32>f64x2.extract_lane(sum, 0));
    store<f32>(sines + (p >> 2), <f32>f64x2.extract_lane(sum, 1));
  }
}

/** angles = cosines [F, 2], both the same, and sines [F, 2], the first negative */
function pairAngles(a: usize, b: usize, angles: usize, F: i32, scale: f64, sign: f64): void {
  const factors = f64x2.replace_lane(f64x2.splat(scale), 1, scale * sign);
  const sines = angles + (<usize>F << 3);
  for (let i = 0; i < F; i++) {
    const p = <usize>i << 4;
    const sum = angleSum(a + p, b + p, factors);
    const cos = <f32>f64x2.extract_lane(sum, 0), sin = <f32>f64x2.extract_lane(sum, 1);
    const q = p >> 1;
    store<f32>(angles + q, cos);
    store<f32>(angles + q, cos, 4);
    store<f32>(sines + q, -sin);
    store<f32>(sines + q, sin, 4);
  }
}

/** Channel i turns with i + F. */
// @ts-ignore: decorator
@inline
function rotateHalves(x: usize, y: usize, angles: usize, F: i32): void {
  const half = <usize>F << 2;
  let i = 0;
  for (; i + 4 <= F; i += 4) {
    const p = <usize>i << 2;
    const x0 = v128.load(x + p), x1 = v128.load(x + half + p);
    const cos = v128.load(angles + p), sin = v128.load(angles + half + p);
    v128.store(y + p, f32x4.sub(f32x4.mul(x0, cos), f32x4.mul(x1, sin)));
    v128.store(y + half + p, f32x4.add(f32x4.mul(x1, cos), f32x4.mul(x0, sin)));
  }
  for (; i < F; i++) {
    const p = <usize>i << 2;
    const x0 = load<f32>(x + p), x1 = load<f32>(x + half + p);
    const cos = load<f32>(angles + p), sin = load<f32>(angles + half + p);
    store<f32>(y + p, x0 * cos - x1 * sin);
    store<f32>(y + half + p, x1 * cos + x0 * sin);
  }
}

/** Channel 2 i turns with 2 i + 1. */
// @ts-ignore: decorator
@inline
function rotatePairs(x: usize, y: usize, angles: usize, F: i32): void {
  const sines = angles + (<usize>F << 3);
  let i = 0;
  for (; i + 2 <= F; i += 2) {
    const p = <usize>i << 3;
    const pair = v128.load(x + p);
    const crossed = f32x4.mul(v128.shuffle<f32>(pair, pair, 1, 0, 3, 2), v128.load(sines + p));
    v128.store(y + p, f32x4.add(f32x4.mul(pair, v128.load(angles + p)), crossed));
  }
  if (i < F) {
    const p = <usize>i << 3;
    const x0 = load<f32>(x + p), x1 = load<f32>(x + p, 4);
    const cos = load<f32>(angles + p), sin = load<f32>(sines + p, 4);
    store<f32>(y + p, x0 * cos - x1 * sin);
    store<f32>(y + p, x1 * cos + x0 * sin, 4);
  }
}
