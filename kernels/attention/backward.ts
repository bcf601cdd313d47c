import { exp2 } from '../core/exp';
import { columnTile, rowTile } from '../core/tile';
import { transpose4 } from '../core/transpose';
import { applyRanges, capped, KEYS, LOG2E, Modifiers, modifies, modifyScore, packRows } from './score';

/** Rows of a tile: 8 lanes times 4, so that the products with dO and Q run over 32 rows. */
const ROWS: i32 = 32;
const PITCH: usize = 128;

/**
 * FlashAttention-2 backward: the scores are computed again and P = exp(score - lse), so nothing T x T is kept.
 * With delta = sum(dO * O) - dlse: dS = P (dO V^T - delta), dV = P^T dO, dK = scale dS^T Q, dQ = scale dS K.
 * A work item is (batch, KV head); its rows are numbered query * group + head as in the forward pass.
 *
 * scratch: dQ [rows][pitch], delta and lse [rows], K, dK [KEYS][pitch], V, dV [KEYS][pitchV],
 *          Q^T [4][D][8], dO^T [4][Dv][8], scale Q [32][pitch], dO [32][pitchV], P and dS [KEYS][32], ranges [2][8],
 *          derivative of the softcap [KEYS][32]
 */
export function attentionBackward(
  q: usize, k: usize, v: usize, output: usize, lse: usize, dOutput: usize, dLse: usize, ranges: usize,
  sink: usize, modifiers: usize, dq: usize, dk: usize, dv: usize, dbias: usize, dsink: usize, dgate: usize,
  Tq: i32, Tk: i32, Hq: i32, Hkv: i32, D: i32, Dv: i32, scale: f32, scratch: usize, begin: i32, end: i32,
): void {
  const mods = changetype<Modifiers>(modifiers);
  const modified = modifies(mods);
  const group = Hq / Hkv, rows = Tq * group, rows32 = (rows + 31) & ~31;
  const pitch = (D + 7) & ~7, pitchV = (Dv + 7) & ~7;
  const DQ = scratch;
  const DELTA = DQ + (<usize>(rows32 * pitch) << 2);
  const LSE = DELTA + (<usize>rows32 << 2);
  const K = LSE + (<usize>rows32 << 2);
  const DK = K + (<usize>(KEYS * pitch) << 2);
  const V = DK + (<usize>(KEYS * pitch) << 2);
  const DV = V + (<usize>(KEYS * pitchV) << 2);
  const QT = DV + (<usize>(KEYS * pitchV) << 2);
  const OT = QT + (<usize>(ROWS * pitch) << 2);
  const Q = OT + (<usize>(ROWS * pitchV) << 2);
  const DO = Q + (<usize>(ROWS * pitch) << 2);
  const P = DO + (<usize>(ROWS * pitchV) << 2);
  const DS = P + <usize>KEYS * PITCH;
  const R = DS + <usize>KEYS * PITCH;
  const F = R + 64;
  const rowD = <usize>D << 2, rowDv = <usize>Dv << 2, row = <usize>pitch << 2, rowV = <usize>pitchV << 2;
  const strideK = <usize>Hkv * rowD, strideV = <usize>Hkv * rowDv;

  for (let item = begin; item < end; item++) {
    const b = item / Hkv, kv = item % Hkv;
    memory.fill(DQ, 0, <usize>rows32 * row);
    memory.fill(DELTA, 0, <usize>rows32 << 3); // rows past the last one, and LSE behind it
    for (let r = 0; r < rows; r++) {
      const h = kv * group + r % group, at = <usize>((b * Tq + r / group) * Hq + h);
      const logsum = load<f32>(lse + (at << 2));
      let delta: f32 = 0;
      if (logsum != -Infinity) {
        for (let d = 0; d < Dv; d++) {
          const p = at * rowDv + (<usize>d << 2);
          delta += load<f32>(dOutput + p) * load<f32>(output + p);
        }
        delta -= load<f32>(dLse + (at << 2));
        if (dsink) {
          const logit = load<f32>(sink + (<usize>h << 2)) - logsum;
          const share = f32x4.extract_lane(exp2(f32x4.splat(logit * LOG2E)), 0);
          const p = dsink + (<usize>h << 2);
          store<f32>(p, load<f32>(p) - share * delta);
        }
      }
      store<f32>(DELTA + (<usize>r << 2), delta);
      store<f32>(LSE + (<usize>r << 2), logsum == -Infinity ? 0 : logsum);
    }

    for (let first = 0; first < Tk; first += KEYS) {
      const keys = min(KEYS, Tk - first), keys4 = (keys + 3) & ~3;
      const source = <usize>(b * Tk + first);
      packRows(k + source * strideK + <usize>kv * rowD, strideK, K, keys, D, pitch);
      packRows(v + source * strideV + <usize>kv * rowDv, strideV, V, keys, Dv, pitchV);
      hideIrregular(K, keys, pitch);
      hideIrregular(V, keys, pitchV);
      memory.fill(K + <usize>keys * row, 0, <usize>(keys4 - keys) * row);
      memory.fill(V + <usize>keys * rowV, 0, <usize>(keys4 - keys) * rowV);
      memory.fill(DK, 0, <usize>KEYS * row);
      memory.fill(DV, 0, <usize>KEYS * rowV);

      for (let firstRow = 0; firstRow < rows; firstRow += ROWS) {
        let any = false;
        for (let r = firstRow; r < min(firstRow + ROWS, rows); r++) {
          const range = ranges + <usize>(b * Tq + r / group) * 12;
          if (max(load<i32>(range), first) < min(load<i32>(range, 4), first + keys)) {
            any = true;
            break;
          }
        }
        if (!any) continue;
        for (let r = 0; r < ROWS; r++) {
          const at = <usize>r, index = firstRow + r;
          if (index < rows) {
            const h = kv * group + index % group, from = <usize>((b * Tq + index / group) * Hq + h);
            packRows(q + from * rowD, 0, Q + at * row, 1, D, pitch);
            for (let d = 0; d < pitch; d += 4) {
              const p = Q + at * row + (<usize>d << 2);
              v128.store(p, f32x4.mul(v128.load(p), f32x4.splat(scale)));
            }
            packRows(dOutput + from * rowDv, 0, DO + at * rowV, 1, Dv, pitchV);
          } else {
            memory.fill(Q + at * row, 0, row);
            memory.fill(DO + at * rowV, 0, rowV);
          }
        }
        for (let tile = 0; tile < 4; tile++) {
          const at = <usize>tile;
          transposeRows(Q + (at << 3) * row, row, QT + at * (rowD << 3), D);
          transposeRows(DO + (at << 3) * rowV, rowV, OT + at * (rowDv << 3), Dv);
        }
        for (let tile = 0; tile < 4; tile++) {
          const column = <usize>tile << 5;
          for (let j = 0; j < keys4; j += 4) {
            const at = <usize>j;
            rowTile(K + at * row, row, QT + <usize>tile * (rowD << 3), 32, D, P + at * PITCH + column, PITCH, false);
            rowTile(V + at * rowV, rowV, OT + <usize>tile * (rowDv << 3), 32, Dv, DS + at * PITCH + column, PITCH, false);
          }
          probabilities(
            mods, modified, F, P + column, DS + column, R, ranges, LSE, DELTA, firstRow + (tile << 3), rows, group, kv,
            b, first, keys, Tq, Tk, Hq, dbias, dgate,
          );
        }
        for (let d = 0; d < pitchV; d += 8) {
          const column = <usize>d << 2;
          for (let j = 0; j < keys4; j += 4) {
            const at = <usize>j;
            rowTile(P + at * PITCH, PITCH, DO + column, rowV, ROWS, DV + at * rowV + column, rowV, true);
          }
        }
        for (let d = 0; d < pitch; d += 8) {
          const column = <usize>d << 2;
          for (let j = 0; j < keys4; j += 4) {
            const at = <usize>j;
            rowTile(DS + at * PITCH, PITCH, Q + column, row, ROWS, DK + at * row + column, row, true);
          }
          for (let r = 0; r < ROWS; r += 4) {
            const at = <usize>r;
            const to = DQ + (<usize>firstRow + at) * row + column;
            columnTile(DS + (at << 2), PITCH, K + column, row, keys, to, row, true);
          }
        }
      }
      for (let j = 0; j < keys; j++) {
        const to = <usize>((b * Tk + first + j) * Hkv + kv), at = <usize>j;
        memory.copy(dk + to * rowD, DK + at * row, rowD);
        memory.copy(dv + to * rowDv, DV + at * rowV, rowDv);
      }
    }
    for (let r = 0; r < rows; r++) {
      const to = <usize>((b * Tq + r / group) * Hq + kv * group + r % group);
      for (let d = 0; d < D; d++) {
        const p = <usize>d << 2;
        store<f32>(dq + to * rowD + p, load<f32>(DQ + <usize>r * row + p) * scale);
      }
    }
  }
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

/** In place: scores -> P, dP -> dS, for one tile of 8 rows; collects the gradients of bias and gates. */
function probabilities(
  mods: Modifiers, modified: bool, F: usize, P: usize, DS: usize, R: usize, ranges: usize, LSE: usize, DELTA: usize,
  firstRow: i32, rows: i32, group: i32, kv: i32, b: i32, first: i32, keys: i32, Tq: i32, Tk: i32, Hq: i32,
  dbias: usize, dgate: usize,
): void {
  for (let lane = 0; lane < 8; lane++) {
    const r = firstRow + lane, at = <usize>lane << 2;
    let lo = 0, hi = 0;
    if (r < rows) {
      const range = ranges + <usize>(b * Tq + r / group) * 12;
      lo = load<i32>(range);
      hi = load<i32>(range, 4);
    }
    store<i32>(R + at, lo);
    store<i32>(R + at, hi, 32);
  }
  const softcap = mods.softcap;
  if (modified) {
    for (let lane = 0; lane < 8; lane++) {
      const r = firstRow + lane;
      if (r >= rows) break;
      const i = r / group, h = kv * group + r % group;
      const range = ranges + <usize>(b * Tq + i) * 12, own = load<i32>(range, 8);
      for (let j = max(load<i32>(range), first); j < min(load<i32>(range, 4), first + keys); j++) {
        const at = <usize>(j - first) * PITCH + (<usize>lane << 2);
        const raw = load<f32>(P + at);
        if (softcap > 0) {
          const t = capped(raw, softcap);
          store<f32>(F + at, 1 - t * t);
        }
        store<f32>(P + at, modifyScore(mods, raw, b, h, i, j, j - own, Hq, Tk));
      }
    }
  }
  applyRanges(P, PITCH, R, R + 32, first, keys);
  const log2e = f32x4.splat(LOG2E);
  const l0 = v128.load(LSE + (<usize>firstRow << 2)), l1 = v128.load(LSE + (<usize>firstRow << 2), 16);
  const delta0 = v128.load(DELTA + (<usize>firstRow << 2)), delta1 = v128.load(DELTA + (<usize>firstRow << 2), 16);
  for (let j = 0; j < keys; j++) {
    const at = <usize>j * PITCH;
    const p0 = exp2(f32x4.mul(f32x4.sub(v128.load(P + at), l0), log2e));
    const p1 = exp2(f32x4.mul(f32x4.sub(v128.load(P + at, 16), l1), log2e));
    v128.store(P + at, p0);
    v128.store(P + at, p1, 16);
    v128.store(DS + at, f32x4.mul(p0, f32x4.sub(v128.load(DS + at), delta0)));
    v128.store(DS + at, f32x4.mul(p1, f32x4.sub(v128.load(DS + at, 16), delta1)), 16);
  }
  // the padding up to a multiple of 4 keys takes no part
  for (let j = keys; j < ((keys + 3) & ~3); j++) {
    const at = <usize>j * PITCH;
    v128.store(P + at, f32x4.splat(0));
    v128.store(P + at, f32x4.splat(0), 16);
    v128.store(DS + at, f32x4.splat(0));
    v128.store(DS + at, f32x4.splat(0), 16);
  }
  if (!(dbias || dgate || softcap > 0)) return;
  for (let lane = 0; lane < 8; lane++) {
    const r = firstRow + lane;
    if (r >= rows) break;
    const i = r / group, h = kv * group + r % group;
    const range = ranges + <usize>(b * Tq + i) * 12, own = load<i32>(range, 8);
    for (let j = max(load<i32>(range), first); j < min(load<i32>(range, 4), first + keys); j++) {
      const offset = <usize>(j - first) * PITCH + (<usize>lane << 2), at = DS + offset;
      const ds = load<f32>(at);
      if (dbias) {
        const p = dbias + (<usize>(b * mods.biasB + h * mods.biasH + i * mods.biasQ + j * mods.biasK) << 2);
        store<f32>(p, load<f32>(p) + ds);
      }
      if (dgate) {
        const mine = dgate + (<usize>((b * Tk + own) * Hq + h) << 2), theirs = dgate + (<usize>((b * Tk + j) * Hq + h) << 2);
        store<f32>(mine, load<f32>(mine) + ds);
        store<f32>(theirs, load<f32>(theirs) - ds);
      }
      if (softcap > 0) store<f32>(at, ds * load<f32>(F + offset));
    }
  }
}
