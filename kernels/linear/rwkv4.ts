import { exp, fma } from '../core/exp';
import { loadLanes, storeLanes } from '../core/lanes';

// Per channel, with numerator a and denominator b kept as a e^-p and b e^-p so that nothing overflows,
//
//   o_t = (a + e^(u + k_t) v_t) / (b + e^(u + k_t)),   a <- e^-e^w a + e^(k_t) v_t,   b <- e^-e^w b + e^(k_t).
//
// States [N, 3, C] are a, b and p. A work item is four channels of one sequence.

const LOWEST: f32 = -Infinity;

/** e^(x - top), 0 where x is -Infinity, whatever top is. */
// @ts-ignore: decorator
@inline
function part(x: v128, top: v128): v128 {
  return v128.andnot(exp(f32x4.sub(x, top)), f32x4.eq(x, f32x4.splat(LOWEST)));
}

export function rwkv4(
  w: usize, u: usize, k: usize, v: usize, initial: usize, o: usize, final: usize, offsets: usize,
  C: i32, begin: i32, end: i32,
): void {
  const blocks = (C + 3) >> 2, row = <usize>C << 2;
  for (let item = begin; item < end; item++) {
    const sequence = item / blocks, column = <usize>(item % blocks) << 4, n = C - (item % blocks << 2);
    const first = load<i32>(offsets + (<usize>sequence << 2)), last = load<i32>(offsets + (<usize>sequence << 2), 4);
    const state = <usize>sequence * 3 * row + column;
    let a = f32x4.splat(0), b = a, p = f32x4.splat(LOWEST);
    if (initial) {
      a = loadLanes(initial + state, n);
      b = loadLanes(initial + state + row, n);
      p = loadLanes(initial + state + 2 * row, n);
    }
    const decay = f32x4.neg(exp(loadLanes(w + column, n))), bonus = loadLanes(u + column, n);
    for (let t = first; t < last; t++) {
      const at = <usize>t * row + column, key = loadLanes(k + at, n), value = loadLanes(v + at, n);
      const own = f32x4.add(bonus, key), top = f32x4.max(p, own);
      let old = part(p, top), fresh = exp(f32x4.sub(own, top));
      const numerator = fma(old, a, f32x4.mul(fresh, value));
      storeLanes(o + at, f32x4.div(numerator, fma(old, b, fresh)), n);
      const aged = f32x4.add(p, decay), next = f32x4.max(aged, key);
      old = part(aged, next);
      fresh = exp(f32x4.sub(key, next));
      a = fma(old, a, f32x4.mul(fresh, value));
      b = fma(old, b, fresh);
      p = next;
    }
    if (!final) continue;
    storeLanes(final + state, a, n);
    storeLanes(final + state + row, b, n);
    storeLanes(final + state + 2 * row, p, n);
  }
}

/**
 * Gradients, by going forward once more and keeping every state in `work` (three vectors a token). da and db are kept times
 * e^p of their token. dw and du have a row [C] per sequence. dFinal, that of (a, b) in units of e^p, may be 0.
 */
export function rwkv4Backward(
  w: usize, u: usize, k: usize, v: usize, initial: usize, dO: usize, dFinal: usize,
  dw: usize, du: usize, dk: usize, dv: usize, dInitial: usize, offsets: usize, work: usize,
  C: i32, begin: i32, end: i32,
): void {
  const blocks = (C + 3) >> 2, row = <usize>C << 2;
  for (let item = begin; item < end; item++) {
    const sequence = item / blocks, column = <usize>(item % blocks) << 4, n = C - (item % blocks << 2);
    const first = load<i32>(offsets + (<usize>sequence << 2)), last = load<i32>(offsets + (<usize>sequence << 2), 4);
    const state = <usize>sequence * 3 * row + column, zero = f32x4.splat(0);
    let a = zero, b = zero, p = f32x4.splat(LOWEST);
    if (initial) {
      a = loadLanes(initial + state, n);
      b = loadLanes(initial + state + row, n);
      p = loadLanes(initial + state + 2 * row, n);
    }
    const speed = exp(loadLanes(w + column, n)), decay = f32x4.neg(speed), bonus = loadLanes(u + column, n);
    let kept = work;
    for (let t = first; t < last; t++, kept += 48) {
      v128.store(kept, a); v128.store(kept, b, 16); v128.store(kept, p, 32);
      const at = <usize>t * row + column, key = loadLanes(k + at, n), value = loadLanes(v + at, n);
      const aged = f32x4.add(p, decay), next = f32x4.max(aged, key);
      const old = part(aged, next), fresh = exp(f32x4.sub(key, next));
      a = fma(old, a, f32x4.mul(fresh, value));
      b = fma(old, b, fresh);
      p = next;
    }
    let da = zero, db = zero, dp = zero, dDecay = zero, dBonus = zero;
    if (dFinal) {
      da = loadLanes(dFinal + state, n);
      db = loadLanes(dFinal + state + row, n);
      dp = loadLanes(dFinal + state + 2 * row, n);
    }
    for (let t = last - 1; t >= first; t--) {
      kept -= 48;
      const at = <usize>t * row + column, key = loadLanes(k + at, n), value = loadLanes(v + at, n);
      a = v128.load(kept); b = v128.load(kept, 16); p = v128.load(kept, 32);
      // the state's step, a' = x a + y v, b' = x b + y with x = e^(aged - next), y = e^(key - next), p' = next
      const aged = f32x4.add(p, decay), next = f32x4.max(aged, key);
      const x = part(aged, next), y = exp(f32x4.sub(key, next));
      const dx = f32x4.mul(x, fma(a, da, f32x4.mul(b, db))), dy = f32x4.mul(y, fma(value, da, db));
      const ahead = f32x4.gt(aged, key), dNext = f32x4.sub(dp, f32x4.add(dx, dy));
      const dAged = f32x4.add(dx, v128.and(dNext, ahead));
      let dKey = f32x4.add(dy, v128.andnot(dNext, ahead));
      let dValue = f32x4.mul(y, da);
      da = f32x4.mul(x, da);
      db = f32x4.mul(x, db);
      dDecay = f32x4.add(dDecay, dAged);
      dp = dAged;
      // the output, which does not depend on the shift `top`
      const own = f32x4.add(bonus, key), top = f32x4.max(p, own);
      const old = part(p, top), fresh = exp(f32x4.sub(own, top));
      const by = f32x4.div(f32x4.splat(1), fma(old, b, fresh));
      const out = f32x4.mul(by, fma(old, a, f32x4.mul(fresh, value)));
      const d = f32x4.mul(by, loadLanes(dO + at, n)), dOwn = f32x4.mul(f32x4.mul(fresh, d), f32x4.sub(value, out));
      const dOld = f32x4.mul(old, d);
      dKey = f32x4.add(dKey, dOwn);
      dBonus = f32x4.add(dBonus, dOwn);
      dValue = fma(fresh, d, dValue);
      da = f32x4.add(da, dOld);
      db = f32x4.sub(db, f32x4.mul(dOld, out));
      dp = fma(dOld, f32x4.sub(a, f32x4.mul(b, out)), dp);
      storeLanes(dk + at, dKey, n);
      storeLanes(dv + at, dValue, n);
    }
    storeLanes(dw + <usize>sequence * row + column, f32x4.mul(decay, dDecay), n);
    storeLanes(du + <usize>sequence * row + column, dBonus, n);
    if (!dInitial) continue;
    storeLanes(dInitial + state, da, n);
    storeLanes(dInitial + state + row, db, n);
    storeLanes(dInitial + state + 2 * row, dp, n);
  }
}
