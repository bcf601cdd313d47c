import { fma } from './exp';
import { dot, sumLanes } from './reduce';

// Products of a weight with one row, where only a token or two need it: the weight is read once, in order.

/** out[n] (+)= sum over k < K of W(n, k) * x[k], W(n, k) = w[n * rowW + k * stepW], where one of the strides is 4. */
export function vectorProduct(
  w: usize, rowW: usize, stepW: usize, K: i32, N: i32, x: usize, out: usize, accumulate: bool,
): void {
  if (stepW == 4) rowsByVector(w, rowW, K, N, x, out, accumulate);
  else columnsByVector(w, stepW, K, N, x, out, accumulate);
}

function rowsByVector(w: usize, rowW: usize, K: i32, N: i32, x: usize, out: usize, accumulate: bool): void {
  let n = 0;
  for (; n + 4 <= N; n += 4) {
    const w0 = w + <usize>n * rowW, w1 = w0 + rowW, w2 = w1 + rowW, w3 = w2 + rowW;
    let s0 = f32x4.splat(0), s1 = f32x4.splat(0), s2 = f32x4.splat(0), s3 = f32x4.splat(0);
    let t0 = f32x4.splat(0), t1 = f32x4.splat(0), t2 = f32x4.splat(0), t3 = f32x4.splat(0);
    let p: usize = 0;
    let k = K;
    for (; k >= 8; k -= 8) {
      const a = v128.load(x + p), b = v128.load(x + p, 16);
      s0 = fma(a, v128.load(w0 + p), s0); t0 = fma(b, v128.load(w0 + p, 16), t0);
      s1 = fma(a, v128.load(w1 + p), s1); t1 = fma(b, v128.load(w1 + p, 16), t1);
      s2 = fma(a, v128.load(w2 + p), s2); t2 = fma(b, v128.load(w2 + p, 16), t2);
      s3 = fma(a, v128.load(w3 + p), s3); t3 = fma(b, v128.load(w3 + p, 16), t3);
      p += 32;
    }
    let y0 = sumLanes(f32x4.add(s0, t0)), y1 = sumLanes(f32x4.add(s1, t1));
    let y2 = sumLanes(f32x4.add(s2, t2)), y3 = sumLanes(f32x4.add(s3, t3));
    for (; k > 0; k--) {
      const a = load<f32>(x + p);
      y0 += a * load<f32>(w0 + p); y1 += a * load<f32>(w1 + p);
      y2 += a * load<f32>(w2 + p); y3 += a * load<f32>(w3 + p);
      p += 4;
    }
    const o = out + (<usize>n << 2);
    if (accumulate) {
      y0 += load<f32>(o); y1 += load<f32>(o, 4); y2 += load<f32>(o, 8); y3 += load<f32>(o, 12);
    }
    store<f32>(o, y0); store<f32>(o, y1, 4); store<f32>(o, y2, 8); store<f32>(o, y3, 12);
  }
  for (; n < N; n++) {
    const o = out + (<usize>n << 2);
    const y = dot(w + <usize>n * rowW, x, K);
    store<f32>(o, accumulate ? load<f32>(o) + y : y);
  }
}

/** Four steps of k at a time over the whole row of outputs, which stays in the nearest cache. */
function columnsByVector(w: usize, stepW: usize, K: i32, N: i32, x: usize, out: usize, accumulate: bool): void {
  if (!accumulate) memory.fill(out, 0, <usize>N << 2);
  let k = 0;
  for (; k + 4 <= K; k += 4) {
    const px = x + (<usize>k << 2);
    const x0 = v128.load32_splat(px), x1 = v128.load32_splat(px, 4);
    const x2 = v128.load32_splat(px, 8), x3 = v128.load32_splat(px, 12);
    const w0 = w + <usize>k * stepW, w1 = w0 + stepW, w2 = w1 + stepW, w3 = w2 + stepW;
    let n = 0;
    for (; n + 4 <= N; n += 4) {
      const p = <usize>n << 2;
      let y = fma(x0, v128.load(w0 + p), v128.load(out + p));
      y = fma(x1, v128.load(w1 + p), y);
      y = fma(x2, v128.load(w2 + p), y);
      v128.store(out + p, fma(x3, v128.load(w3 + p), y));
    }
    for (; n < N; n++) {
      const p = <usize>n << 2;
      store<f32>(out + p, load<f32>(out + p) + load<f32>(px) * load<f32>(w0 + p) + load<f32>(px, 4) * load<f32>(w1 + p) +
        load<f32>(px, 8) * load<f32>(w2 + p) + load<f32>(px, 12) * load<f32>(w3 + p));
    }
  }
  for (; k < K; k++) {
    const a = load<f32>(x + (<usize>k << 2)), row = w + <usize>k * stepW;
    for (let n = 0; n < N; n++) {
      const p = <usize>n << 2;
      store<f32>(out + p, load<f32>(out + p) + a * load<f32>(row + p));
    }
  }
}
