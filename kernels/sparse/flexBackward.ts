import { hideIrregular, transposeRows } from '../attention/backward';
import { KEYS, LOG2E, layRows } from '../attention/score';
import { exp2 } from '../core/exp';
import { columnTile, rowTile } from '../core/tile';
import { tanh } from '../core/tanh';
import { bitsOf, Blocks, endVisible, firstVisible, laneBits, rowOf, strips } from './blocks';
import { ScoreMods, tableBytes, termsOf } from './scoreMods';

/** Rows that meet a block of keys at once: up to 4 tiles of 8 lanes, so that the products with dO and Q run over 32. */
const ROWS: i32 = 32;
const PITCH: usize = 128;

/**
 * FlashAttention-2 backward over the key runs of a table. The scores are computed again, P = exp(score - lse), and with
 * delta = sum(dO O) - dlse: dS = P (dO V^T - delta), dV = P^T dO, dK = scale dS^T Q, dQ = scale dS K; a term of a score
 * has the sum of the dS it took part in. A work item is (batch, KV head); dk and dv start as zeros. Rows are numbered as
 * in the forward pass, `rowsPerItem` of them at a time.
 *
 * workspace, with n rows, a multiple of 32: Q and dQ [n][pitch], Q^T [n / 8][D][8], dO [n][pitchV], dO^T [n / 8][Dv][8],
 *            delta, lse and lane bits [n], K and dK [KEYS][pitch], V and dV [KEYS][pitchV], P and dS [KEYS][32]
 */
export function flexBackward(
  q: usize, k: usize, v: usize, output: usize, lse: usize, dOutput: usize, dLse: usize, table: usize, scoreMods: usize,
  dq: usize, dk: usize, dv: usize, dBefore: usize, dAfter: usize,
  Tq: i32, Tkv: i32, Hq: i32, Hkv: i32, D: i32, Dv: i32, scale: f32, share: i32, rowsPerItem: i32, workspace: usize,
  begin: i32, end: i32,
): void {
  const blocks = changetype<Blocks>(table), mods = changetype<ScoreMods>(scoreMods);
  const group = Hq / Hkv, sets = Hq / share, blockQ = blocks.blockQ, queryBlocks = (Tq + blockQ - 1) / blockQ;
  const stripCount = strips(blocks), termBytes = tableBytes(Tq, Tkv, share);
  const padded = <usize>((rowsPerItem + ROWS - 1) & ~(ROWS - 1));
  const pitch = (D + 7) & ~7, pitchV = (Dv + 7) & ~7, row = <usize>pitch << 2, rowV = <usize>pitchV << 2;
  const rowD = <usize>D << 2, rowDv = <usize>Dv << 2, strideK = <usize>Hkv * rowD, strideV = <usize>Hkv * rowDv;
  const Q = workspace;
  const DQ = Q + padded * row;
  const QT = DQ + padded * row;
  const DO = QT + padded * row;
  const OT = DO + padded * rowV;
  const DELTA = OT + padded * rowV;
  const LSE = DELTA + (padded << 2);
  const LANES = LSE + (padded << 2);
  const K = LANES + (padded << 2);
  const DK = K + <usize>KEYS * row;
  const V = DK + <usize>KEYS * row;
  const DV = V + <usize>KEYS * rowV;
  const P = DV + <usize>KEYS * rowV;
  const DS = P + <usize>KEYS * PITCH;

  for (let item = begin; item < end; item++) {
    const b = item / Hkv, kv = item % Hkv;
    for (let set = kv * (group / share); set < (kv + 1) * (group / share); set++) {
      const firstHead = set * share;
      const terms = <usize>(b * sets + set) * termBytes, setTerms = <usize>set * termBytes;
      if (dBefore) memory.fill(dBefore + terms, 0, termBytes);
      if (dAfter) memory.fill(dAfter + terms, 0, termBytes);
      for (let block = 0; block < queryBlocks; block++) {
        const firstQuery = block * blockQ, rows = min(blockQ, Tq - firstQuery) * share;
        const tableRow = blocks.offsets + (<usize>rowOf(blocks, b, firstHead, Hq, block, queryBlocks) << 2);
        const endRun = blocks.runs + <usize>load<i32>(tableRow, 4) * 12;
        for (let firstRow = 0; firstRow < rows; firstRow += rowsPerItem) {
          const endRow = min(firstRow + rowsPerItem, rows), count = (endRow - firstRow + 7) & ~7;
          memory.fill(DQ, 0, <usize>count * row);
          for (let i = 0; i < count; i++) {
            const at = <usize>i, r = firstRow + i;
            let delta: f32 = 0, logsum: f32 = Infinity; // a row that takes no part has probabilities of 0
            if (r < endRow) {
              const from = <usize>((b * Tq + firstQuery + r / share) * Hq + firstHead + r % share);
              layRows(q + from * rowD, 0, Q + at * row, 1, D, pitch);
              for (let d = 0; d < pitch; d += 4) {
                const p = Q + at * row + (<usize>d << 2);
                v128.store(p, f32x4.mul(v128.load(p), f32x4.splat(scale)));
              }
              layRows(dOutput + from * rowDv, 0, DO + at * rowV, 1, Dv, pitchV);
              const own = load<f32>(lse + (from << 2));
              if (own != -Infinity) {
                for (let d: usize = 0; d < rowDv; d += 4) {
                  delta += load<f32>(dOutput + from * rowDv + d) * load<f32>(output + from * rowDv + d);
                }
                delta -= load<f32>(dLse + (from << 2));
                logsum = own * LOG2E;
              }
            } else {
              memory.fill(Q + at * row, 0, row);
              memory.fill(DO + at * rowV, 0, rowV);
            }
            store<f32>(DELTA + (at << 2), delta);
            store<f32>(LSE + (at << 2), logsum);
          }
          for (let i = 0; i < count; i += 8) {
            const at = <usize>i;
            transposeRows(Q + at * row, row, QT + at * row, D);
            transposeRows(DO + at * rowV, rowV, OT + at * rowV, Dv);
            laneBits(LANES + (at << 2), firstRow + i, share, blockQ);
          }

          for (let run = blocks.runs + <usize>load<i32>(tableRow) * 12; run < endRun; run += 12) {
            const id = load<i32>(run, 8), bitmap = id < 0 ? 0 : blocks.bitmaps + <usize>id * blocks.bitmapBytes;
            for (let first = load<i32>(run); first < load<i32>(run, 4); first += KEYS) {
              const keys = min(KEYS, load<i32>(run, 4) - first), keys4 = (keys + 3) & ~3, skipped = first - load<i32>(run);
              const source = <usize>(b * Tkv + first);
              layRows(k + source * strideK + <usize>kv * rowD, strideK, K, keys, D, pitch);
              layRows(v + source * strideV + <usize>kv * rowDv, strideV, V, keys, Dv, pitchV);
              hideIrregular(K, keys, pitch);
              hideIrregular(V, keys, pitchV);
              memory.fill(K + <usize>keys * row, 0, <usize>(keys4 - keys) * row);
              memory.fill(V + <usize>keys * rowV, 0, <usize>(keys4 - keys) * rowV);
              memory.fill(DK, 0, <usize>keys4 * row);
              memory.fill(DV, 0, <usize>keys4 * rowV);
              for (let i = 0; i < count; i += ROWS) {
                const some = min(ROWS, count - i), from = <usize>i;
                let lo = 0, hi = keys;
                if (bitmap) {
                  const last = min(firstRow + i + some, rows);
                  lo = max(0, firstVisible(bitmap, firstRow + i, last, share) - skipped);
                  hi = min(keys, endVisible(bitmap, firstRow + i, last, share) - skipped);
                  if (lo >= hi) continue;
                }
                const hi4 = lo + ((hi - lo + 3) & ~3);
                for (let lane = 0; lane < some; lane += 8) {
                  const column = <usize>lane << 2, r = from + lane;
                  for (let j = lo; j < hi4; j += 4) {
                    const at = <usize>j;
                    rowTile(K + at * row, row, QT + r * row, 32, D, P + at * PITCH + column, PITCH, false);
                    rowTile(V + at * rowV, rowV, OT + r * rowV, 32, Dv, DS + at * PITCH + column, PITCH, false);
                  }
                  const first4 = <usize>lo * PITCH + column, tableAt = firstQuery * share + firstRow + i + lane;
                  probabilities(
                    P + first4, DS + first4, hi - lo, hi4 - lo, LSE + (r << 2), DELTA + (r << 2),
                    bitmap ? bitsOf(bitmap, skipped + lo, firstRow + i + lane, share, stripCount) : 0, stripCount,
                    LANES + (r << 2), mods.softcap, <usize>share << 2,
                    mods.before ? termsOf(mods.before + setTerms, tableAt, first + lo, Tkv, share) : 0,
                    mods.after ? termsOf(mods.after + setTerms, tableAt, first + lo, Tkv, share) : 0,
                    dBefore ? termsOf(dBefore + terms, tableAt, first + lo, Tkv, share) : 0,
                    dAfter ? termsOf(dAfter + terms, tableAt, first + lo, Tkv, share) : 0,
                  );
                }
                for (let d = 0; d < pitchV; d += 8) {
                  const column = <usize>d << 2;
                  for (let j = lo; j < hi4; j += 4) {
                    const at = <usize>j;
                    rowTile(P + at * PITCH, PITCH, DO + from * rowV + column, rowV, some, DV + at * rowV + column, rowV, true);
                  }
                }
                for (let d = 0; d < pitch; d += 8) {
                  const column = <usize>d << 2;
                  for (let j = lo; j < hi4; j += 4) {
                    const at = <usize>j;
                    rowTile(DS + at * PITCH, PITCH, Q + from * row + column, row, some, DK + at * row + column, row, true);
                  }
                  for (let r = 0; r < some; r += 4) {
                    const ds = DS + <usize>lo * PITCH + (<usize>r << 2), to = DQ + (from + r) * row + column;
                    columnTile(ds, PITCH, K + <usize>lo * row + column, row, hi - lo, to, row, true);
                  }
                }
              }
              addRows(DK, row, dk + source * strideK + <usize>kv * rowD, strideK, keys, D);
              addRows(DV, rowV, dv + source * strideV + <usize>kv * rowDv, strideV, keys, Dv);
            }
          }

          for (let r = firstRow; r < endRow; r++) {
            const to = dq + <usize>((b * Tq + firstQuery + r / share) * Hq + firstHead + r % share) * rowD;
            for (let d: usize = 0; d < rowD; d += 4) {
              store<f32>(to + d, load<f32>(DQ + <usize>(r - firstRow) * row + d) * scale);
            }
          }
        }
      }
    }
  }
}

/** to [rows][n] += from */
function addRows(from: usize, fromRow: usize, to: usize, toRow: usize, rows: i32, n: i32): void {
  for (let r = 0; r < rows; r++) {
    let i = 0;
    for (; i + 4 <= n; i += 4) {
      const p = to + (<usize>i << 2);
      v128.store(p, f32x4.add(v128.load(p), v128.load(from + (<usize>i << 2))));
    }
    for (; i < n; i++) {
      const p = to + (<usize>i << 2);
      store<f32>(p, load<f32>(p) + load<f32>(from + (<usize>i << 2)));
    }
    from += fromRow;
    to += toRow;
  }
}

/**
 * In place for one tile [keys][8]: scores -> P, dP -> dS; the padding up to `paddedKeys` takes no part. Pointers to terms
 * and their gradients are those of the first key, `down` bytes lower per key.
 */
function probabilities(
  P: usize, DS: usize, keys: i32, paddedKeys: i32, lse: usize, delta: usize, bits: usize, strips: i32,
  lanes: usize, softcap: f32, down: usize, before: usize, after: usize, dBefore: usize, dAfter: usize,
): void {
  const log2e = f32x4.splat(LOG2E), zero = i32x4.splat(0), one = f32x4.splat(1);
  const cap = f32x4.splat(softcap * LOG2E), inverse = f32x4.splat(1 / (softcap * LOG2E));
  for (let half: usize = 0; half < 32; half += 16) {
    const l = v128.load(lse + half), d = v128.load(delta + half), bit = v128.load(lanes + half);
    for (let j = 0; j < keys; j++) {
      const at = <usize>j * PITCH + half, term = half - <usize>j * down;
      let s = f32x4.mul(v128.load(P + at), log2e), slope = one;
      if (before) s = f32x4.add(s, v128.load(before + term));
      if (softcap > 0) {
        const t = tanh(f32x4.mul(s, inverse));
        slope = f32x4.sub(one, f32x4.mul(t, t));
        s = f32x4.mul(cap, t);
      }
      if (after) s = f32x4.add(s, v128.load(after + term));
      let p = exp2(f32x4.sub(s, l));
      if (bits) p = v128.andnot(p, i32x4.eq(v128.and(v128.load32_splat(bits + <usize>(j * strips)), bit), zero));
      v128.store(P + at, p);
      let ds = f32x4.mul(p, f32x4.sub(v128.load(DS + at), d));
      if (bits) ds = v128.andnot(ds, i32x4.eq(v128.and(v128.load32_splat(bits + <usize>(j * strips)), bit), zero));
      if (dAfter) v128.store(dAfter + term, f32x4.add(v128.load(dAfter + term), ds));
      if (softcap > 0) ds = f32x4.mul(ds, slope);
      if (dBefore) v128.store(dBefore + term, f32x4.add(v128.load(dBefore + term), ds));
      v128.store(DS + at, ds);
    }
  }
  for (let j = keys; j < paddedKeys; j++) {
    const at = <usize>j * PITCH;
    v128.store(P + at, f32x4.splat(0));
    v128.store(P + at, f32x4.splat(0), 16);
    v128.store(DS + at, f32x4.splat(0));
    v128.store(DS + at, f32x4.splat(0), 16);
  }
}
