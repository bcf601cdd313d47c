import { describeRow, Modifiers, modifies, modifyTile, TABLE } from './modifiers';
import { applyRanges, KEYS, LOG2E, layRows, packRows } from './score';
import {
  accumulateTile, accumulateVisible, finishRow, packQuery, resetTile, scoreTile, softmaxTile, tileBytes,
} from './tile';

/**
 * FlashAttention-2 order. The rows of a KV head are numbered query * group + head, so that all its query heads share
 * each packed block of keys and values. A work item is (batch, block of `rowsPerItem` rows, KV head): heads follow each
 * other, since their rows share pages: a window is 8 percent faster than head by head.
 *
 * workspace: tiles, tables, K [KEYS][D], V [KEYS][pitchV], S [KEYS][8]
 */
export function attentionForward(
  q: usize, k: usize, v: usize, output: usize, lse: usize, ranges: usize, sink: usize, modifiers: usize,
  Tq: i32, Tk: i32, Hq: i32, Hkv: i32, D: i32, Dv: i32, scale: f32, rowsPerItem: i32, workspace: usize,
  begin: i32, end: i32,
): void {
  const mods = changetype<Modifiers>(modifiers);
  const modified = modifies(mods);
  const group = Hq / Hkv, rows = Tq * group;
  const blocks = (rows + rowsPerItem - 1) / rowsPerItem;
  const pitchV = (Dv + 7) & ~7, pitch = <usize>pitchV << 2;
  const size = tileBytes(D, pitchV);
  const tables = workspace + <usize>(rowsPerItem >> 3) * size;
  const K = tables + <usize>(rowsPerItem >> 3) * TABLE;
  const V = K + (<usize>(KEYS * D) << 2);
  const S = V + (<usize>(KEYS * pitchV) << 2);
  const rowD = <usize>D << 2, rowDv = <usize>Dv << 2, rowK = <usize>Hkv * rowD, rowV = <usize>Hkv * rowDv;
  const factor: f32 = modified ? scale : scale * LOG2E;

  for (let item = begin; item < end; item++) {
    const kv = item % Hkv, block = item / Hkv % blocks, b = item / (Hkv * blocks);
    const firstRow = block * rowsPerItem, rowCount = min(rowsPerItem, rows - firstRow);
    const endTile = workspace + <usize>((rowCount + 7) >> 3) * size;
    let itemLo = Tk, itemHi = 0;
    for (let tile = workspace, table = tables, r = firstRow; tile < endTile; tile += size, table += TABLE) {
      resetTile(tile, D, pitchV);
      for (let lane = 0; lane < 8; lane++, r++) {
        // lanes past the last row see what it sees, so that a ragged tile needs no masking
        const i = min(r, rows - 1) / group, h = kv * group + min(r, rows - 1) % group;
        const range = ranges + <usize>(b * Tq + i) * 12;
        const lo = load<i32>(range), hi = load<i32>(range, 4);
        describeRow(table + (<usize>lane << 2), mods, range, b, i, h, Tk, Hq);
        if (lo < hi) {
          itemLo = min(itemLo, lo);
          itemHi = max(itemHi, hi);
        }
        packQuery(tile, lane, r < rows ? q + <usize>((b * Tq + i) * Hq + h) * rowD : 0, D, factor);
      }
    }

    for (let first = itemLo; first < itemHi; first += KEYS) {
      const keys = min(KEYS, itemHi - first), keys4 = (keys + 3) & ~3;
      const source = <usize>(b * Tk + first);
      layRows(k + source * rowK + <usize>kv * rowD, rowK, K, keys, D, D);
      memory.fill(K + <usize>keys * rowD, 0, <usize>(keys4 - keys) * rowD);
      const irregular = packRows(v + source * rowV + <usize>kv * rowDv, rowV, V, keys, Dv, pitchV);

      for (let tile = workspace, table = tables; tile < endTile; tile += size, table += TABLE) {
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
        // the keys of the block that any of the eight rows sees, from a multiple of 4
        const from = max(0, lo - first) & ~3, n = min(keys, hi - first) - from;
        if (n <= 0) continue;
        const start = first + from;
        const values = V + <usize>from * pitch;
        scoreTile(tile, K + <usize>from * rowD, rowD, (n + 3) & ~3, D, S);
        if (modified) {
          modifyTile(mods, table, S, 32, start, n, Hq, 0);
          scaleTile(S, n, LOG2E);
        }
        const partial = start < fullLo || start + n > fullHi;
        if (partial) applyRanges(S, 32, table, fullLo, fullHi, start, n);
        softmaxTile(tile, S, n, D, pitchV);
        if (irregular && (partial || modified)) accumulateVisible(tile, S, n, values, pitch, D, pitchV);
        else accumulateTile(tile, S, n, values, pitch, D, pitchV);
      }
    }

    for (let tile = workspace, r = firstRow; tile < endTile; tile += size) {
      for (let lane = 0; lane < 8 && r < rows; lane++, r++) {
        const h = kv * group + r % group, to = <usize>((b * Tq + r / group) * Hq + h);
        finishRow(
          tile, lane, D, Dv, pitchV, sink ? sink + (<usize>h << 2) : 0, output + to * rowDv, lse + (to << 2),
        );
      }
    }
  }
}

function scaleTile(S: usize, n: i32, by: f32): void {
  for (let p = S, end = S + (<usize>n << 5); p < end; p += 16) v128.store(p, f32x4.mul(v128.load(p), f32x4.splat(by)));
}
