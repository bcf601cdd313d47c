import { Bitmaps, countBits, setBits } from './bitmaps';

/** What is visible of a block: all of it, nothing, or the bitmap of that number. */
export const FULL = -1;
export const EMPTY = -2;
export type BlockCode = number;

/** `B` batch entries times `H` heads, `Tq` queries by `Tkv` keys, cut into blocks. */
export interface Geometry {
  B: number;
  H: number;
  Tq: number;
  Tkv: number;
  blockQ: number;
  blockKv: number;
}

/**
 * The keys of every query block, for each (batch entry, head, query block) a row of runs: `offsets[row]` to
 * `offsets[row + 1]` count triples of `runs`, (first key, end, bitmap). A bitmap of -1 means that every query of the
 * block sees all keys of the run; others hold the pairs of one key block. Runs ascend and do not overlap.
 */
export interface BlockTable extends Geometry {
  offsets: Int32Array;
  runs: Int32Array;
  bitmaps: Bitmaps;
}

export const queryBlocks = ({ Tq, blockQ }: Geometry) => Math.ceil(Tq / blockQ);
export const keyBlocks = ({ Tkv, blockKv }: Geometry) => Math.ceil(Tkv / blockKv);

/** A table, row by row. */
export class TableBuilder {
  readonly bitmaps: Bitmaps;
  private readonly offsets: Int32Array;
  private runs = new Int32Array(3 * 1024);
  private row = 0;
  private end = 0;

  constructor(readonly geometry: Geometry) {
    this.bitmaps = new Bitmaps(geometry.blockQ, geometry.blockKv);
    this.offsets = new Int32Array(geometry.B * geometry.H * queryBlocks(geometry) + 1);
  }

  /** Appends keys [lo, hi) to the row; a full run right behind another one continues it. */
  add(lo: number, hi: number, code: BlockCode): void {
    if (code === EMPTY || lo >= hi) return;
    const { runs, end } = this;
    if (code === FULL && end > 3 * this.offsets[this.row] && runs[end - 1] === FULL && runs[end - 2] === lo) {
      runs[end - 2] = hi;
      return;
    }
    if (end === runs.length) {
      this.runs = new Int32Array(2 * end);
      this.runs.set(runs);
    }
    this.runs[end] = lo;
    this.runs[end + 1] = hi;
    this.runs[end + 2] = code;
    this.end += 3;
  }

  addBlock(block: number, code: BlockCode): void {
    const { blockKv, Tkv } = this.geometry;
    this.add(block * blockKv, Math.min((block + 1) * blockKv, Tkv), code);
  }

  endRow(): void {
    this.offsets[++this.row] = this.end / 3;
  }

  /** FULL, EMPTY or the interned bitmap, by the pairs among the first `queries` by `keys` that are set. */
  codeOf(words: Uint32Array, queries: number, keys: number): BlockCode {
    const set = countBits(words);
    if (set === 0) return EMPTY;
    return set === queries * keys ? FULL : this.bitmaps.intern(words);
  }

  table(): BlockTable {
    return {
      ...this.geometry,
      offsets: this.offsets,
      runs: this.runs.slice(0, this.end),
      bitmaps: this.bitmaps,
    };
  }
}

/** Calls `visit` for the rows of a table in order, with the queries of the row's block. */
function eachRow(
  geometry: Geometry,
  visit: (b: number, h: number, firstQuery: number, endQuery: number) => void,
): void {
  const { B, H, Tq, blockQ } = geometry;
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      for (let first = 0; first < Tq; first += blockQ) visit(b, h, first, Math.min(first + blockQ, Tq));
    }
  }
}

/** A table from a predicate on every pair. */
export function tableFromPairs(
  geometry: Geometry,
  isVisible: (b: number, h: number, q: number, kv: number) => boolean,
): BlockTable {
  const { Tkv, blockKv } = geometry;
  const builder = new TableBuilder(geometry);
  const { size, wordsPerRow } = builder.bitmaps;
  const words = new Uint32Array(size);
  eachRow(geometry, (b, h, firstQuery, endQuery) => {
    for (let key = 0; key < Tkv; key += blockKv) {
      const keys = Math.min(blockKv, Tkv - key);
      words.fill(0);
      for (let q = firstQuery; q < endQuery; q++) {
        const row = (q - firstQuery) * wordsPerRow;
        for (let j = 0; j < keys; j++) {
          if (isVisible(b, h, q, key + j)) words[row + (j >>> 5)] |= 1 << (j & 31);
        }
      }
      builder.add(key, key + keys, builder.codeOf(words, endQuery - firstQuery, keys));
    }
    builder.endRow();
  });
  return builder.table();
}

/** Reports keys [lo, hi); bounds beyond the sequence are cut off. */
export type Emit = (lo: number, hi: number) => void;

/** A table from the key intervals of every query, in any order and overlapping if they like. */
export function tableFromIntervals(
  geometry: Geometry,
  intervals: (b: number, h: number, q: number, emit: Emit) => void,
): BlockTable {
  const { Tkv, blockKv } = geometry;
  const builder = new TableBuilder(geometry);
  const { size, wordsPerRow } = builder.bitmaps;
  const blocks = keyBlocks(geometry);
  // differences along the key blocks of how many queries see something, and all, of a block
  const some = new Int32Array(blocks + 1);
  const all = new Int32Array(blocks + 1);
  const nextPartial = new Int32Array(blocks + 1);
  const slot = new Int32Array(blocks);
  let words = new Uint32Array(size);
  const spans = new Spans(Tkv);

  eachRow(geometry, (b, h, firstQuery, endQuery) => {
    spans.clear();
    for (let q = firstQuery; q < endQuery; q++) {
      intervals(b, h, q, spans.emit);
      spans.endRow();
    }
    const { bounds, rowEnds } = spans;
    const endBlock = Math.ceil(spans.end / blockKv);
    const firstBlock = Math.min(Math.floor(spans.first / blockKv), endBlock);
    some.fill(0, firstBlock, endBlock + 1);
    all.fill(0, firstBlock, endBlock + 1);
    for (let row = 0, at = 0; row < rowEnds.length; row++) {
      for (let touched = 0; at < rowEnds[row]; at += 2) {
        const [lo, hi] = [bounds[at], bounds[at + 1]];
        some[Math.max(touched, Math.floor(lo / blockKv))]++;
        touched = Math.ceil(hi / blockKv);
        some[touched]--;
        const [fullFrom, fullTo] = [Math.ceil(lo / blockKv), hi === Tkv ? blocks : Math.floor(hi / blockKv)];
        if (fullFrom >= fullTo) continue;
        all[fullFrom]++;
        all[fullTo]--;
      }
    }
    let partials = 0;
    for (let block = firstBlock, seen = 0, full = 0; block < endBlock; block++) {
      seen += some[block];
      full += all[block];
      slot[block] = seen === 0 ? EMPTY : full === endQuery - firstQuery ? FULL : partials++;
    }
    nextPartial[endBlock] = endBlock;
    for (let block = endBlock - 1; block >= firstBlock; block--) {
      nextPartial[block] = slot[block] >= 0 ? block : nextPartial[block + 1];
    }
    if (words.length < partials * size) words = new Uint32Array(2 * partials * size);
    words.fill(0, 0, partials * size);
    for (let row = 0, at = 0; row < rowEnds.length; row++) {
      for (; at < rowEnds[row]; at += 2) {
        const [lo, hi] = [bounds[at], bounds[at + 1]];
        const end = Math.ceil(hi / blockKv);
        for (let block = nextPartial[Math.floor(lo / blockKv)]; block < end; block = nextPartial[block + 1]) {
          const first = block * blockKv;
          const word = slot[block] * size + row * wordsPerRow;
          setBits(words, word, Math.max(lo - first, 0), Math.min(hi - first, blockKv));
        }
      }
    }
    for (let block = firstBlock; block < endBlock; block++) {
      const at = slot[block];
      builder.addBlock(
        block,
        at >= 0 ? builder.bitmaps.intern(words.subarray(at * size, (at + 1) * size)) : at,
      );
    }
    builder.endRow();
  });
  return builder.table();
}

/** The key intervals of some queries, those of each sorted and without overlaps. */
class Spans {
  /** Pairs of first key and end, row after row. */
  bounds: number[] = [];
  /** Where in `bounds` each row ends. */
  rowEnds: number[] = [];
  /** The first and the end of all intervals. */
  first = 0;
  end = 0;
  private start = 0;
  private sorted = true;

  constructor(private readonly Tkv: number) {}

  clear(): void {
    this.bounds.length = 0;
    this.rowEnds.length = 0;
    this.start = 0;
    this.first = this.Tkv;
    this.end = 0;
  }

  readonly emit: Emit = (from, to) => {
    const [lo, hi] = [Math.max(from, 0), Math.min(to, this.Tkv)];
    if (lo >= hi) return;
    const { bounds } = this;
    this.first = Math.min(this.first, lo);
    this.end = Math.max(this.end, hi);
    const last = bounds.length - 2;
    if (last < this.start || lo > bounds[last + 1]) bounds.push(lo, hi);
    else if (lo >= bounds[last]) bounds[last + 1] = Math.max(bounds[last + 1], hi);
    else {
      bounds.push(lo, hi);
      this.sorted = false;
    }
  };

  endRow(): void {
    if (!this.sorted) {
      this.sorted = true;
      const row = this.bounds.splice(this.start);
      const pairs = Array.from({ length: row.length / 2 }, (_, i) => [row[2 * i], row[2 * i + 1]]);
      for (const [lo, hi] of pairs.sort((a, b) => a[0] - b[0])) this.emit(lo, hi);
    }
    this.start = this.bounds.length;
    this.rowEnds.push(this.start);
  }
}

/** A table in which all queries of a head see the same keys. */
export function tableFromKeys(geometry: Geometry, isVisible: (h: number, kv: number) => boolean): BlockTable {
  const { Tkv, Tq, H, blockQ, blockKv } = geometry;
  const builder = new TableBuilder(geometry);
  const { size, wordsPerRow } = builder.bitmaps;
  const words = new Uint32Array(size);
  const codesFor = (h: number, queries: number): BlockCode[] =>
    Array.from({ length: keyBlocks(geometry) }, (_, block) => {
      const keys = Math.min(blockKv, Tkv - block * blockKv);
      words.fill(0);
      for (let j = 0; j < keys; j++) if (isVisible(h, block * blockKv + j)) words[j >>> 5] |= 1 << (j & 31);
      for (let q = 1; q < queries; q++) words.copyWithin(q * wordsPerRow, 0, wordsPerRow);
      return builder.codeOf(words, queries, keys);
    });
  const whole = Array.from({ length: H }, (_, h) => codesFor(h, Math.min(blockQ, Tq)));
  eachRow(geometry, (_b, h, firstQuery, endQuery) => {
    const queries = endQuery - firstQuery;
    const codes = queries === Math.min(blockQ, Tq) ? whole[h] : codesFor(h, queries);
    codes.forEach((code, block) => {
      builder.addBlock(block, code);
    });
    builder.endRow();
  });
  return builder.table();
}

/** A table from what a pair's difference, position of the query minus key, says. */
export function tableFromDifferences(
  geometry: Geometry,
  queryOffset: number,
  isVisible: (difference: number) => boolean,
): BlockTable {
  const { Tkv, Tq, blockKv } = geometry;
  const builder = new TableBuilder(geometry);
  const { size, wordsPerRow } = builder.bitmaps;
  const words = new Uint32Array(size);
  const lowest = queryOffset - (Tkv - 1);
  const visible = new Uint8Array(Math.max(0, Tq + Tkv - 1));
  const before = new Int32Array(visible.length + 1);
  for (let i = 0; i < visible.length; i++) {
    visible[i] = isVisible(lowest + i) ? 1 : 0;
    before[i + 1] = before[i] + visible[i];
  }
  const known = new Map<string, BlockCode>();
  const codeAt = (least: number, queries: number, keys: number): BlockCode => {
    const differences = queries + keys - 1;
    const seen = before[least + differences] - before[least];
    if (seen === 0) return EMPTY;
    if (seen === differences) return FULL;
    const id = `${least} ${queries} ${keys}`;
    let code = known.get(id);
    if (code === undefined) {
      words.fill(0);
      for (let q = 0; q < queries; q++) {
        for (let j = 0; j < keys; j++) {
          if (visible[least + q + keys - 1 - j]) words[q * wordsPerRow + (j >>> 5)] |= 1 << (j & 31);
        }
      }
      code = builder.codeOf(words, queries, keys);
      known.set(id, code);
    }
    return code;
  };
  eachRow(geometry, (_b, _h, firstQuery, endQuery) => {
    for (let key = 0; key < Tkv; key += blockKv) {
      const keys = Math.min(blockKv, Tkv - key);
      const least = firstQuery + queryOffset - (key + keys - 1) - lowest;
      builder.add(key, key + keys, codeAt(least, endQuery - firstQuery, keys));
    }
    builder.endRow();
  });
  return builder.table();
}

/** The codes of a row of the table, block by block. */
function expandRow(table: BlockTable, row: number, codes: Int32Array): void {
  const { offsets, runs, blockKv } = table;
  codes.fill(EMPTY);
  for (let i = offsets[row]; i < offsets[row + 1]; i++) {
    codes.fill(runs[3 * i + 2], runs[3 * i] / blockKv, Math.ceil(runs[3 * i + 1] / blockKv));
  }
}

/**
 * A table block by block from two of the same blocks, with B and H of their own or 1: `decide` gives the code of a block,
 * or undefined where the bitmaps of one or both decide, word by word.
 */
export function combineTables(
  a: BlockTable,
  b: BlockTable,
  geometry: Geometry,
  decide: (a: BlockCode, b: BlockCode) => BlockCode | undefined,
  combine: (a: number, b: number) => number,
): BlockTable {
  const { B, H, Tq, Tkv, blockQ, blockKv } = geometry;
  const builder = new TableBuilder(geometry);
  const { size, wordsPerRow } = builder.bitmaps;
  const blocks = keyBlocks(geometry);
  const rowsPerHead = queryBlocks(geometry);
  const [codesA, codesB] = [new Int32Array(blocks), new Int32Array(blocks)];
  const words = new Uint32Array(size);
  /** By both codes; blocks at the lower and right edge have codes of their own. */
  const known = Array.from({ length: 4 }, () => new Map<number, BlockCode>());

  const wordOf = (table: BlockTable, code: BlockCode, at: number) =>
    code >= 0 ? table.bitmaps.at(code)[at] : code === FULL ? -1 : 0;

  function codeOf(codeA: BlockCode, codeB: BlockCode, queries: number, keys: number): BlockCode {
    const decided = decide(codeA, codeB);
    if (decided !== undefined) return decided;
    const edge = known[(queries < blockQ ? 2 : 0) + (keys < blockKv ? 1 : 0)];
    const id = (codeA + 2) * 2 ** 26 + codeB + 2;
    let code = edge.get(id);
    if (code === undefined) {
      words.fill(0);
      for (let i = 0; i < queries * wordsPerRow; i++) {
        const bits = keys - 32 * (i % wordsPerRow);
        const inside = bits >= 32 ? -1 : bits <= 0 ? 0 : (1 << bits) - 1;
        words[i] = combine(wordOf(a, codeA, i), wordOf(b, codeB, i)) & inside;
      }
      code = builder.codeOf(words, queries, keys);
      edge.set(id, code);
    }
    return code;
  }

  for (let row = 0; row < B * H * rowsPerHead; row++) {
    const [own, h] = [row % rowsPerHead, Math.floor(row / rowsPerHead) % H];
    const batch = Math.floor(row / (rowsPerHead * H));
    const rowOf = (table: BlockTable) =>
      ((table.B === 1 ? 0 : batch) * table.H + (table.H === 1 ? 0 : h)) * rowsPerHead + own;
    expandRow(a, rowOf(a), codesA);
    expandRow(b, rowOf(b), codesB);
    const queries = Math.min(blockQ, Tq - own * blockQ);
    for (let block = 0; block < blocks; block++) {
      const keys = Math.min(blockKv, Tkv - block * blockKv);
      builder.addBlock(block, codeOf(codesA[block], codesB[block], queries, keys));
    }
    builder.endRow();
  }
  return builder.table();
}
