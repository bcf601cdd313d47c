import { KEYS, LOG2E, layRows, packRows } from '../attention/score';
import {
  accumulateTile, accumulateVisible, finishRow, outputsOf, queriesOf, rangesOf, resetTile, scoreTile, softmaxTile,
  tileBytes,
} from '../attention/tile';
import { Blocks, rowOf } from './blocks';

/**
 * Attention over the full runs of a table whose query blocks are single queries. Each block of KEYS keys is packed once
 * and meets, eight to a tile, the rows that see some of it, wherever they stand; what a row has summed so far waits in
 * the workspace in between. `share` query heads with one list and one key head are a set; a work item is (batch, set,
 * `queriesPerItem` queries) and numbers its rows query * share + head.
 *
 * workspace, with n rows and e entries: scaled Q [n][pitchD], O [n][pitchV], max and sum [n], ends of the entries of each
 *            key block [blocks + 1], entries [e] of a query and a bit for each key it sees, a tile, K [KEYS][D], V [KEYS][pitchV], S [KEYS + 1][8],
 *            rows of the lanes [8]
 */
export function scatterForward(
  q: usize, k: usize, v: usize, output: usize, lse: usize, table: usize,
  Tq: i32, Tkv: i32, Hq: i32, Hkv: i32, D: i32, Dv: i32, scale: f32, share: i32, queriesPerItem: i32, entries: i32,
  workspace: usize, begin: i32, end: i32,
): void {
  const blocks = changetype<Blocks>(table);
  const sets = Hq / share, chunks = (Tq + queriesPerItem - 1) / queriesPerItem;
  const keyBlocks = (Tkv + KEYS - 1) / KEYS;
  const pitchD = (D + 3) & ~3, pitchV = (Dv + 7) & ~7, n = queriesPerItem * share;
  const rowD = <usize>D << 2, rowDv = <usize>Dv << 2, rowK = <usize>Hkv * rowD, rowV = <usize>Hkv * rowDv;
  const rowQ = <usize>pitchD << 2, rowO = <usize>pitchV << 2;
  const Q = workspace;
  const O = Q + <usize>n * rowQ;
  const M = O + <usize>n * rowO;
  const L = M + (<usize>n << 2);
  const ENDS = L + (<usize>n << 2);
  const ENTRIES = ENDS + (<usize>(keyBlocks + 1) << 2);
  const tile = ENTRIES + <usize>entries * 12;
  const K = tile + tileBytes(D, pitchV);
  const V = K + <usize>KEYS * rowD;
  const S = V + <usize>KEYS * rowO;
  const ROWS = S + (<usize>(KEYS + 1) << 5);
  const seen = rangesOf(tile);

  for (let item = begin; item < end; item++) {
    const firstQuery = item % chunks * queriesPerItem, queries = min(queriesPerItem, Tq - firstQuery);
    const set = item / chunks % sets, b = item / (chunks * sets);
    const kv = set * share / (Hq / Hkv);
    const offsets = blocks.offsets + (<usize>rowOf(blocks, b, set * share, Hq, firstQuery, Tq) << 2);
    const rows = queries * share;
    for (let r = 0; r < rows; r++) {
      const at = <usize>r, head = set * share + r % share;
      const from = q + <usize>((b * Tq + firstQuery + r / share) * Hq + head) * rowD, to = Q + at * rowQ;
      for (let d = 0; d < pitchD; d++) {
        const p = <usize>d << 2;
        store<f32>(to + p, d < D ? load<f32>(from + p) * (scale * LOG2E) : 0);
      }
      store<f32>(M + (at << 2), -Infinity);
    }
    memory.fill(O, 0, <usize>rows * rowO);
    memory.fill(L, 0, <usize>rows << 2);
    listEntries(offsets, blocks.runs, queries, keyBlocks, ENDS, ENTRIES);

    let entry = 0;
    for (let block = 0; block < keyBlocks; block++) {
      const last = load<i32>(ENDS + (<usize>block << 2)), count = (last - entry) * share;
      if (count == 0) continue;
      const first = block * KEYS, keys = min(KEYS, Tkv - first), keys4 = (keys + 3) & ~3;
      const source = <usize>(b * Tkv + first), all = bits(0, keys);
      layRows(k + source * rowK + <usize>kv * rowD, rowK, K, keys, D, D);
      memory.fill(K + <usize>keys * rowD, 0, <usize>(keys4 - keys) * rowD);
      const irregular = packRows(v + source * rowV + <usize>kv * rowDv, rowV, V, keys, Dv, pitchV);

      for (let r = 0; r < count; r += 8) {
        let partial = false;
        for (let lane = 0; lane < 8; lane++) {
          const at = <usize>lane << 2;
          // lanes past the last row repeat it and are not stored
          const index = min(r + lane, count - 1);
          const e = ENTRIES + <usize>(entry + index / share) * 12;
          const row = load<i32>(e) * share + index % share;
          store<i32>(ROWS + at, row);
          store<i32>(seen + at, load<i32>(e, 4));
          store<i32>(seen + at, load<i32>(e, 8), 32);
          if (load<i64>(e, 4) != all) partial = true;
          store<f32>(tile + at, load<f32>(M + (<usize>row << 2)));
          store<f32>(tile + at, load<f32>(L + (<usize>row << 2)), 32);
        }
        packColumns(Q, rowQ, ROWS, queriesOf(tile), pitchD);
        packColumns(Q, rowQ, ROWS + 16, queriesOf(tile) + 16, pitchD);
        const tileO = outputsOf(tile, D);
        for (let lane: usize = 0; lane < 8; lane++) {
          copyRow(tileO + lane * rowO, O + <usize>load<i32>(ROWS + (lane << 2)) * rowO, rowO);
        }
        scoreTile(tile, K, rowD, keys4, D, S);
        if (partial) hideKeys(S, keys, seen);
        softmaxTile(tile, S, keys, D, pitchV);
        if (irregular && partial) accumulateVisible(tile, S, keys, V, rowO, D, pitchV);
        else accumulateTile(tile, S, keys, V, rowO, D, pitchV);
        for (let lane: usize = 0; lane < <usize>min(8, count - r); lane++) {
          const row = <usize>load<i32>(ROWS + (lane << 2));
          copyRow(O + row * rowO, tileO + lane * rowO, rowO);
          store<f32>(M + (row << 2), load<f32>(tile + (lane << 2)));
          store<f32>(L + (row << 2), load<f32>(tile + (lane << 2), 32));
        }
      }
      entry = last;
    }

    for (let r = 0; r < rows; r++) {
      const at = <usize>r;
      const to = <usize>((b * Tq + firstQuery + r / share) * Hq + set * share + r % share);
      store<f32>(tile, load<f32>(M + (at << 2)));
      store<f32>(tile, load<f32>(L + (at << 2)), 32);
      memory.copy(outputsOf(tile, D), O + at * rowO, rowO);
      finishRow(tile, 0, D, Dv, pitchV, 0, output + to * rowDv, lse + (to << 2));
    }
  }
}

/** A multiple of 32 bytes; for a row this short memory.copy costs a call. */
// @ts-ignore: decorator
@inline
function copyRow(to: usize, from: usize, bytes: usize): void {
  for (let p: usize = 0; p < bytes; p += 32) {
    v128.store(to + p, v128.load(from + p));
    v128.store(to + p, v128.load(from + p, 16), 16);
  }
}

/** Bits [lo, hi) of 64. */
// @ts-ignore: decorator
@inline
function bits(lo: i32, hi: i32): i64 {
  return (<i64>-1 >>> <i64>(64 - (hi - lo))) << <i64>lo;
}

/** What `queries` queries see of each block of keys: block by block, in each by query, an entry for both. */
function listEntries(offsets: usize, runs: usize, queries: i32, keyBlocks: i32, ends: usize, entries: usize): void {
  memory.fill(ends, 0, <usize>(keyBlocks + 1) << 2);
  for (let i = 0; i < queries; i++) {
    const row = offsets + (<usize>i << 2);
    let next = 0;
    for (let run = load<i32>(row); run < load<i32>(row, 4); run++) {
      const at = runs + <usize>run * 12, hi = load<i32>(at, 4);
      for (let block = max(next, load<i32>(at) / KEYS); block * KEYS < hi; block++) {
        const p = ends + (<usize>(block + 1) << 2);
        store<i32>(p, load<i32>(p) + 1);
        next = block + 1;
      }
    }
  }
  for (let block = 0; block < keyBlocks; block++) {
    const p = ends + (<usize>block << 2);
    store<i32>(p, load<i32>(p) + load<i32>(p, 4), 4);
  }
  for (let i = 0; i < queries; i++) {
    const row = offsets + (<usize>i << 2);
    let next = 0;
    for (let run = load<i32>(row); run < load<i32>(row, 4); run++) {
      const at = runs + <usize>run * 12, lo = load<i32>(at), hi = load<i32>(at, 4);
      for (let block = lo / KEYS; block * KEYS < hi; block++) {
        // the start of a block's entries moves up until it is their end
        const p = ends + (<usize>block << 2), first = block * KEYS;
        if (block >= next) {
          const e = entries + <usize>load<i32>(p) * 12;
          store<i32>(p, load<i32>(p) + 1);
          store<i32>(e, i);
          store<i64>(e, 0, 4);
          next = block + 1;
        }
        const e = entries + <usize>(load<i32>(p) - 1) * 12;
        store<i64>(e, load<i64>(e, 4) | bits(max(lo - first, 0), min(hi - first, KEYS)), 4);
      }
    }
  }
}

/** Sets S [keys][8] to -Infinity where a lane has no bit for the key; `seen` are the low words [8] and the high ones. */
function hideKeys(S: usize, keys: i32, seen: usize): void {
  const hidden = f32x4.splat(-Infinity), zero = i32x4.splat(0);
  for (let j = 0; j < keys; j++) {
    const p = S + (<usize>j << 5), words = seen + (<usize>(j >> 5) << 5), bit = i32x4.splat(1 << (j & 31));
    v128.store(p, v128.bitselect(hidden, v128.load(p), i32x4.eq(v128.and(v128.load(words), bit), zero)));
    v128.store(p, v128.bitselect(hidden, v128.load(p, 16), i32x4.eq(v128.and(v128.load(words, 16), bit), zero)), 16);
  }
}

/** Four rows of Q, named in `rows`, to columns: `to` [n][8], of which four lanes are written; n a multiple of 4. */
// @ts-ignore: decorator
@inline
function packColumns(Q: usize, rowQ: usize, rows: usize, to: usize, n: i32): void {
  let p0 = Q + <usize>load<i32>(rows) * rowQ, p1 = Q + <usize>load<i32>(rows, 4) * rowQ;
  let p2 = Q + <usize>load<i32>(rows, 8) * rowQ, p3 = Q + <usize>load<i32>(rows, 12) * rowQ;
  let column = to;
  for (let d = 0; d < n; d += 4) {
    const r0 = v128.load(p0), r1 = v128.load(p1), r2 = v128.load(p2), r3 = v128.load(p3);
    const t0 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5), t1 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
    const t2 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7), t3 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
    v128.store(column, v128.shuffle<f32>(t0, t1, 0, 1, 4, 5));
    v128.store(column, v128.shuffle<f32>(t0, t1, 2, 3, 6, 7), 32);
    v128.store(column, v128.shuffle<f32>(t2, t3, 0, 1, 4, 5), 64);
    v128.store(column, v128.shuffle<f32>(t2, t3, 2, 3, 6, 7), 96);
    p0 += 16; p1 += 16; p2 += 16; p3 += 16;
    column += 128;
  }
}
