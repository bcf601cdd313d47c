import { finiteMax, LOG2E } from '../attention/score';
import { exp2 } from '../core/exp';
import { orderKey } from '../core/order';
import { edgeTile, rowTile } from '../core/tile';

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
 * or -1; by probability the first and the one before the own are chosen as well. `share` heads have one choice. A work
 * item is (batch, set of heads, 8 queries); its rows are numbered query * share + head, eight in the lanes of a tile.
 *
 * workspace: Q^T [D][8], S [C][8], importance [8][pitch] with pitch = C + 1 rounded up to a multiple of 4, ranges [2][8]
 */
export function chooseBlocks(
  q: usize, k: usize, weights: usize, plan: usize, chosen: usize,
  T: i32, C: i32, Hq: i32, Hkv: i32, D: i32, share: i32, count: i32, mode: i32, scale: f32, workspace: usize,
  begin: i32, end: i32,
): void {
  const sets = Hq / share, queryBlocks = (T + QUERIES - 1) / QUERIES;
  const rowD = <usize>D << 2, rowK = <usize>Hkv * rowD;
  const S = workspace + (rowD << 3);
  const importance = S + (<usize>C << 5), pitch = <usize>((C + 4) & ~3) << 2;
  const R = importance + (pitch << 3);
  const factor: f32 = mode == PROBABILITY ? scale * LOG2E : scale;

  for (let item = begin; item < end; item++) {
    const firstQuery = item % queryBlocks * QUERIES, queries = min(QUERIES, T - firstQuery);
    const set = item / queryBlocks % sets, b = item / (queryBlocks * sets);
    const keys = k + <usize>(b * C * Hkv + set * share / (Hq / Hkv)) * rowD;
    memory.fill(importance, 0, pitch << 3);
    let first = C, last = 0;
    for (let i = 0; i < queries; i++) {
      const lo = load<i32>(plan + <usize>(firstQuery + i) * 12), hi = load<i32>(plan + <usize>(firstQuery + i) * 12, 4);
      if (lo >= hi) continue;
      first = min(first, lo);
      last = max(last, hi);
    }
    if (first < last) {
      for (let tile = 0; tile < share; tile++) {
        for (let lane = 0; lane < 8; lane++) {
          const r = (tile << 3) + lane, i = r / share, to = workspace + (<usize>lane << 2);
          let lo = 0, hi = 0;
          if (i < queries) {
            const row = q + <usize>((b * T + firstQuery + i) * Hq + set * share + r % share) * rowD;
            for (let d = 0; d < D; d++) store<f32>(to + (<usize>d << 5), load<f32>(row + (<usize>d << 2)) * factor);
            lo = load<i32>(plan + <usize>(firstQuery + i) * 12);
            hi = load<i32>(plan + <usize>(firstQuery + i) * 12, 4);
          } else {
            for (let d = 0; d < D; d++) store<f32>(to + (<usize>d << 5), 0);
          }
          store<i32>(R + (<usize>lane << 2), lo - first);
          store<i32>(R + (<usize>lane << 2), hi - first, 32);
        }
        const n = last - first;
        let j = 0;
        for (; j + 4 <= n; j += 4) {
          rowTile(keys + <usize>(first + j) * rowK, rowK, workspace, 32, D, S + (<usize>j << 5), 32, false);
        }
        if (j < n) edgeTile(keys + <usize>(first + j) * rowK, rowK, 4, workspace, 32, D, S + (<usize>j << 5), 32, n - j, 8, false);
        if (mode == PROBABILITY) probabilities(S, n, R);
        for (let lane = 0; lane < 8; lane++) {
          const r = (tile << 3) + lane, i = r / share, at = S + (<usize>lane << 2);
          if (i >= queries) break;
          const to = importance + <usize>i * pitch + (<usize>first << 2);
          const lo = load<i32>(R + (<usize>lane << 2)), hi = load<i32>(R + (<usize>lane << 2), 32);
          if (mode == RELU) {
            const w = load<f32>(weights + (<usize>((b * T + firstQuery + i) * Hq + set * share + r % share) << 2));
            for (let j = lo; j < hi; j++) {
              const p = to + (<usize>j << 2);
              store<f32>(p, load<f32>(p) + w * max<f32>(load<f32>(at + (<usize>j << 5)), 0));
            }
          } else {
            for (let j = lo; j < hi; j++) {
              const p = to + (<usize>j << 2);
              store<f32>(p, load<f32>(p) + load<f32>(at + (<usize>j << 5)));
            }
          }
        }
      }
    }
    for (let i = 0; i < queries; i++) {
      const at = plan + <usize>(firstQuery + i) * 12, own = load<i32>(at, 8);
      const lo = load<i32>(at), hi = max(load<i32>(at, 4), own + 1);
      const scores = importance + <usize>i * pitch;
      if (own >= 0) {
        if (mode == PROBABILITY) {
          if (own > lo) store<f32>(scores + (<usize>(own - 1) << 2), PREVIOUS);
          store<f32>(scores + (<usize>lo << 2), FIRST);
        }
        store<f32>(scores + (<usize>own << 2), OWN);
      }
      const to = chosen + (<usize>(((b * T + firstQuery + i) * sets + set) * count) << 2);
      takeGreatest(scores, lo, hi, (C + 4) & ~3, count, to);
    }
  }
}

/** S [n][8] from scores in units of log 2 to probabilities over the range of each lane. */
export function probabilities(S: usize, n: i32, R: usize): void {
  const lo0 = v128.load(R), lo1 = v128.load(R, 16), hi0 = v128.load(R, 32), hi1 = v128.load(R, 48);
  const hidden = f32x4.splat(-Infinity);
  let m0 = hidden, m1 = hidden;
  for (let j = 0; j < n; j++) {
    const p = S + (<usize>j << 5), at = i32x4.splat(j);
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
      if (atLeast(scores, from, end, next) >= count) threshold = next;
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
