import { exp2 } from '../core/exp';
import { columnTile, rowTile } from '../core/tile';
import { finiteMax, KEYS, LN2, log, LOG2E, rescale } from './score';

// The steps of FlashAttention-2 on a tile of eight rows, for any kernel that decides which keys a tile meets:
// resetTile and packQuery, then for each block of keys scoreTile, softmaxTile and accumulateTile, at last finishRow.
// A row is one query of one head and lies in one lane. Scores are in units of log 2.
//
// A tile is one stretch of memory: max [8], sum [8], key ranges lo [8] and hi [8], Q^T [D][8], O [8][pitchV].
// The score tile S is [KEYS + 1][8]; after softmaxTile it is the left operand of the product with V.

const HEAD: usize = 128;

/** Bytes of a tile; pitchV is Dv rounded up to a multiple of 8. */
// @ts-ignore: decorator
@inline
export function tileBytes(D: i32, pitchV: i32): usize {
  return HEAD + (<usize>(D + pitchV) << 5);
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
  const to = tile + HEAD + (<usize>lane << 2);
  if (row) for (let d = 0; d < D; d++) store<f32>(to + (<usize>d << 5), load<f32>(row + (<usize>d << 2)) * factor);
  else for (let d = 0; d < D; d++) store<f32>(to + (<usize>d << 5), 0);
}

/** S [keys][8] = K Q^T for a multiple of 4 keys. */
// @ts-ignore: decorator
@inline
export function scoreTile(tile: usize, K: usize, pitchK: usize, keys: i32, D: i32, S: usize): void {
  for (let j = 0; j < keys; j += 4) {
    rowTile(K + <usize>j * pitchK, pitchK, tile + HEAD, 32, D, S + (<usize>j << 5), 32, false); // [4][D] x [D][8]
  }
}

/** In place S = 2^(S - max) with the running maximum; adds to the sums, and scales what was before when the maximum moved. */
// @ts-ignore: decorator
@inline
export function softmaxTile(tile: usize, S: usize, keys: i32, D: i32, pitchV: i32): void {
  const old0 = v128.load(tile), old1 = v128.load(tile, 16);
  let m0 = old0, m1 = old1;
  for (let j = 0; j < keys; j++) {
    const p = S + (<usize>j << 5);
    m0 = f32x4.pmax(m0, v128.load(p));
    m1 = f32x4.pmax(m1, v128.load(p, 16));
  }
  v128.store(tile, m0);
  v128.store(tile, m1, 16);
  const base0 = finiteMax(m0), base1 = finiteMax(m1);
  let sum0 = f32x4.splat(0), sum1 = f32x4.splat(0);
  for (let j = 0; j < keys; j++) {
    const p = S + (<usize>j << 5);
    const p0 = exp2(f32x4.sub(v128.load(p), base0)), p1 = exp2(f32x4.sub(v128.load(p, 16), base1));
    sum0 = f32x4.add(sum0, p0);
    sum1 = f32x4.add(sum1, p1);
    v128.store(p, p0);
    v128.store(p, p1, 16);
  }
  let l0 = v128.load(tile, 32), l1 = v128.load(tile, 48);
  if (v128.any_true(v128.or(f32x4.ne(m0, old0), f32x4.ne(m1, old1)))) {
    const a0 = rescale(old0, base0), a1 = rescale(old1, base1);
    l0 = f32x4.mul(l0, a0);
    l1 = f32x4.mul(l1, a1);
    const alpha = S + (<usize>KEYS << 5);
    v128.store(alpha, a0);
    v128.store(alpha, a1, 16);
    let o = outputsOf(tile, D);
    for (let lane = 0; lane < 8; lane++) {
      const a = v128.load32_splat(alpha + (<usize>lane << 2));
      for (let d = 0; d < pitchV; d += 4) {
        v128.store(o, f32x4.mul(v128.load(o), a));
        o += 16;
      }
    }
  }
  v128.store(tile, f32x4.add(l0, sum0), 32);
  v128.store(tile, f32x4.add(l1, sum1), 48);
}

/** O [8][pitchV] += S^T V */
// @ts-ignore: decorator
@inline
export function accumulateTile(tile: usize, S: usize, keys: i32, V: usize, pitch: usize, D: i32, pitchV: i32): void {
  const O = outputsOf(tile, D), rowO = <usize>pitchV << 2;
  for (let d = 0; d < pitchV; d += 8) {
    const column = <usize>d << 2;
    columnTile(S, 32, V + column, pitch, keys, O + column, rowO, true); // [4][keys] x [keys][8]
    columnTile(S + 16, 32, V + column, pitch, keys, O + (rowO << 2) + column, rowO, true);
  }
}

/** The same without the terms whose probability is 0, so that a masked NaN or Infinity in V stays where it is. */
export function accumulateVisible(tile: usize, S: usize, keys: i32, V: usize, pitch: usize, D: i32, pitchV: i32): void {
  for (let j = 0; j < keys; j++) {
    for (let lane = 0; lane < 8; lane++) {
      const p = load<f32>(S + (<usize>j << 5) + (<usize>lane << 2));
      if (p == 0) continue;
      const o = outputsOf(tile, D) + (<usize>(lane * pitchV) << 2), v = V + <usize>j * pitch;
      for (let d = 0; d < pitchV; d++) {
        const at = o + (<usize>d << 2);
        store<f32>(at, load<f32>(at) + p * load<f32>(v + (<usize>d << 2)));
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
  if (sink) {
    const logit = load<f32>(sink) * LOG2E;
    const top = max<f32>(m, logit);
    weight = m == -Infinity ? 0 : f32x4.extract_lane(exp2(f32x4.splat(m - top)), 0);
    l = l * weight + f32x4.extract_lane(exp2(f32x4.splat(logit - top)), 0);
    m = top;
  }
  const empty = l == 0;
  store<f32>(lse, empty ? <f32>-Infinity : m * LN2 + f32x4.extract_lane(log(f32x4.splat(l)), 0));
  const inverse: f32 = empty ? 0 : weight / l;
  const row = outputsOf(tile, D) + (<usize>(lane * pitchV) << 2);
  for (let d = 0; d < Dv; d++) {
    const p = <usize>d << 2;
    store<f32>(output + p, load<f32>(row + p) * inverse);
  }
}
