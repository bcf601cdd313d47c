import { addColumns, addRows, rowStrip } from '../core/block';
import { exp2 } from '../core/exp';
import { dot } from '../core/reduce';
import { transpose4 } from '../core/transpose';
import { biasOf, describeRow, Modifiers, modifies, modifyTile, ownPosition, TABLE } from './modifiers';
import { applyRanges, LOG2E, layRows } from './score';

/** Rows of a tile: 8 lanes times 4, so that the products with dO and Q run over 32 rows. */
const ROWS: i32 = 32;
const PITCH: usize = 128;
/** What a tile of 8 rows sees: keys from lo to hi that any row sees, and those that all rows see, four int32. */
const SPAN: usize = 16;

/**
 * FlashAttention-2 backward: the scores are computed again and P = exp(score - lse), so nothing T x T is kept.
 * With delta = sum(dO * O) - dlse: dS = P (dO V^T - delta), dV = P^T dO, dK = scale dS^T Q, dQ = scale dS K.
 * The rows of a KV head are numbered query * group + head as in the forward pass. A work item is (batch, KV head,
 * split of `splitRows` rows), counted from `firstItem`; dq is its own, the others are parts that are summed later:
 * dk and dv [splits][B, Tk, Hkv, D], dsink [items][group], dgate [items][Tk][group], the gradient of the gates' sums.
 * Only items that share no element of a broadcast dbias may run at once. With dq = 0 dbias is all there is.
 *
 * The more keys a block has, a multiple of 4, the fewer times the rows are read.
 *
 * workspace: dQ [rows][pitch], delta and lse [rows], tables [rows / 8], spans [rows / 8][4], K, dK [block][pitch],
 *            V, dV [block][pitchV], Q^T [4][D][8], dO^T [4][Dv][8], scale Q [32][pitch], dO [32][pitchV],
 *            P and dS [block][32], derivative of the softcap [block][32], first key and keys of four tiles
 */
export function attentionBackward(
  q: usize, k: usize, v: usize, output: usize, lse: usize, dOutput: usize, dLse: usize, ranges: usize,
  sink: usize, modifiers: usize, dq: usize, dk: usize, dv: usize, dbias: usize, dsink: usize, dgate: usize,
  B: i32, Tq: i32, Tk: i32, Hq: i32, Hkv: i32, D: i32, Dv: i32, scale: f32, splitRows: i32, blockKeys: i32,
  firstItem: i32, workspace: usize, begin: i32, end: i32,
): void {
  const mods = changetype<Modifiers>(modifiers);
  const modified = modifies(mods);
  const group = Hq / Hkv, rows = Tq * group, splits = (rows + splitRows - 1) / splitRows;
  const pitch = (D + 7) & ~7, pitchV = (Dv + 7) & ~7;
  const DQ = workspace;
  const DELTA = DQ + (<usize>(splitRows * pitch) << 2);
  const LSE = DELTA + (<usize>splitRows << 2);
  const tables = LSE + (<usize>splitRows << 2);
  const spans = tables + <usize>(splitRows >> 3) * TABLE;
  const K = spans + <usize>(splitRows >> 3) * SPAN;
  const DK = K + (<usize>(blockKeys * pitch) << 2);
  const V = DK + (<usize>(blockKeys * pitch) << 2);
  const DV = V + (<usize>(blockKeys * pitchV) << 2);
  const QT = DV + (<usize>(blockKeys * pitchV) << 2);
  const OT = QT + (<usize>(ROWS * pitch) << 2);
  const Q = OT + (<usize>(ROWS * pitchV) << 2);
  const DO = Q + (<usize>(ROWS * pitch) << 2);
  const P = DO + (<usize>(ROWS * pitchV) << 2);
  const DS = P + <usize>blockKeys * PITCH;
  const F = DS + <usize>blockKeys * PITCH;
  const parts = F + <usize>blockKeys * PITCH;
  const rowD = <usize>D << 2, rowDv = <usize>Dv << 2, row = <usize>pitch << 2, rowV = <usize>pitchV << 2;
  const strideK = <usize>Hkv * rowD, strideV = <usize>Hkv * rowDv;

  for (let item = firstItem + begin; item < firstItem + end; item++) {
    const split = item % splits, bh = item / splits, b = bh / Hkv, kv = bh % Hkv;
    const start = split * splitRows, count = min(splitRows, rows - start), count32 = (count + 31) & ~31;
    const dsinkPart = dsink ? dsink + (<usize>(item * group) << 2) : 0;
    const dgatePart = dgate ? dgate + (<usize>(item * Tk * group) << 2) : 0;
    if (dsinkPart) memory.fill(dsinkPart, 0, <usize>group << 2);
    if (dgatePart) memory.fill(dgatePart, 0, <usize>(Tk * group) << 2);
    memory.fill(DQ, 0, <usize>count32 * row);
    for (let r = 0; r < count32; r++) {
      const index = min(start + r, rows - 1), i = index / group, hg = index % group, h = kv * group + hg;
      const table = tables + <usize>(r >> 3) * TABLE + (<usize>(r & 7) << 2);
      describeRow(table, mods, ranges + <usize>(b * Tq + i) * 12, b, i, h, Tk, Hq);
      const at = <usize>((b * Tq + i) * Hq + h);
      let logsum = load<f32>(lse + (at << 2));
      let delta: f32 = 0;
      if (r >= count || logsum == -Infinity) {
        // sees nothing
        store<i32>(table, 0);
        store<i32>(table, 0, 32);
        logsum = 0;
      } else {
        delta = dot(dOutput + at * rowDv, output + at * rowDv, Dv) - load<f32>(dLse + (at << 2));
        if (dsinkPart) {
          const logit = load<f32>(sink + (<usize>h << 2)) - logsum;
          const share = f32x4.extract_lane(exp2(f32x4.splat(logit * LOG2E)), 0);
          const p = dsinkPart + (<usize>hg << 2);
          store<f32>(p, load<f32>(p) - share * delta);
        }
      }
      store<f32>(DELTA + (<usize>r << 2), delta);
      store<f32>(LSE + (<usize>r << 2), logsum);
    }

    for (let tile: usize = 0; tile < <usize>count32 >> 3; tile++) {
      measureSpan(tables + tile * TABLE, spans + tile * SPAN, Tk);
    }

    for (let first = 0; first < Tk; first += blockKeys) {
      const keys = min(blockKeys, Tk - first), keys4 = (keys + 3) & ~3;
      const source = <usize>(b * Tk + first);
      layRows(k + source * strideK + <usize>kv * rowD, strideK, K, keys, D, pitch);
      layRows(v + source * strideV + <usize>kv * rowDv, strideV, V, keys, Dv, pitchV);
      hideIrregular(K, keys, pitch);
      hideIrregular(V, keys, pitchV);
      memory.fill(K + <usize>keys * row, 0, <usize>(keys4 - keys) * row);
      memory.fill(V + <usize>keys * rowV, 0, <usize>(keys4 - keys) * rowV);
      memory.fill(DK, 0, <usize>keys4 * row);
      memory.fill(DV, 0, <usize>keys4 * rowV);

      for (let firstRow = 0; firstRow < count; firstRow += ROWS) {
        const table = tables + <usize>(firstRow >> 3) * TABLE, span = spans + <usize>(firstRow >> 3) * SPAN;
        let seen = false;
        for (let tile = span; tile < span + 4 * SPAN; tile += SPAN) {
          if (load<i32>(tile) < first + keys && first < load<i32>(tile, 4)) seen = true;
        }
        if (!seen) continue;
        for (let r = 0; r < ROWS; r++) {
          const index = start + firstRow + r;
          const to = Q + <usize>r * row, toV = DO + <usize>r * rowV;
          if (firstRow + r < count) {
            const h = kv * group + index % group, at = <usize>((b * Tq + index / group) * Hq + h);
            copyScaled(q + at * rowD, to, D, pitch, scale);
            copyScaled(dOutput + at * rowDv, toV, Dv, pitchV, 1);
          } else {
            memory.fill(to, 0, row);
            memory.fill(toV, 0, rowV);
          }
        }
        for (let tile: usize = 0; tile < 4; tile++) {
          const own = span + tile * SPAN, column = tile << 5;
          // the keys of the block that any of the eight rows sees, from a multiple of 4
          const from = max(0, load<i32>(own) - first) & ~3, n = min(keys, load<i32>(own, 4) - first) - from;
          store<i32>(parts + (tile << 3), from);
          store<i32>(parts + (tile << 3), n, 4);
          if (n < keys) clearTile(P + column, DS + column, keys4);
          if (n <= 0) continue;
          transposeRows(Q + (tile << 3) * row, row, QT + tile * (rowD << 3), D);
          transposeRows(DO + (tile << 3) * rowV, rowV, OT + tile * (rowDv << 3), Dv);
        }
        // each key for all tiles before the next one: the rows in columns stay in the nearest cache, and no keys do
        stripTiles(parts, keys4, K, row, QT, D, P);
        stripTiles(parts, keys4, V, rowV, OT, Dv, DS);
        for (let tile: usize = 0; tile < 4; tile++) {
          const from = load<i32>(parts + (tile << 3)), n = load<i32>(parts + (tile << 3), 4);
          if (n <= 0) continue;
          const about = table + tile * TABLE, tileRow = <usize>firstRow + (tile << 3);
          const at = <usize>from * PITCH + (tile << 5), p = P + at, ds = DS + at;
          probabilities(
            mods, modified, about, span + tile * SPAN, p, ds, F, LSE + (tileRow << 2), DELTA + (tileRow << 2), first + from,
            n, Hq,
          );
          if (dbias) addBiasGradient(mods, dbias, about, ds, first + from, n);
          if (dgatePart) addGateGradient(dgatePart, about, ds, start + <i32>tileRow, group, first + from, n);
          if (mods.softcap > 0) multiply(ds, F, n);
        }
        if (!dq) continue;
        for (let column: usize = 0; column < row; column += 32) {
          for (let tile: usize = 0; tile < 4; tile++) {
            const from = <usize>load<i32>(parts + (tile << 3)), n = load<i32>(parts + (tile << 3), 4);
            if (n <= 0) continue;
            addColumns(
              DS + from * PITCH + (tile << 5), PITCH, K + from * row + column, row, n,
              DQ + (<usize>firstRow + (tile << 3)) * row + column, row, 8,
            );
          }
        }
        for (let j = 0; j < keys4; j += 4) {
          // the tiles between the first and the last that see any of the four keys
          let top: usize = 4, end: usize = 0;
          for (let tile: usize = 0; tile < 4; tile++) {
            const own = span + tile * SPAN;
            if (load<i32>(own) >= first + j + 4 || load<i32>(own, 4) <= first + j) continue;
            top = min(top, tile);
            end = tile + 1;
          }
          if (top >= end) continue;
          const at = <usize>j, row8 = top << 3, column = at * PITCH + (top << 5), rows8 = <i32>(end - top) << 3;
          addRows(P + column, PITCH, DO + row8 * rowV, rowV, rows8, DV + at * rowV, rowV, pitchV);
          addRows(DS + column, PITCH, Q + row8 * row, row, rows8, DK + at * row, row, pitch);
        }
      }
      if (!dq) continue;
      const part = <usize>(split * B * Tk * Hkv);
      for (let j = 0; j < keys; j++) {
        const to = part + <usize>((b * Tk + first + j) * Hkv + kv), at = <usize>j;
        memory.copy(dk + to * rowD, DK + at * row, rowD);
        memory.copy(dv + to * rowDv, DV + at * rowV, rowDv);
      }
    }
    if (!dq) continue;
    for (let r = 0; r < count; r++) {
      const index = start + r, to = <usize>((b * Tq + index / group) * Hq + kv * group + index % group);
      copyScaled(DQ + <usize>r * row, dq + to * rowD, D, D, scale);
    }
  }
}

/** S [keys][32] = rows of keys times the columns [4][n][8] of four tiles, of each the keys of its part. */
function stripTiles(parts: usize, keys: i32, rows: usize, row: usize, columns: usize, n: i32, S: usize): void {
  for (let j = 0; j < keys; j += 4) {
    for (let tile: usize = 0; tile < 4; tile++) {
      const from = load<i32>(parts + (tile << 3));
      if (j < from || j >= from + load<i32>(parts + (tile << 3), 4)) continue;
      const at = <usize>j;
      rowStrip(rows + at * row, row, columns + tile * (<usize>n << 5), n, S + at * PITCH + (tile << 5), PITCH, 4);
    }
  }
}

/** n floats times `by`, and zeros up to `pitch`. */
function copyScaled(src: usize, dst: usize, n: i32, pitch: i32, by: f32): void {
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    v128.store(dst + (<usize>i << 2), f32x4.mul(v128.load(src + (<usize>i << 2)), f32x4.splat(by)));
  }
  for (; i < n; i++) store<f32>(dst + (<usize>i << 2), load<f32>(src + (<usize>i << 2)) * by);
  for (; i < pitch; i++) store<f32>(dst + (<usize>i << 2), 0);
}

/** Eight rows [8][n] to columns [n][8]; writes up to the next multiple of 4 columns. */
export function transposeRows(src: usize, row: usize, dst: usize, n: i32): void {
  for (let d = 0; d < n; d += 4) {
    const from = src + (<usize>d << 2), to = dst + (<usize>d << 5);
    transpose4(from, row, to, 32, false);
    transpose4(from + (row << 2), row, to + 16, 32, false);
  }
}

/** NaN and Infinity, as padding behind a mask may hold, become 0; a query that sees one has a NaN in lse or output. */
export function hideIrregular(rows: usize, n: i32, pitch: i32): void {
  for (let i = 0; i < n * pitch; i += 4) {
    const p = rows + (<usize>i << 2);
    const x = v128.load(p), zero = f32x4.sub(x, x);
    v128.store(p, v128.and(x, f32x4.eq(zero, zero)));
  }
}

function measureSpan(table: usize, span: usize, Tk: i32): void {
  let lo = Tk, hi = 0, fullLo = 0, fullHi = Tk;
  for (let lane = table; lane < table + 32; lane += 4) {
    const l = load<i32>(lane), u = load<i32>(lane, 32);
    if (l < u) {
      lo = min(lo, l);
      hi = max(hi, u);
    }
    fullLo = max(fullLo, l);
    fullHi = min(fullHi, u);
  }
  store<i32>(span, lo); store<i32>(span, hi, 4); store<i32>(span, fullLo, 8); store<i32>(span, fullHi, 12);
}

function clearTile(P: usize, DS: usize, keys: i32): void {
  for (let p = P, ds = DS, end = P + <usize>keys * PITCH; p < end; p += PITCH, ds += PITCH) {
    v128.store(p, f32x4.splat(0)); v128.store(p, f32x4.splat(0), 16);
    v128.store(ds, f32x4.splat(0)); v128.store(ds, f32x4.splat(0), 16);
  }
}

/** In place: scores -> P, dP -> dS, for one tile of 8 rows; the rows up to a multiple of 4 keys become 0. */
function probabilities(
  mods: Modifiers, modified: bool, table: usize, span: usize, P: usize, DS: usize, F: usize, LSE: usize, DELTA: usize,
  first: i32, n: i32, Hq: i32,
): void {
  if (modified) modifyTile(mods, table, P, PITCH, first, n, Hq, mods.softcap > 0 ? F : 0);
  const fullLo = load<i32>(span, 8), fullHi = load<i32>(span, 12), partial = first < fullLo || first + n > fullHi;
  if (partial) applyRanges(P, PITCH, table, fullLo, fullHi, first, n);
  for (let j = n; j < ((n + 3) & ~3); j++) {
    v128.store(P + <usize>j * PITCH, f32x4.splat(-Infinity));
    v128.store(P + <usize>j * PITCH, f32x4.splat(-Infinity), 16);
  }
  const hidden = modified || partial || (n & 3) != 0;
  for (let half: usize = 0; half < 32; half += 16) {
    const lse = v128.load(LSE + half), delta = v128.load(DELTA + half);
    if (hidden) for (let j = 0; j < n; j += 4) weigh(P + half + <usize>j * PITCH, DS + half + <usize>j * PITCH, lse, delta, true);
    else for (let j = 0; j < n; j += 4) weigh(P + half + <usize>j * PITCH, DS + half + <usize>j * PITCH, lse, delta, false);
  }
}

/** Four keys of `probabilities`. With `hidden` a score of -Infinity gives 0 even where lse or dP is NaN. */
// @ts-ignore: decorator
@inline
function weigh(P: usize, DS: usize, lse: v128, delta: v128, hidden: bool): void {
  const s0 = v128.load(P), s1 = v128.load(P, 128), s2 = v128.load(P, 256), s3 = v128.load(P, 384);
  const log2e = f32x4.splat(LOG2E);
  let p0 = exp2(f32x4.mul(f32x4.sub(s0, lse), log2e)), p1 = exp2(f32x4.mul(f32x4.sub(s1, lse), log2e));
  let p2 = exp2(f32x4.mul(f32x4.sub(s2, lse), log2e)), p3 = exp2(f32x4.mul(f32x4.sub(s3, lse), log2e));
  let d0 = f32x4.mul(p0, f32x4.sub(v128.load(DS), delta)), d1 = f32x4.mul(p1, f32x4.sub(v128.load(DS, 128), delta));
  let d2 = f32x4.mul(p2, f32x4.sub(v128.load(DS, 256), delta)), d3 = f32x4.mul(p3, f32x4.sub(v128.load(DS, 384), delta));
  if (hidden) {
    const none = f32x4.splat(-Infinity);
    const h0 = f32x4.eq(s0, none), h1 = f32x4.eq(s1, none), h2 = f32x4.eq(s2, none), h3 = f32x4.eq(s3, none);
    p0 = v128.andnot(p0, h0); p1 = v128.andnot(p1, h1); p2 = v128.andnot(p2, h2); p3 = v128.andnot(p3, h3);
    d0 = v128.andnot(d0, h0); d1 = v128.andnot(d1, h1); d2 = v128.andnot(d2, h2); d3 = v128.andnot(d3, h3);
  }
  v128.store(P, p0); v128.store(P, p1, 128); v128.store(P, p2, 256); v128.store(P, p3, 384);
  v128.store(DS, d0); v128.store(DS, d1, 128); v128.store(DS, d2, 256); v128.store(DS, d3, 384);
}

function addBiasGradient(mods: Modifiers, dbias: usize, table: usize, DS: usize, first: i32, n: i32): void {
  for (let lane: usize = 0; lane < 32; lane += 4) {
    const row = dbias + (biasOf(table + lane) - mods.bias);
    const lo = load<i32>(table + lane), hi = load<i32>(table + lane, 32);
    for (let j = max(lo, first); j < min(hi, first + n); j++) {
      const p = row + (<usize>(j * mods.biasK) << 2);
      store<f32>(p, load<f32>(p) + load<f32>(DS + <usize>(j - first) * PITCH + lane));
    }
  }
}

/** dF [Tk][group]: what a row gives to its own position it takes from the keys. */
function addGateGradient(dF: usize, table: usize, DS: usize, firstRow: i32, group: i32, first: i32, n: i32): void {
  for (let lane: usize = 0; lane < 32; lane += 4) {
    const lo = load<i32>(table + lane), hi = load<i32>(table + lane, 32);
    const column = dF + (<usize>((firstRow + <i32>(lane >> 2)) % group) << 2);
    let sum: f32 = 0;
    for (let j = max(lo, first); j < min(hi, first + n); j++) {
      const ds = load<f32>(DS + <usize>(j - first) * PITCH + lane);
      const p = column + (<usize>(j * group) << 2);
      store<f32>(p, load<f32>(p) - ds);
      sum += ds;
    }
    if (sum == 0) continue;
    const p = column + (<usize>(ownPosition(table + lane) * group) << 2);
    store<f32>(p, load<f32>(p) + sum);
  }
}

function multiply(DS: usize, F: usize, n: i32): void {
  for (let j = 0; j < n; j++) {
    const at = <usize>j * PITCH;
    v128.store(DS + at, f32x4.mul(v128.load(DS + at), v128.load(F + at)));
    v128.store(DS + at, f32x4.mul(v128.load(DS + at, 16), v128.load(F + at, 16)), 16);
  }
}
