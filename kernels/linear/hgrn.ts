import { exp, fma } from '../core/exp';
import { loadLanes, storeLanes } from '../core/lanes';

// h_t = e^(g_t) h_(t-1) + x_t per channel, on rows of D numbers. A work item is a block of `width` channels of one sequence.

export function hgrn(
  x: usize, g: usize, initial: usize, h: usize, final: usize, offsets: usize, work: usize,
  D: i32, width: i32, reverse: i32, begin: i32, end: i32,
): void {
  const blocks = (D + width - 1) / width, row = <usize>D << 2, step = reverse ? 0 - row : row;
  for (let item = begin; item < end; item++) {
    const sequence = item / blocks, column = item % blocks * width, n = min(width, D - column);
    const first = load<i32>(offsets + (<usize>sequence << 2)), last = load<i32>(offsets + (<usize>sequence << 2), 4);
    const edge = (<usize>sequence * <usize>D + <usize>column) << 2, size = <usize>n << 2;
    if (initial) memory.copy(work, initial + edge, size);
    else memory.fill(work, 0, size);
    let at = (<usize>(reverse ? last - 1 : first) * <usize>D + <usize>column) << 2;
    for (let t = first; t < last; t++, at += step) {
      for (let i = 0; i < n; i += 4) {
        const p = <usize>i << 2, m = n - i;
        const next = fma(exp(loadLanes(g + at + p, m)), v128.load(work + p), loadLanes(x + at + p, m));
        v128.store(work + p, next);
        storeLanes(h + at + p, next, m);
      }
    }
    if (final) memory.copy(final + edge, work, size);
  }
}

/** R_t = dh_t + e^(g_(t+1)) R_(t+1): dx = R, dg_t = R_t e^(g_t) h_(t-1). dFinal, initial and dInitial may be 0. */
export function hgrnBackward(
  g: usize, initial: usize, h: usize, dh: usize, dFinal: usize, dx: usize, dg: usize, dInitial: usize,
  offsets: usize, work: usize, D: i32, width: i32, reverse: i32, begin: i32, end: i32,
): void {
  const blocks = (D + width - 1) / width, row = <usize>D << 2, back = reverse ? row : 0 - row;
  const zero = f32x4.splat(0);
  for (let item = begin; item < end; item++) {
    const sequence = item / blocks, column = item % blocks * width, n = min(width, D - column);
    const first = load<i32>(offsets + (<usize>sequence << 2)), last = load<i32>(offsets + (<usize>sequence << 2), 4);
    const edge = (<usize>sequence * <usize>D + <usize>column) << 2, size = <usize>n << 2;
    if (dFinal) memory.copy(work, dFinal + edge, size);
    else memory.fill(work, 0, size);
    let at = (<usize>(reverse ? first : last - 1) * <usize>D + <usize>column) << 2;
    for (let t = last - 1; t >= first; t--, at += back) {
      const before = t > first ? h + at + back : initial ? initial + edge : <usize>0;
      for (let i = 0; i < n; i += 4) {
        const p = <usize>i << 2, m = n - i;
        const r = f32x4.add(loadLanes(dh + at + p, m), v128.load(work + p));
        const decayed = f32x4.mul(exp(loadLanes(g + at + p, m)), r);
        storeLanes(dx + at + p, r, m);
        storeLanes(dg + at + p, before ? f32x4.mul(decayed, loadLanes(before + p, m)) : zero, m);
        v128.store(work + p, decayed);
      }
    }
    if (dInitial) memory.copy(dInitial + edge, work, size);
  }
}
