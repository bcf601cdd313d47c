import { exp } from '../core/exp';
import { loadLanes, storeLanes } from '../core/lanes';
import { log1p } from '../core/log';

// With z_t = log(e^s_0 + ... + e^s_t) per channel: y_t = e^(s_t - z_t) and g_t = z_(t-1) - z_t, 0 for the first token.

/** Items are four channels of one sequence. */
export function slotGates(
  s: usize, y: usize, g: usize, offsets: usize, C: i32, begin: i32, end: i32,
): void {
  const blocks = (C + 3) >> 2, row = <usize>C << 2;
  for (let item = begin; item < end; item++) {
    const sequence = <usize>(item / blocks) << 2, column = <usize>(item % blocks) << 4, n = C - (item % blocks << 2);
    const first = load<i32>(offsets + sequence), last = load<i32>(offsets + sequence, 4);
    let z = f32x4.splat(0);
    for (let t = first; t < last; t++) {
      const at = <usize>t * row + column, x = loadLanes(s + at, n);
      const tail = log1p(exp(f32x4.neg(f32x4.abs(f32x4.sub(z, x)))));
      const next = t == first ? x : f32x4.add(f32x4.max(z, x), tail);
      storeLanes(y + at, exp(f32x4.sub(x, next)), n);
      storeLanes(g + at, t == first ? f32x4.splat(0) : f32x4.sub(z, next), n);
      z = next;
    }
  }
}

/** c_t = -dy_t y_t - dg_t + dg_(t+1) + e^g_(t+1) c_(t+1), ds_t = y_t (dy_t + c_t), with dg of the first token 0. */
export function slotGatesBackward(
  y: usize, g: usize, dy: usize, dg: usize, ds: usize, offsets: usize, C: i32, begin: i32, end: i32,
): void {
  const blocks = (C + 3) >> 2, row = <usize>C << 2;
  for (let item = begin; item < end; item++) {
    const sequence = <usize>(item / blocks) << 2, column = <usize>(item % blocks) << 4, n = C - (item % blocks << 2);
    const first = load<i32>(offsets + sequence), last = load<i32>(offsets + sequence, 4);
    let carry = f32x4.splat(0);
    for (let t = last - 1; t >= first; t--) {
      const at = <usize>t * row + column, own = loadLanes(y + at, n), d = loadLanes(dy + at, n);
      const gate = t == first ? f32x4.splat(0) : loadLanes(dg + at, n);
      const c = f32x4.sub(f32x4.sub(carry, gate), f32x4.mul(d, own));
      storeLanes(ds + at, f32x4.mul(own, f32x4.add(d, c)), n);
      carry = f32x4.add(gate, f32x4.mul(exp(loadLanes(g + at, n)), c));
    }
  }
}
