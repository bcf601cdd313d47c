import { addColumns, rowStrip } from '../core/block';
import { exp2, fma } from '../core/exp';
import { finiteMax, KEYS, LN2, log, LOG2E, rescale } from './score';

// The steps of FlashAttention-2 on a tile of eight rows, for any kernel that decides which keys a tile meets:
// resetTile and packQuery, then for each block of keys scoreTile, softmaxTile and accumulateTile, at last finishRow.
// A row is one query of one head and lies in one lane. Scores are in units of log 2.
//
// A tile is one stretch of memory: max [8], sum [8], key ranges lo [8] and hi [8], Q^T [D][8], O [8][pitchV].
// The score tile S is [KEYS][8]; after softmaxTile it is the left operand of the product with V.

const HEAD: usize = 128;
/** How far scores may pass the maximum before what was summed is scaled: powers up to 2^8 are as exact as those up to 1. */
const SLACK: f32 = 8;

/** Bytes of a tile; pitchV is Dv rounded up to a multiple of 8. */
// @ts-ignore: decorator
@inline
export function tileBytes(D: i32, pitchV: i32): usize {
  return HEAD + (<usize>(D + pitchV) << 5);
}

/** Where Q^T lies. */
// @ts-ignore: decorator
@inline
export function queriesOf(tile: usize): usize {
  return tile + HEAD;
}

/** Where the key ranges of a tile lie: lo [8], and 32 bytes later hi [8]. */
// @ts-ignore: decorator
@inline
export function rangesOf(tile: usize): usize {
  return tile + 64;
}

// @ts-ignore: decorator
@inline
export function outputsOf(tile: usize, D: i32): usize {
  return tile + HEAD + (<usize>D << 5);
}

// @ts-ignore: decorator
@inline
export function resetTile(tile: usize, D: i32, pitchV: i32): void {
  v128.store(tile, f32x4.splat(-Infinity));
  v128.store(tile, f32x4.splat(-Infinity), 16);
  memory.fill(tile + 32, 0, 32);
  memory.fill(outputsOf(tile, D), 0, <usize>pitchV << 5);
}

/** One lane of Q^T from D floats times `factor`; a pointer of 0 gives zeros. */
// @ts-ignore: decorator
@inline
export function packQuery(tile: usize, lane: i32, row: usize, D: i32, factor: f32): void {
  let to = tile + HEAD + (<usize>lane << 2), from = row, d = 0;
  if (!row) {
    for (; d < D; d++) store<f32>(to + (<usize>d << 5), 0);
    return;
  }
  for (; d + 4 <= D; d += 4) {
    const x = f32x4.mul(v128.load(from), f32x4.splat(factor));
    v128.store32_lane(to, x, 0);
    v128.store32_lane(to, x, 1, 32);
    v128.store32_lane(to, x, 2, 64);
    v128.store32_lane(to, x, 3, 96);
    from += 16;
    to += 128;
  }
  for (; d < D; d++) {
    store<f32>(to, load<f32>(from) * factor);
    from += 4;
    to += 32;
  }
}

/** S [keys][8] = K Q^T for a multiple of 4 keys. */
// @ts-ignore: decorator
@inline
export function scoreTile(tile: usize, K: usize, pitchK: usize, keys: i32, D: i32, S: usize): void {
  rowStrip(K, pitchK, tile + HEAD, D, S, 32, keys); // [keys][D] x [D][8]
}

/** In place 2^(x - base) over a multiple of 4 rows of four lanes, 32 bytes apart, four in flight; returns the sums. */
// @ts-ignore: decorator
@inline
function exponentials(S: usize, keys: i32, base: v128): v128 {
  let sum = f32x4.splat(0);
  let p = S;
  for (let j = keys; j > 0; j -= 4) {
    const x0 = exp2(f32x4.sub(v128.load(p), base)), x1 = exp2(f32x4.sub(v128.load(p, 32), base));
    const x2 = exp2(f32x4.sub(v128.load(p, 64), base)), x3 = exp2(f32x4.sub(v128.load(p, 96), base));
    v128.store(p, x0); v128.store(p, x1, 32); v128.store(p, x2, 64); v128.store(p, x3, 96);
    sum = f32x4.add(f32x4.add(f32x4.add(sum, x0), f32x4.add(x1, x2)), x3);
    p += 128;
  }
  return sum;
}

/** In place S = 2^(S - max); adds to the sums. The running maximum moves, and what was before is scaled, beyond SLACK. */
export function softmaxTile(tile: usize, S: usize, keys: i32, D: i32, pitchV: i32): void {
  softmaxLanes(tile, S, keys, outputsOf(tile, D), pitchV);
  softmaxLanes(tile + 16, S + 16, keys, outputsOf(tile, D) + (<usize>pitchV << 4), pitchV);
}

/** The same for four lanes: max [4], 32 bytes later sum [4], S [keys][4] in rows 32 bytes apart, O [4][pitchV]. */
export function softmaxLanes(state: usize, S: usize, keys: i32, O: usize, pitchV: i32): void {
  const keys4 = (keys + 3) & ~3;
  for (let j = keys; j < keys4; j++) v128.store(S + (<usize>j << 5), f32x4.splat(-Infinity));
  const old = v128.load(state);
  let m = old;
  for (let p = S, end = S + (<usize>keys4 << 5); p < end; p += 128) {
    const m0 = f32x4.pmax(v128.load(p), v128.load(p, 32)), m1 = f32x4.pmax(v128.load(p, 64), v128.load(p, 96));
    m = f32x4.pmax(m, f32x4.pmax(m0, m1));
  }
  let base = finiteMax(old), l = v128.load(state, 32);
  const raised = f32x4.gt(m, f32x4.add(old, f32x4.splat(SLACK)));
  if (v128.any_true(raised)) {
    // no lane is scaled for another's sake: what a row gives does not depend on its neighbours
    m = v128.bitselect(m, old, raised);
    v128.store(state, m);
    base = finiteMax(m);
    const a = rescale(old, base);
    l = f32x4.mul(l, a);
    scaleRow(O, pitchV, f32x4.splat(f32x4.extract_lane(a, 0)));
    scaleRow(O + (<usize>pitchV << 2), pitchV, f32x4.splat(f32x4.extract_lane(a, 1)));
    scaleRow(O + (<usize>pitchV << 3), pitchV, f32x4.splat(f32x4.extract_lane(a, 2)));
    scaleRow(O + <usize>pitchV * 12, pitchV, f32x4.splat(f32x4.extract_lane(a, 3)));
  }
  const sum = exponentials(S, keys4, base);
  v128.store(state, f32x4.add(l, sum), 32);
}

function scaleRow(row: usize, n: i32, by: v128): void {
  for (let d = 0; d < n; d += 4) {
    const p = row + (<usize>d << 2);
    v128.store(p, f32x4.mul(v128.load(p), by));
  }
}

/** O [8][pitchV] += S^T V */
// @ts-ignore: decorator
@inline
export function accumulateTile(tile: usize, S: usize, keys: i32, V: usize, pitch: usize, D: i32, pitchV: i32): void {
  addColumns(S, 32, V, pitch, keys, outputsOf(tile, D), <usize>pitchV << 2, pitchV); // [8][keys] x [keys][pitchV]
}

/** The same sums without the terms whose probability is 0, so that a masked NaN or Infinity in V stays where it is. */
export function accumulateVisible(tile: usize, S: usize, keys: i32, V: usize, pitch: usize, D: i32, pitchV: i32): void {
  for (let j = 0; j < keys; j++) {
    for (let lane = 0; lane < 8; lane++) {
      const p = load<f32>(S + (<usize>j << 5) + (<usize>lane << 2));
      if (p == 0) continue;
      const o = outputsOf(tile, D) + (<usize>(lane * pitchV) << 2), v = V + <usize>j * pitch, weight = f32x4.splat(p);
      for (let d: usize = 0; d < <usize>pitchV << 2; d += 16) {
        v128.store(o + d, fma(weight, v128.load(v + d), v128.load(o + d)));
      }
    }
  }
}

/**
 * output [Dv] = O / sum and lse = ln 2 (max + log2 sum) of one lane; a row without keys gives zeros and -Infinity.
 * `sink`, unless 0, points at one more logit, which has no value.
 */
export function finishRow(
  tile: usize, lane: i32, D: i32, Dv: i32, pitchV: i32, sink: usize, output: usize, lse: usize,
): void {
  const at = tile + (<usize>lane << 2);
  let m = load<f32>(at), l = load<f32>(at, 32);
  let weight: f32 = 1;
  if (sink && load<f32>(sink) != -Infinity) {
    const logit = load<f32>(sink) * LOG2E;
    const top = max<f32>(m, logit);
    weight = m == -Infinity ? 0 : f32x4.extract_lane(exp2(f32x4.splat(m - top)), 0);
    l = l * weight + f32x4.extract_lane(exp2(f32x4.splat(logit - top)), 0);
    m = top;
  }
  const empty = l == 0;
  store<f32>(lse, empty ? <f32>-Infinity : m * LN2 + f32x4.extract_lane(log(f32x4.splat(l)), 0));
  const inverse: f32 = empty ? 0 : weight / l;
  let from = outputsOf(tile, D) + (<usize>(lane * pitchV) << 2), to = output, d = 0;
  for (; d + 4 <= Dv; d += 4) {
    v128.store(to, f32x4.mul(v128.load(from), f32x4.splat(inverse)));
    from += 16;
    to += 16;
  }
  for (; d < Dv; d++) {
    store<f32>(to, load<f32>(from) * inverse);
    from += 4;
    to += 4;
  }
}
