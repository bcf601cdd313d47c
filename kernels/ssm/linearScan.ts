import { fma } from '../core/exp';
import { loadLanes, storeLanes } from '../core/lanes';

// h_t = a_t h_(t-1) + b_t per channel, on rows [B, T, D]; a is [B, T, D], or [D] with `shared`. A work item is a block of
// channels of one batch entry and goes through time row by row, so that memory is read in order; the row before is
// still in the first cache. Where the last row comes first, so does the last channel: measured with 1024 channels at
// T 2048, addresses that only fall take half the time of those that rise within each row.

/** Work items [begin, end) of B times the blocks of `width` channels; `zeros` holds a row of them. initial and final may be 0. */
export function linearScan(
  a: usize, b: usize, initial: usize, h: usize, final: usize, zeros: usize,
  T: i32, D: i32, width: i32, shared: i32, reverse: i32, begin: i32, end: i32,
): void {
  const blocks = (D + width - 1) / width, row = <usize>D << 2;
  const step = reverse ? 0 - row : row, stepA = shared ? 0 : step;
  const along: usize = reverse ? -32 : 32;
  memory.fill(zeros, 0, <usize>width << 2);
  for (let item = begin; item < end; item++) {
    const batch = item / blocks, column = item % blocks * width;
    const n = min(width, D - column), at = <usize>column << 2, ends = <usize>((n & ~7) - 8) << 2;
    const first = <usize>batch * <usize>T * row + at + (reverse ? <usize>(T - 1) * row : 0);
    const edge = <usize>batch * row + at;
    let pa = shared ? a + at : a + first, pb = b + first, ph = h + first;
    let before = initial ? initial + edge : zeros;
    for (let t = T; t > 0; t--) {
      let p = reverse ? ends : 0;
      for (let left = n >> 3; left > 0; left--, p += along) {
        v128.store(ph + p, fma(v128.load(pa + p), v128.load(before + p), v128.load(pb + p)));
        v128.store(ph + p, fma(v128.load(pa + p, 16), v128.load(before + p, 16), v128.load(pb + p, 16)), 16);
      }
      for (let i = n & ~7; i < n; i += 4) {
        const p = <usize>i << 2, m = n - i;
        storeLanes(ph + p, fma(loadLanes(pa + p, m), loadLanes(before + p, m), loadLanes(pb + p, m)), m);
      }
      before = ph;
      pa += stepA; pb += step; ph += step;
    }
    if (final) memory.copy(final + edge, before, <usize>n << 2);
  }
}

/**
 * The reversed scan g_t = dh_t + a_(t+1) g_(t+1): db = g, da_t = g_t h_(t-1), dInitial = a_0 g_0. Arguments as above;
 * dFinal, initial and dInitial may be 0. A shared a has the gradients of batch entry `batch` summed in row `batch` of da.
 * `work` holds three rows of `width`.
 */
export function linearScanBackward(
  a: usize, initial: usize, h: usize, dh: usize, dFinal: usize,
  da: usize, db: usize, dInitial: usize, work: usize,
  T: i32, D: i32, width: i32, shared: i32, reverse: i32, begin: i32, end: i32,
): void {
  const blocks = (D + width - 1) / width, row = <usize>D << 2, workRow = <usize>((width + 3) & ~3) << 2;
  const back = reverse ? row : 0 - row, backA = shared ? 0 : back;
  const along: usize = reverse ? 16 : -16;
  const zeros = work, carry = work + workRow, sums = carry + workRow;
  memory.fill(zeros, 0, workRow);
  for (let item = begin; item < end; item++) {
    const batch = item / blocks, column = item % blocks * width;
    const n = min(width, D - column), at = <usize>column << 2, size = <usize>n << 2;
    const ends = <usize>((n & ~3) - 4) << 2;
    const last = <usize>batch * <usize>T * row + at + (reverse ? 0 : <usize>(T - 1) * row);
    const edge = <usize>batch * row + at;
    let pa = shared ? a + at : a + last, ph = h + last, pdh = dh + last, pda = da + last, pdb = db + last;
    if (dFinal) memory.copy(carry, dFinal + edge, size);
    else memory.fill(carry, 0, size);
    memory.fill(sums, 0, size);
    for (let t = T; t > 0; t--) {
      const before = t > 1 ? ph + back : initial ? initial + edge : zeros;
      let p = reverse ? 0 : ends;
      for (let left = n >> 2; left > 0; left--, p += along) {
        const g = f32x4.add(v128.load(pdh + p), v128.load(carry + p)), hp = v128.load(before + p);
        v128.store(pdb + p, g);
        v128.store(carry + p, f32x4.mul(v128.load(pa + p), g));
        if (shared) v128.store(sums + p, fma(g, hp, v128.load(sums + p)));
        else v128.store(pda + p, f32x4.mul(g, hp));
      }
      if (n & 3) {
        const i = n & ~3, p = <usize>i << 2, m = n - i;
        const g = f32x4.add(loadLanes(pdh + p, m), v128.load(carry + p)), hp = loadLanes(before + p, m);
        storeLanes(pdb + p, g, m);
        v128.store(carry + p, f32x4.mul(loadLanes(pa + p, m), g));
        if (shared) v128.store(sums + p, fma(g, hp, v128.load(sums + p)));
        else storeLanes(pda + p, f32x4.mul(g, hp), m);
      }
      pa += backA; ph += back; pdh += back; pda += back; pdb += back;
    }
    if (shared) memory.copy(da + edge, sums, size);
    if (dInitial) memory.copy(dInitial + edge, carry, size);
  }
}
