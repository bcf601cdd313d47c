import { fetchRows } from '../core/fetch';
import { columnTile } from '../core/tile';
import { sumLanes4 } from '../core/reduce';
import { fma } from '../core/exp';
import { finiteMax, KEYS, LOG2E, rescale } from './score';
import { finishRow, outputsOf, resetTile, softmaxLanes, tileBytes } from './tile';

/** Keys whose values are used up before the next are touched, so that their cache lines are read once. */
const STEP: i32 = 16;

/**
 * One query over a long cache: keys and values are read in place, once for all query heads of a KV head. A work item
 * is (batch, split of `split` keys); each bundle of `bundle` query heads, those of a KV head or of several with one each,
 * leaves max, sum and O of those keys in `parts` [B, bundles, splits], tiles without queries. D must be a multiple of 4,
 * Dv of 8.
 *
 * workspace: S [KEYS][8], of which four lanes are used
 */
export function attentionDecode(
  q: usize, k: usize, v: usize, ranges: usize, parts: usize, Tk: i32, Hq: i32, Hkv: i32, D: i32, Dv: i32, scale: f32,
  split: i32, bundle: i32, workspace: usize, begin: i32, end: i32,
): void {
  const group = Hq / Hkv, bundles = (Hq + bundle - 1) / bundle;
  const tiles = (bundle + 7) >> 3, splits = (Tk + split - 1) / split;
  const S = workspace, size = tileBytes(0, Dv), part = <usize>tiles * size, partHeads = <usize>splits * part;
  const rowD = <usize>D << 2, rowDv = <usize>Dv << 2, rowK = <usize>Hkv * rowD, rowV = <usize>Hkv * rowDv;
  for (let item = begin; item < end; item++) {
    const b = item / splits, from = item % splits * split;
    const range = ranges + <usize>b * 12;
    const lo = max(load<i32>(range), from), hi = min(load<i32>(range, 4), from + split);
    const own = parts + <usize>(b * bundles) * partHeads + <usize>(item % splits) * part;
    for (let i = 0; i < bundles; i++) {
      const tile = own + <usize>i * partHeads;
      for (let t = 0; t < tiles; t++) resetTile(tile + <usize>t * size, 0, Dv);
    }
    for (let first = lo; first < hi; first += KEYS) {
      const keys = min(KEYS, hi - first), at = <usize>(b * Tk + first);
      const K = k + at * rowK, V = v + at * rowV;
      fetchRows(K, 0, 1, <usize>keys * rowK, S);
      fetchRows(V, 0, 1, <usize>keys * rowV, S);
      for (let head = 0; head < Hq;) {
        const inBundle = head % bundle, heads = min(4, min(bundle - inBundle, Hq - head)), kv = <usize>(head / group);
        const tile = own + <usize>(head / bundle) * partHeads + <usize>(inBundle >> 3) * size;
        const half = <usize>(inBundle & 4), O = outputsOf(tile, 0) + half * rowDv;
        const Q = q + <usize>(b * Hq + head) * rowD, keyRows = K + kv * rowD, values = V + kv * rowDv;
        if (group > 1) sharedScores(Q, heads, keyRows, rowK, keys, D, scale * LOG2E, S);
        else ownScores(Q, heads, keyRows, rowK, keys, D, scale * LOG2E, S);
        softmaxLanes(tile + (half << 2), S, keys, O, Dv);
        if (group > 1) addShared(S, values, rowV, keys, O, Dv);
        else addOwn(S, heads, values, rowV, keys, O, Dv);
        head += heads;
      }
    }
  }
}

// The next three are entry points of the module only because that keeps the compiler from merging them into their caller,
// whose variables would push the accumulators out of the registers.

/** S [keys][4] of up to four heads with the same keys. */
export function sharedScores(
  Q: usize, queries: i32, K: usize, rowK: usize, keys: i32, D: i32, scale: f32, S: usize,
): void {
  dotTile(Q, queries, K, rowK, keys, D, scale, S, false);
}

/** S [keys][4] of up to four heads with keys of their own, which follow each other as the queries do. */
export function ownScores(
  Q: usize, queries: i32, K: usize, rowK: usize, keys: i32, D: i32, scale: f32, S: usize,
): void {
  dotTile(Q, queries, K, rowK, keys, D, scale, S, true);
}

/** O [4][Dv] += S^T V for four heads with the same values. */
export function addShared(S: usize, V: usize, rowV: usize, keys: i32, O: usize, Dv: i32): void {
  for (let j = 0; j < keys; j += STEP) {
    const n = min(STEP, keys - j), from = V + <usize>j * rowV;
    for (let d = 0; d < Dv; d += 8) {
      const column = <usize>d << 2;
      columnTile(S + (<usize>j << 5), 32, from + column, rowV, n, O + column, <usize>Dv << 2, true); // [4][n] x [n][8]
    }
  }
}

/** O [heads][Dv] += S^T V for heads whose values follow each other. */
function addOwn(S: usize, heads: i32, V: usize, rowV: usize, keys: i32, O: usize, Dv: i32): void {
  for (let n = heads * Dv, d = 0; d < n; d += 8) {
    const o = O + (<usize>d << 2);
    let a = v128.load(o), b = v128.load(o, 16);
    let p = S + (<usize>(d / Dv) << 2), v = V + (<usize>d << 2);
    for (let j = keys; j > 0; j--) {
      const weight = v128.load32_splat(p);
      a = fma(weight, v128.load(v), a);
      b = fma(weight, v128.load(v, 16), b);
      p += 32;
      v += rowV;
    }
    v128.store(o, a);
    v128.store(o, b, 16);
  }
}

/**
 * S [keys][lanes 0..3] = scale K Q^T for up to 4 queries, rows of D floats, by dot products along D; with `apart` each query
 * has keys of its own.
 */
// @ts-ignore: decorator
@inline
function dotTile(
  Q: usize, queries: i32, K: usize, rowK: usize, keys: i32, D: i32, scale: f32, S: usize, apart: bool,
): void {
  const rowD = <usize>D << 2, factor = f32x4.splat(scale);
  // lanes without a query repeat the last one
  const to1 = rowD * <usize>min(1, queries - 1), to2 = rowD * <usize>min(2, queries - 1);
  const to3 = rowD * <usize>min(3, queries - 1);
  for (let j = 0; j < keys; j += 2) {
    let a0 = f32x4.splat(0), a1 = f32x4.splat(0), a2 = f32x4.splat(0), a3 = f32x4.splat(0);
    let b0 = f32x4.splat(0), b1 = f32x4.splat(0), b2 = f32x4.splat(0), b3 = f32x4.splat(0);
    let ka = K + <usize>j * rowK, kb = K + <usize>min(j + 1, keys - 1) * rowK;
    let q0 = Q, q1 = Q + to1, q2 = Q + to2, q3 = Q + to3;
    for (let d = D; d > 0; d -= 4) {
      let x = v128.load(ka), y = v128.load(kb);
      let z = v128.load(q0);
      a0 = fma(x, z, a0); b0 = fma(y, z, b0);
      z = v128.load(q1);
      if (apart) { x = v128.load(ka + to1); y = v128.load(kb + to1); }
      a1 = fma(x, z, a1); b1 = fma(y, z, b1);
      z = v128.load(q2);
      if (apart) { x = v128.load(ka + to2); y = v128.load(kb + to2); }
      a2 = fma(x, z, a2); b2 = fma(y, z, b2);
      z = v128.load(q3);
      if (apart) { x = v128.load(ka + to3); y = v128.load(kb + to3); }
      a3 = fma(x, z, a3); b3 = fma(y, z, b3);
      ka += 16; kb += 16; q0 += 16; q1 += 16; q2 += 16; q3 += 16;
    }
    const p = S + (<usize>j << 5);
    v128.store(p, f32x4.mul(sumLanes4(a0, a1, a2, a3), factor));
    v128.store(p, f32x4.mul(sumLanes4(b0, b1, b2, b3), factor), 32);
  }
}

/** Output and lse of all rows from the parts; a work item is (batch, bundle), which it merges into its first part. */
export function attentionMerge(
  parts: usize, output: usize, lse: usize, sink: usize, splits: i32, Hq: i32, Dv: i32, pitchV: i32, bundle: i32,
  begin: i32, end: i32,
): void {
  const bundles = (Hq + bundle - 1) / bundle;
  const tiles = (bundle + 7) >> 3, size = tileBytes(0, pitchV), half = <usize>pitchV << 4;
  for (let item = begin; item < end; item++) {
    const firstHead = item % bundles * bundle, heads = min(bundle, Hq - firstHead);
    const firstRow = item / bundles * Hq + firstHead;
    for (let t = 0; t < tiles; t++) {
      const tile = parts + <usize>(item * splits * tiles + t) * size;
      for (let s = 1; s < splits; s++) {
        const part = tile + <usize>(s * tiles) * size;
        mergeLanes(tile, part, outputsOf(tile, 0), outputsOf(part, 0), pitchV);
        mergeLanes(tile + 16, part + 16, outputsOf(tile, 0) + half, outputsOf(part, 0) + half, pitchV);
      }
      for (let lane = 0; lane < min(8, heads - (t << 3)); lane++) {
        const h = (t << 3) + lane, row = <usize>(firstRow + h);
        finishRow(
          tile, lane, 0, Dv, pitchV, sink ? sink + (<usize>(firstHead + h) << 2) : 0, output + row * (<usize>Dv << 2),
          lse + (row << 2),
        );
      }
    }
  }
}

/** Adds what four lanes of another part saw, O [4][pitchV]; the weights of both go where its max and sum were. */
function mergeLanes(to: usize, from: usize, O: usize, other: usize, pitchV: i32): void {
  const m0 = v128.load(to), m1 = v128.load(from), m = f32x4.pmax(m0, m1), base = finiteMax(m);
  const w0 = rescale(m0, base), w1 = rescale(m1, base);
  v128.store(to, m);
  v128.store(to, f32x4.add(f32x4.mul(v128.load(to, 32), w0), f32x4.mul(v128.load(from, 32), w1)), 32);
  v128.store(from, w0);
  v128.store(from, w1, 32);
  let o = O, x = other;
  for (let lane: usize = 0; lane < 16; lane += 4) {
    const a = v128.load32_splat(from + lane), b = v128.load32_splat(from + lane, 32);
    for (let d = 0; d < pitchV; d += 4) {
      v128.store(o, f32x4.add(f32x4.mul(v128.load(o), a), f32x4.mul(v128.load(x), b)));
      o += 16;
      x += 16;
    }
  }
}
