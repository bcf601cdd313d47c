import { fma } from './exp';
import { sumLanes } from './reduce';

// Products of a weight with one row, where only a token or two need it. They wait for the weight to come from memory, so it
// is read in the order it lies there: one stream comes at twice the rate of four side by side.

/** out[n] (+)= sum over k < K of W(n, k) * x[k], W(n, k) = w[n * rowW + k * stepW], where one of the strides is 4. */
export function vectorProduct(
  w: usize, rowW: usize, stepW: usize, K: i32, N: i32, x: usize, out: usize, accumulate: bool,
): void {
  if (stepW == 4) rowsByVector(w, rowW, K, N, x, out, accumulate);
  else columnsByVector(w, stepW, K, N, x, out, accumulate);
}

function rowsByVector(w: usize, rowW: usize, K: i32, N: i32, x: usize, out: usize, accumulate: bool): void {
  for (let n = N; n > 0; n--) {
    let s0 = f32x4.splat(0), s1 = f32x4.splat(0), s2 = f32x4.splat(0), s3 = f32x4.splat(0);
    let a = x, b = w, k = K;
    for (; k >= 16; k -= 16) {
      s0 = fma(v128.load(a), v128.load(b), s0);
      s1 = fma(v128.load(a, 16), v128.load(b, 16), s1);
      s2 = fma(v128.load(a, 32), v128.load(b, 32), s2);
      s3 = fma(v128.load(a, 48), v128.load(b, 48), s3);
      a += 64; b += 64;
    }
    for (; k >= 4; k -= 4) {
      s0 = fma(v128.load(a), v128.load(b), s0);
      a += 16; b += 16;
    }
    let y = sumLanes(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)));
    for (; k > 0; k--) {
      y += load<f32>(a) * load<f32>(b);
      a += 4; b += 4;
    }
    store<f32>(out, accumulate ? load<f32>(out) + y : y);
    out += 4; w += rowW;
  }
}

/** The outputs stay in the nearest cache while the rows of the weight pass. */
function columnsByVector(w: usize, stepW: usize, K: i32, N: i32, x: usize, out: usize, accumulate: bool): void {
  if (!accumulate) memory.fill(out, 0, <usize>N << 2);
  for (let k = K; k > 0; k--) {
    const a = v128.load32_splat(x);
    let b = w, o = out, n = N;
    for (; n >= 16; n -= 16) {
      v128.store(o, fma(a, v128.load(b), v128.load(o)));
      v128.store(o, fma(a, v128.load(b, 16), v128.load(o, 16)), 16);
      v128.store(o, fma(a, v128.load(b, 32), v128.load(o, 32)), 32);
      v128.store(o, fma(a, v128.load(b, 48), v128.load(o, 48)), 48);
      b += 64; o += 64;
    }
    for (; n > 0; n--) {
      store<f32>(o, load<f32>(o) + load<f32>(x) * load<f32>(b));
      b += 4; o += 4;
    }
    x += 4; w += stepW;
  }
}
