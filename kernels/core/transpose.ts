// Blocks of up to 16 tokens are turned over between rows of tokens and columns of tokens:
// a block [tokens, K] with rows `pitch` bytes apart, and the same as [K, 16], token i in lane i.

// @ts-ignore: decorator
@inline
export function transpose4(src: usize, srcPitch: usize, dst: usize, dstPitch: usize, accumulate: bool): void {
  const r0 = v128.load(src), r1 = v128.load(src + srcPitch);
  const r2 = v128.load(src + 2 * srcPitch), r3 = v128.load(src + 3 * srcPitch);
  const t0 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5), t1 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
  const t2 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7), t3 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
  let c0 = v128.shuffle<f32>(t0, t1, 0, 1, 4, 5), c1 = v128.shuffle<f32>(t0, t1, 2, 3, 6, 7);
  let c2 = v128.shuffle<f32>(t2, t3, 0, 1, 4, 5), c3 = v128.shuffle<f32>(t2, t3, 2, 3, 6, 7);
  const d1 = dst + dstPitch, d2 = d1 + dstPitch, d3 = d2 + dstPitch;
  if (accumulate) {
    c0 = f32x4.add(c0, v128.load(dst)); c1 = f32x4.add(c1, v128.load(d1));
    c2 = f32x4.add(c2, v128.load(d2)); c3 = f32x4.add(c3, v128.load(d3));
  }
  v128.store(dst, c0); v128.store(d1, c1); v128.store(d2, c2); v128.store(d3, c3);
}

/** dst [Kp, 16] = src [rows, K] turned over; missing tokens and channels become 0. Rows of dst are `dstPitch` apart. */
export function loadColumns(
  src: usize, pitch: usize, rows: i32, K: i32, dst: usize, dstPitch: usize, Kp: i32,
): void {
  for (let t = 0; t < 16; t += 4) {
    const column = dst + (<usize>t << 2), from = src + <usize>t * pitch;
    let k = 0;
    if (t + 4 <= rows) {
      for (; k + 4 <= K; k += 4) {
        transpose4(from + (<usize>k << 2), pitch, column + <usize>k * dstPitch, dstPitch, false);
      }
    }
    for (; k < Kp; k++) {
      const to = column + <usize>k * dstPitch;
      for (let i = 0; i < 4; i++) {
        const here = t + i < rows && k < K;
        store<f32>(to + (<usize>i << 2), here ? load<f32>(from + <usize>i * pitch + (<usize>k << 2)) : <f32>0);
      }
    }
  }
}

/** dst [rows, K] = src [K, 16] turned over, or added to what is there. */
export function storeColumns(
  src: usize, srcPitch: usize, rows: i32, K: i32, dst: usize, pitch: usize, accumulate: bool,
): void {
  for (let t = 0; t < rows; t += 4) {
    const column = src + (<usize>t << 2), to = dst + <usize>t * pitch;
    let k = 0;
    if (t + 4 <= rows) {
      for (; k + 4 <= K; k += 4) {
        const from = column + <usize>k * srcPitch, out = to + (<usize>k << 2);
        if (accumulate) transpose4(from, srcPitch, out, pitch, true);
        else transpose4(from, srcPitch, out, pitch, false);
      }
    }
    const tokens = min(4, rows - t);
    for (; k < K; k++) {
      for (let i = 0; i < tokens; i++) {
        const out = to + <usize>i * pitch + (<usize>k << 2);
        const x = load<f32>(column + <usize>k * srcPitch + (<usize>i << 2));
        store<f32>(out, accumulate ? load<f32>(out) + x : x);
      }
    }
  }
}
