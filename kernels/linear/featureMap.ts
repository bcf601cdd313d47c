import { exp } from '../core/exp';
import { loadLanes, storeLanes } from '../core/lanes';

export const ELU: i32 = 0;

/** y = elu(x) + 1 or max(x, 0), for blocks [begin, end) of 64 of n numbers. */
export function featureMap(x: usize, y: usize, n: i32, kind: i32, begin: i32, end: i32): void {
  const last = min(end << 6, n), zero = f32x4.splat(0);
  for (let i = begin << 6; i < last; i += 4) {
    const at = <usize>i << 2, a = loadLanes(x + at, last - i);
    const positive = f32x4.max(a, zero);
    const b = kind == ELU ? f32x4.add(positive, exp(f32x4.min(a, zero))) : positive;
    storeLanes(y + at, b, last - i);
  }
}

/** dx = dy times the slope, e^min(x, 0) or 1 where x > 0. */
export function featureMapBackward(
  x: usize, dy: usize, dx: usize, n: i32, kind: i32, begin: i32, end: i32,
): void {
  const last = min(end << 6, n), zero = f32x4.splat(0);
  for (let i = begin << 6; i < last; i += 4) {
    const at = <usize>i << 2, a = loadLanes(x + at, last - i), d = loadLanes(dy + at, last - i);
    const slope = kind == ELU ? f32x4.mul(d, exp(f32x4.min(a, zero))) : v128.and(d, f32x4.gt(a, zero));
    storeLanes(dx + at, slope, last - i);
  }
}
