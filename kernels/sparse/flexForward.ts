import { KEYS, LOG2E, layRows, packRows } from '../attention/score';
import {
  accumulateTile, accumulateVisible, finishRow, packQuery, rangesOf, resetTile, scoreTile, softmaxTile, tileBytes,
} from '../attention/tile';
import { bitsOf, Blocks, endVisible, firstVisible, hide, laneBits, rowOf, strips } from './blocks';
import { modify, ScoreMods } from './scoreMods';

/** Up to so many rows read whole keys where they lie, at multiples of four. */
const FEW: i32 = 32;

/**
 * FlashAttention-2 order over the key runs of a table. `share` query heads with one mask and one key head are a set;
 * the rows of a query block are numbered query * share + head. A work item is (batch, query block, part of up to
 * `rowsPerItem` rows, set), the sets next to each other as in attentionForward. Full runs are packed until a block of keys
 * is full, however short they are.
 *
 * workspace: tiles (with the bits of their lanes where dense attention has key ranges), K [KEYS][D], V [KEYS][pitchV],
 *            S [KEYS + 1][8], pieces of the block of keys: address, pitch and keys, at most KEYS / 4
 */
export function flexForward(
  q: usize, k: usize, v: usize, output: usize, lse: usize, table: usize, scoreMods: usize,
  Tq: i32, Tkv: i32, Hq: i32, Hkv: i32, D: i32, Dv: i32, scale: f32, share: i32, rowsPerItem: i32, workspace: usize,
  begin: i32, end: i32,
): void {
  const blocks = changetype<Blocks>(table), mods = changetype<ScoreMods>(scoreMods);
  const positional = mods.before != 0 || mods.after != 0, modified = positional || mods.softcap > 0;
  const sets = Hq / share, blockQ = blocks.blockQ, queryBlocks = (Tq + blockQ - 1) / blockQ;
  const parts = (blockQ * share + rowsPerItem - 1) / rowsPerItem, stripCount = strips(blocks);
  const pitchV = (Dv + 7) & ~7, size = tileBytes(D, pitchV);
  const K = workspace + <usize>(rowsPerItem >> 3) * size;
  const V = K + (<usize>(KEYS * D) << 2);
  const S = V + (<usize>(KEYS * pitchV) << 2);
  const pieces = S + (<usize>(KEYS + 1) << 5);
  const rowD = <usize>D << 2, rowDv = <usize>Dv << 2, rowK = <usize>Hkv * rowD, rowV = <usize>Hkv * rowDv;
  const pitch = <usize>pitchV << 2;

  for (let item = begin; item < end; item++) {
    const set = item % sets, part = item / sets % parts;
    const block = item / (sets * parts) % queryBlocks, b = item / (sets * parts * queryBlocks);
    const firstHead = set * share, kv = firstHead / (Hq / Hkv);
    const firstQuery = block * blockQ, rows = min(blockQ, Tq - firstQuery) * share;
    const firstRow = part * rowsPerItem, endRow = min(firstRow + rowsPerItem, rows);
    if (firstRow >= endRow) continue;
    const endTile = workspace + <usize>((endRow - firstRow + 7) >> 3) * size;
    for (let tile = workspace, r = firstRow; tile < endTile; tile += size) {
      resetTile(tile, D, pitchV);
      laneBits(rangesOf(tile), r, share, blockQ);
      for (let lane = 0; lane < 8; lane++, r++) {
        const row = <usize>((b * Tq + firstQuery + r / share) * Hq + firstHead + r % share);
        packQuery(tile, lane, r < rows ? q + row * rowD : 0, D, scale * LOG2E);
      }
    }

    const few = endRow - firstRow <= FEW;
    const tableRow = blocks.offsets + (<usize>rowOf(blocks, b, firstHead, Hq, block, queryBlocks) << 2);
    let run = blocks.runs + <usize>load<i32>(tableRow) * 12;
    const endRun = blocks.runs + <usize>load<i32>(tableRow, 4) * 12;
    let first = run < endRun ? load<i32>(run) : 0;
    while (run < endRun) {
      const runStart = load<i32>(run), id = load<i32>(run, 8);
      const bitmap = id < 0 ? 0 : blocks.bitmaps + <usize>id * blocks.bitmapBytes;
      const key = first;
      let keys = 0, irregular = false, endPiece = pieces, packing = false;
      do {
        const take = min(KEYS - keys, load<i32>(run, 4) - first), source = <usize>(b * Tkv + first);
        const keyRows = k + source * rowK + <usize>kv * rowD, inPlace = few && !bitmap && !((keys | take) & 3);
        if (!inPlace) layRows(keyRows, rowK, K + <usize>keys * rowD, take, D, D);
        if (inPlace || !packing) {
          store<usize>(endPiece, inPlace ? keyRows : K + <usize>keys * rowD);
          store<usize>(endPiece, inPlace ? rowK : rowD, 4);
          store<i32>(endPiece, 0, 8);
          endPiece += 12;
        }
        store<i32>(endPiece - 4, load<i32>(endPiece - 4) + take);
        packing = !inPlace;
        const values = v + source * rowV + <usize>kv * rowDv, to = V + <usize>keys * pitch;
        if (bitmap) irregular = packRows(values, rowV, to, take, Dv, pitchV);
        else layRows(values, rowV, to, take, Dv, pitchV);
        keys += take;
        first += take;
        if (first == load<i32>(run, 4)) {
          run += 12;
          if (run < endRun) first = load<i32>(run);
        }
      } while (keys < KEYS && run < endRun && !bitmap && !positional && load<i32>(run, 8) < 0);
      memory.fill(K + <usize>keys * rowD, 0, <usize>(-keys & 3) * rowD);

      for (let tile = workspace, r = firstRow; tile < endTile; tile += size, r += 8) {
        let lo = 0, hi = keys;
        if (bitmap) {
          lo = max(0, firstVisible(bitmap, r, min(r + 8, rows), share) - (key - runStart));
          hi = min(keys, endVisible(bitmap, r, min(r + 8, rows), share) - (key - runStart));
          if (lo >= hi) continue;
        }
        const count = hi - lo, values = V + <usize>lo * pitch;
        if (bitmap) scoreTile(tile, K + <usize>lo * rowD, rowD, (count + 3) & ~3, D, S);
        else {
          for (let piece = pieces, to = S; piece < endPiece; piece += 12) {
            const n = load<i32>(piece, 8);
            scoreTile(tile, load<usize>(piece), load<usize>(piece, 4), (n + 3) & ~3, D, to);
            to += <usize>n << 5;
          }
        }
        if (modified) modify(mods, S, count, firstQuery * share + r, key + lo, Tkv, set, Tq, share);
        if (bitmap) {
          hide(S, count, bitsOf(bitmap, key - runStart + lo, r, share, stripCount), stripCount, rangesOf(tile));
        }
        softmaxTile(tile, S, count, D, pitchV);
        if (irregular && bitmap) accumulateVisible(tile, S, count, values, pitch, D, pitchV);
        else accumulateTile(tile, S, count, values, pitch, D, pitchV);
      }
    }

    for (let tile = workspace, r = firstRow; tile < endTile; tile += size) {
      for (let lane = 0; lane < 8 && r < endRow; lane++, r++) {
        const to = <usize>((b * Tq + firstQuery + r / share) * Hq + firstHead + r % share);
        finishRow(tile, lane, D, Dv, pitchV, 0, output + to * rowDv, lse + (to << 2));
      }
    }
  }
}
