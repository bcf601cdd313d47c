import { fma } from '../core/exp';
import { loadLanes, storeLanes } from '../core/lanes';

// The scan of linearScan.ts on complex numbers, real and imaginary parts in tensors of their own.

/** a b + c of complex numbers, the first n lanes. */
// @ts-ignore: decorator
@inline
function storeProduct(
  toRe: usize, toIm: usize, aRe: v128, aIm: v128, bRe: v128, bIm: v128, cRe: v128, cIm: v128, n: i32,
): void {
  storeLanes(toRe, f32x4.sub(fma(aRe, bRe, cRe), f32x4.mul(aIm, bIm)), n);
  storeLanes(toIm, fma(aIm, bRe, fma(aRe, bIm, cIm)), n);
}

/** sum += a b */
// @ts-ignore: decorator
@inline
function addProduct(sumRe: usize, sumIm: usize, aRe: v128, aIm: v128, bRe: v128, bIm: v128): void {
  storeProduct(sumRe, sumIm, aRe, aIm, bRe, bIm, v128.load(sumRe), v128.load(sumIm), 4);
}

/** Work items [begin, end) of B times the blocks of `width` channels; `zeros` holds a row of them. initial and final may be 0. */
export function complexScan(
  aRe: usize, aIm: usize, bRe: usize, bIm: usize, initialRe: usize, initialIm: usize,
  hRe: usize, hIm: usize, finalRe: usize, finalIm: usize, zeros: usize,
  T: i32, D: i32, width: i32, shared: i32, reverse: i32, begin: i32, end: i32,
): void {
  const blocks = (D + width - 1) / width, row = <usize>D << 2;
  const step = reverse ? 0 - row : row, stepA = shared ? 0 : step;
  const along: usize = reverse ? -16 : 16;
  memory.fill(zeros, 0, <usize>width << 2);
  for (let item = begin; item < end; item++) {
    const batch = item / blocks, column = item % blocks * width;
    const n = min(width, D - column), at = <usize>column << 2, ends = <usize>((n & ~3) - 4) << 2;
    let p = <usize>batch * <usize>T * row + at + (reverse ? <usize>(T - 1) * row : 0);
    let pa = shared ? at : p;
    const edge = <usize>batch * row + at;
    let beforeRe = initialRe ? initialRe + edge : zeros, beforeIm = initialIm ? initialIm + edge : zeros;
    for (let t = T; t > 0; t--) {
      let q = reverse ? ends : 0;
      for (let left = n >> 2; left > 0; left--, q += along) {
        const ar = v128.load(aRe + pa + q), ai = v128.load(aIm + pa + q);
        const hr = v128.load(beforeRe + q), hi = v128.load(beforeIm + q);
        storeProduct(hRe + p + q, hIm + p + q, ar, ai, hr, hi, v128.load(bRe + p + q), v128.load(bIm + p + q), 4);
      }
      if (n & 3) {
        const i = n & ~3, q = <usize>i << 2, m = n - i;
        const ar = loadLanes(aRe + pa + q, m), ai = loadLanes(aIm + pa + q, m);
        const hr = loadLanes(beforeRe + q, m), hi = loadLanes(beforeIm + q, m);
        storeProduct(
          hRe + p + q, hIm + p + q, ar, ai, hr, hi, loadLanes(bRe + p + q, m), loadLanes(bIm + p + q, m), m,
        );
      }
      beforeRe = hRe + p;
      beforeIm = hIm + p;
      p += step; pa += stepA;
    }
    if (finalRe) {
      memory.copy(finalRe + edge, beforeRe, <usize>n << 2);
      memory.copy(finalIm + edge, beforeIm, <usize>n << 2);
    }
  }
}

/**
 * The reversed scan g_t = dh_t + conj(a_(t+1)) g_(t+1): db = g, da_t = g_t conj(h_(t-1)), dInitial = conj(a_0) g_0.
 * Arguments as in linearScanBackward; `work` holds five rows of `width`.
 */
export function complexScanBackward(
  aRe: usize, aIm: usize, initialRe: usize, initialIm: usize, hRe: usize, hIm: usize,
  dhRe: usize, dhIm: usize, dFinalRe: usize, dFinalIm: usize,
  daRe: usize, daIm: usize, dbRe: usize, dbIm: usize, dInitialRe: usize, dInitialIm: usize, work: usize,
  T: i32, D: i32, width: i32, shared: i32, reverse: i32, begin: i32, end: i32,
): void {
  const blocks = (D + width - 1) / width, row = <usize>D << 2, workRow = <usize>((width + 3) & ~3) << 2;
  const back = reverse ? row : 0 - row, backA = shared ? 0 : back;
  const along: usize = reverse ? 16 : -16;
  const zeros = work, carryRe = work + workRow, carryIm = carryRe + workRow;
  const sumsRe = carryIm + workRow, sumsIm = sumsRe + workRow, none = f32x4.splat(0);
  memory.fill(zeros, 0, workRow);
  for (let item = begin; item < end; item++) {
    const batch = item / blocks, column = item % blocks * width;
    const n = min(width, D - column), at = <usize>column << 2, size = <usize>n << 2;
    const ends = <usize>((n & ~3) - 4) << 2;
    let p = <usize>batch * <usize>T * row + at + (reverse ? 0 : <usize>(T - 1) * row);
    let pa = shared ? at : p;
    const edge = <usize>batch * row + at;
    if (dFinalRe) {
      memory.copy(carryRe, dFinalRe + edge, size);
      memory.copy(carryIm, dFinalIm + edge, size);
    } else {
      memory.fill(carryRe, 0, size);
      memory.fill(carryIm, 0, size);
    }
    memory.fill(sumsRe, 0, size);
    memory.fill(sumsIm, 0, size);
    for (let t = T; t > 0; t--) {
      const beforeRe = t > 1 ? hRe + p + back : initialRe ? initialRe + edge : zeros;
      const beforeIm = t > 1 ? hIm + p + back : initialIm ? initialIm + edge : zeros;
      let q = reverse ? 0 : ends;
      for (let left = n >> 2; left > 0; left--, q += along) {
        const gr = f32x4.add(v128.load(dhRe + p + q), v128.load(carryRe + q));
        const gi = f32x4.add(v128.load(dhIm + p + q), v128.load(carryIm + q));
        const ar = v128.load(aRe + pa + q), ai = f32x4.neg(v128.load(aIm + pa + q));
        const hr = v128.load(beforeRe + q), hi = f32x4.neg(v128.load(beforeIm + q));
        v128.store(dbRe + p + q, gr);
        v128.store(dbIm + p + q, gi);
        storeProduct(carryRe + q, carryIm + q, ar, ai, gr, gi, none, none, 4);
        if (shared) addProduct(sumsRe + q, sumsIm + q, hr, hi, gr, gi);
        else storeProduct(daRe + p + q, daIm + p + q, hr, hi, gr, gi, none, none, 4);
      }
      if (n & 3) {
        const i = n & ~3, q = <usize>i << 2, m = n - i;
        const gr = f32x4.add(loadLanes(dhRe + p + q, m), v128.load(carryRe + q));
        const gi = f32x4.add(loadLanes(dhIm + p + q, m), v128.load(carryIm + q));
        const ar = loadLanes(aRe + pa + q, m), ai = f32x4.neg(loadLanes(aIm + pa + q, m));
        const hr = loadLanes(beforeRe + q, m), hi = f32x4.neg(loadLanes(beforeIm + q, m));
        storeLanes(dbRe + p + q, gr, m);
        storeLanes(dbIm + p + q, gi, m);
        storeProduct(carryRe + q, carryIm + q, ar, ai, gr, gi, none, none, 4);
        if (shared) addProduct(sumsRe + q, sumsIm + q, hr, hi, gr, gi);
        else storeProduct(daRe + p + q, daIm + p + q, hr, hi, gr, gi, none, none, m);
      }
      p += back; pa += backA;
    }
    if (shared) {
      memory.copy(daRe + edge, sumsRe, size);
      memory.copy(daIm + edge, sumsIm, size);
    }
    if (dInitialRe) {
      memory.copy(dInitialRe + edge, carryRe, size);
      memory.copy(dInitialIm + edge, carryIm, size);
    }
  }
}
