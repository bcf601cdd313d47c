import { finiteMax, LOG2E } from '../attention/score';
import { exp2 } from '../core/exp';
import { orderKey } from '../core/order';
import { edgeTile, rowTile } from '../core/tile';
import { transpose4 } from '../core/transpose';

// What the score of a query for a block is, summed over the heads that share a choice; src/sparse/choose.ts has the same.
/** Its probability among the blocks. */
const PROBABILITY: i32 = 0;
/** weight * relu(score) */
const RELU: i32 = 2;

/** Queries of a work item. */
const QUERIES: i32 = 8;
/** What is always chosen: the own block before the first and the one before the own. */
const OWN: f32 = 3e38, FIRST: f32 = 2e38, PREVIOUS: f32 = 1e38;

/**
 * The `count` blocks with the greatest scores for every query, ascending, -1 where there are fewer; ties go to the lower
 * one. `plan` [T][3] says for each query which blocks have scores, [lo, end), and which one is its own and always chosen,
 * or -1; by probability the first and the one before the own are chosen as well. The heads of a set have one choice. A work
 * item is (batch, set of heads, 8 queries), which lie in the lanes of a tile.
 *
 * workspace: Q^T [D][8], sums over heads [pitch][8], ranges lo [8] and hi [8], then S [pitch][8], later the scores of the
 *            queries [8][pitch]; pitch = C + 1 rounded up to a multiple of 4
 */
export function chooseBlocks(
  q: usize, k: usize, weights: usize, plan: usize, chosen: usize,
  T: i32, C: i32, Hq: i32, Hkv: i32, D: i32, sets: i32, count: i32, mode: i32, scale: f32, workspace: usize,
  begin: i32, end: i32,
): void {
  const share = Hq / sets, queryBlocks = (T + QUERIES - 1) / QUERIES, pitch = (C + 4) & ~3;
  const rowD = <usize>D << 2, rowK = <usize>Hkv * rowD;
  const sums = workspace + (rowD << 3);
  const R = sums + (<usize>pitch << 5), S = R + 64;
  const factor: f32 = mode == PROBABILITY ? scale * LOG2E : scale;

  for (let item = begin; item < end; item++) {
    const firstQuery = item % queryBlocks * QUERIES, queries = min(QUERIES, T - firstQuery);
    const set = item / queryBlocks % sets, b = item / (queryBlocks * sets);
    const keys = k + <usize>(b * C * Hkv + set * share / max(1, Hq / Hkv)) * rowD;
    let first = C, last = 0;
    for (let i = 0; i < QUERIES; i++) {
      const at = plan + <usize>(firstQuery + i) * 12, to = R + (<usize>i << 2);
      const lo = i < queries ? load<i32>(at) : 0, hi = i < queries ? load<i32>(at, 4) : 0;
      store<i32>(to, lo);
      store<i32>(to, hi, 32);
      if (lo >= hi) continue;
      first = min(first, lo);
      last = max(last, hi);
    }
    memory.fill(sums, 0, <usize>pitch << 5);
    const n = last - first;
    for (let h = set * share; n > 0 && h < (set + 1) * share; h++) {
      for (let lane = 0; lane < QUERIES; lane++) {
        // lanes past the last query repeat it
        const row = q + <usize>((b * T + firstQuery + min(lane, queries - 1)) * Hq + h) * rowD;
        packQuery(workspace + (<usize>lane << 2), row, D, factor);
      }
      let j = 0;
      for (; j + 4 <= n; j += 4) {
        rowTile(keys + <usize>(first + j) * rowK, rowK, workspace, 32, D, S + (<usize>j << 5), 32, false);
      }
      if (j < n) edgeTile(keys + <usize>(first + j) * rowK, rowK, 4, workspace, 32, D, S + (<usize>j << 5), 32, n - j, 8, false);
      if (mode == PROBABILITY) probabilities(S, first, n, R);
      const own = weights + (<usize>((b * T + firstQuery) * Hq + h) << 2);
      for (let half: usize = 0; half < 32; half += 16) {
        const lo = v128.load(R + half), hi = v128.load(R + half, 32);
        const w = mode == RELU ? columnOf(own, <usize>Hq << 2, <i32>half >> 2, queries) : f32x4.splat(1);
        let from = S + half, to = sums + half + (<usize>first << 5);
        for (let j = first; j < last; j++) {
          const at = i32x4.splat(j), inside = v128.and(i32x4.ge_s(at, lo), i32x4.lt_s(at, hi));
          let x = v128.load(from);
          if (mode == RELU) x = f32x4.mul(w, f32x4.pmax(x, f32x4.splat(0)));
          v128.store(to, f32x4.add(v128.load(to), v128.and(x, inside)));
          from += 32;
          to += 32;
        }
      }
    }
    for (let j = 0; j < pitch; j += 4) {
      const from = sums + (<usize>j << 5), to = S + (<usize>j << 2);
      transpose4(from, 32, to, <usize>pitch << 2, false);
      transpose4(from + 16, 32, to + (<usize>pitch << 4), <usize>pitch << 2, false);
    }
    for (let i = 0; i < queries; i++) {
      const at = plan + <usize>(firstQuery + i) * 12, own = load<i32>(at, 8);
      const lo = load<i32>(at), hi = max(load<i32>(at, 4), own + 1);
      const scores = S + (<usize>(i * pitch) << 2);
      if (own >= 0) {
        if (mode == PROBABILITY) {
          if (own > lo) store<f32>(scores + (<usize>(own - 1) << 2), PREVIOUS);
          store<f32>(scores + (<usize>lo << 2), FIRST);
        }
        store<f32>(scores + (<usize>own << 2), OWN);
      }
      const to = chosen + (<usize>(((b * T + firstQuery + i) * sets + set) * count) << 2);
      takeGreatest(scores, lo, hi, pitch, count, to);
    }
  }
}

/** One lane of Q^T [D][8]: a row of D floats times `factor`. */
// @ts-ignore: decorator
@inline
function packQuery(to: usize, row: usize, D: i32, factor: f32): void {
  for (let d = 0; d < D; d++) store<f32>(to + (<usize>d << 5), load<f32>(row + (<usize>d << 2)) * factor);
}

/** Four numbers `pitch` bytes apart, from the one of query `first`; queries past the last repeat it. */
// @ts-ignore: decorator
@inline
function columnOf(x: usize, pitch: usize, first: i32, queries: i32): v128 {
  const last = queries - 1;
  return f32x4(
    load<f32>(x + <usize>min(first, last) * pitch), load<f32>(x + <usize>min(first + 1, last) * pitch),
    load<f32>(x + <usize>min(first + 2, last) * pitch), load<f32>(x + <usize>min(first + 3, last) * pitch),
  );
}

/** S [n][8] of the blocks from `first` on, from scores in units of log 2 to probabilities over the range of each lane. */
export function probabilities(S: usize, first: i32, n: i32, R: usize): void {
  const lo0 = v128.load(R), lo1 = v128.load(R, 16), hi0 = v128.load(R, 32), hi1 = v128.load(R, 48);
  const hidden = f32x4.splat(-Infinity);
  let m0 = hidden, m1 = hidden;
  for (let j = 0; j < n; j++) {
    const p = S + (<usize>j << 5), at = i32x4.splat(first + j);
    const s0 = v128.bitselect(v128.load(p), hidden, v128.and(i32x4.ge_s(at, lo0), i32x4.lt_s(at, hi0)));
    const s1 = v128.bitselect(v128.load(p, 16), hidden, v128.and(i32x4.ge_s(at, lo1), i32x4.lt_s(at, hi1)));
    v128.store(p, s0);
    v128.store(p, s1, 16);
    m0 = f32x4.pmax(m0, s0);
    m1 = f32x4.pmax(m1, s1);
  }
  m0 = finiteMax(m0);
  m1 = finiteMax(m1);
  let l0 = f32x4.splat(0), l1 = f32x4.splat(0);
  for (let j = 0; j < n; j++) {
    const p = S + (<usize>j << 5);
    const p0 = exp2(f32x4.sub(v128.load(p), m0)), p1 = exp2(f32x4.sub(v128.load(p, 16), m1));
    l0 = f32x4.add(l0, p0);
    l1 = f32x4.add(l1, p1);
    v128.store(p, p0);
    v128.store(p, p1, 16);
  }
  l0 = f32x4.div(f32x4.splat(1), l0);
  l1 = f32x4.div(f32x4.splat(1), l1);
  for (let j = 0; j < n; j++) {
    const p = S + (<usize>j << 5);
    v128.store(p, f32x4.mul(v128.load(p), l0));
    v128.store(p, f32x4.mul(v128.load(p, 16), l1), 16);
  }
}

/** The indices of the `count` greatest of scores[lo, hi), ascending; scores hold `size` numbers, which are lost. */
function takeGreatest(scores: usize, lo: i32, hi: i32, size: i32, count: i32, to: usize): void {
  let taken = 0;
  if (hi - lo <= count) {
    for (let j = lo; j < hi; j++) store<i32>(to + (<usize>(taken++) << 2), j);
  } else {
    for (let j = 0; j < size; j += 4) {
      const p = scores + (<usize>j << 2), at = i32x4.add(i32x4.splat(j), i32x4(0, 1, 2, 3));
      const inside = v128.and(i32x4.ge_s(at, i32x4.splat(lo)), i32x4.lt_s(at, i32x4.splat(hi)));
      v128.store(p, v128.bitselect(orderKey(v128.load(p)), i32x4.splat(i32.MIN_VALUE), inside));
    }
    // the greatest threshold that `count` keys reach, bit by bit
    const from = lo & ~3, end = (hi + 3) & ~3;
    let threshold = i32.MIN_VALUE;
    for (let bit = 31; bit >= 0; bit--) {
      const next = threshold + (1 << bit);
      const n = atLeast(scores, from, end, next);
      if (n >= count) threshold = next;
      if (n == count) break;
    }
    let ties = count - (threshold == i32.MAX_VALUE ? 0 : atLeast(scores, from, end, threshold + 1));
    for (let j = lo; j < hi && taken < count; j++) {
      const key = load<i32>(scores + (<usize>j << 2));
      if (key < threshold || (key == threshold && ties-- <= 0)) continue;
      store<i32>(to + (<usize>(taken++) << 2), j);
    }
  }
  for (; taken < count; taken++) store<i32>(to + (<usize>taken << 2), -1);
}

/** How many of keys[from, end) are at least `threshold`; both bounds multiples of 4. */
function atLeast(keys: usize, from: i32, end: i32, threshold: i32): i32 {
  const t = i32x4.splat(threshold);
  let n = i32x4.splat(0);
  for (let j = from; j < end; j += 4) n = i32x4.sub(n, i32x4.ge_s(v128.load(keys + (<usize>j << 2)), t));
  return i32x4.extract_lane(n, 0) + i32x4.extract_lane(n, 1) + i32x4.extract_lane(n, 2) + i32x4.extract_lane(n, 3);
}
