import { KEYS, LOG2E, packRows } from '../attention/score';
import {
  accumulateTile, accumulateVisible, finishRow, outputsOf, queriesOf, rangesOf, resetTile, softmaxTile, tileBytes,
} from '../attention/tile';
import { integerTile } from './integerTile';

/**
 * FlashAttention-2 order over queries and keys as quantizeBlocks leaves them, [B, H, T, 2 pairs], three rows and scales of
 * room behind the keys; values in float32. Query i sees keys up to `offset + i`. The rows of a KV head are numbered
 * query * group + head; a work item is (batch, KV head, block of `rowsPerItem` rows). With `means` [B, Hkv, D], which were
 * taken from the keys, lse has their part scale * q . mean added.
 *
 * workspace: tiles (a word of Q^T is a pair, the key ranges are factors [8] and ends [8]), V [KEYS][pitchV],
 *            S [KEYS][8]
 */
export function sageForward(
  q: usize, queries: usize, queryScales: usize, keys: usize, keyScales: usize, v: usize, means: usize,
  output: usize, lse: usize,
  Tq: i32, Tk: i32, Hq: i32, Hkv: i32, D: i32, Dv: i32, pairs: i32, scale: f32, offset: i32, rowsPerItem: i32,
  workspace: usize, begin: i32, end: i32,
): void {
  const group = Hq / Hkv, rows = Tq * group, blocks = (rows + rowsPerItem - 1) / rowsPerItem;
  const pitchV = (Dv + 7) & ~7, pitch = <usize>pitchV << 2, size = tileBytes(pairs, pitchV);
  const V = workspace + <usize>(rowsPerItem >> 3) * size;
  const S = V + <usize>KEYS * pitch;
  const row = <usize>pairs << 2, rowDv = <usize>Dv << 2, rowV = <usize>Hkv * rowDv;

  for (let item = begin; item < end; item++) {
    const bh = item / blocks, b = bh / Hkv, kv = bh % Hkv;
    const firstRow = item % blocks * rowsPerItem, rowCount = min(rowsPerItem, rows - firstRow);
    const endTile = workspace + <usize>((rowCount + 7) >> 3) * size;
    for (let tile = workspace, r = firstRow; tile < endTile; tile += size) {
      resetTile(tile, pairs, pitchV);
      for (let lane: usize = 0; lane < 32; lane += 4, r++) {
        // lanes past the last row repeat it and are not stored
        const own = min(r, rows - 1), at = (b * Hq + kv * group + own % group) * Tq + own / group;
        store<f32>(rangesOf(tile) + lane, load<f32>(queryScales + (<usize>at << 2)) * (scale * LOG2E));
        store<i32>(rangesOf(tile) + lane, min(Tk, offset + own / group + 1), 32);
        const from = queries + <usize>at * row, to = queriesOf(tile) + lane;
        for (let d: usize = 0; d < <usize>pairs; d++) store<i32>(to + (d << 5), load<i32>(from + (d << 2)));
      }
    }
    const itemHi = min(Tk, offset + (firstRow + rowCount - 1) / group + 1);

    for (let first = 0; first < itemHi; first += KEYS) {
      const count = min(KEYS, itemHi - first), at = <usize>(bh * Tk + first);
      const irregular = packRows(v + <usize>((b * Tk + first) * Hkv + kv) * rowDv, rowV, V, count, Dv, pitchV);
      for (let tile = workspace; tile < endTile; tile += size) {
        const ends = rangesOf(tile) + 32;
        // rows ascend in time, so the last lane sees most and the first one least
        const n = min(count, load<i32>(ends, 28) - first), partial = first + n > load<i32>(ends);
        if (n <= 0) continue;
        for (let j = 0; j < n; j += 4) {
          const key = at + <usize>j;
          integerTile(
            keys + key * row, row, keyScales + (key << 2), queriesOf(tile), rangesOf(tile), pairs, S + (<usize>j << 5),
          );
        }
        if (partial) hideLater(S, n, first, ends);
        softmaxTile(tile, S, n, pairs, pitchV);
        if (irregular && partial) accumulateVisible(tile, S, n, V, pitch, pairs, pitchV);
        else accumulateTile(tile, S, n, V, pitch, pairs, pitchV);
      }
    }

    for (let tile = workspace, r = firstRow; tile < endTile; tile += size) {
      for (let lane = 0; lane < 8 && r < rows; lane++, r++) {
        const to = <usize>((b * Tq + r / group) * Hq + kv * group + r % group), sum = lse + (to << 2);
        finishRow(tile, lane, pairs, Dv, pitchV, 0, output + to * rowDv, sum);
        if (!means) continue;
        const mean = means + (<usize>(bh * D) << 2), query = q + to * (<usize>D << 2);
        let shift: f32 = 0;
        for (let p: usize = 0; p < <usize>D << 2; p += 4) shift += load<f32>(query + p) * load<f32>(mean + p);
        store<f32>(sum, load<f32>(sum) + scale * shift);
      }
    }
  }
}

/** Sets S [keys][8] to -Infinity from the end of each lane on. */
function hideLater(S: usize, keys: i32, first: i32, ends: usize): void {
  const e0 = v128.load(ends), e1 = v128.load(ends, 16), hidden = f32x4.splat(-Infinity);
  for (let j = 0; j < keys; j++) {
    const key = i32x4.splat(first + j), p = S + (<usize>j << 5);
    v128.store(p, v128.bitselect(v128.load(p), hidden, i32x4.lt_s(key, e0)));
    v128.store(p, v128.bitselect(v128.load(p, 16), hidden, i32x4.lt_s(key, e1)), 16);
  }
}
