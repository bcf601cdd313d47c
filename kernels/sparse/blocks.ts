// A table of key runs: `offsets` says for each (mask batch, mask head, query block) which `runs` are its own, triples of
// first key, end and bitmap. Bitmap -1 is a run that all queries of the block see. A bitmap holds, for each strip of
// eight queries, the first and end of the keys any of them sees, then for each key one byte per strip, query q in bit
// q mod 8. Bitmaps may be read up to four bytes past their end.

@unmanaged
export class Blocks {
  offsets: usize;
  runs: usize;
  bitmaps: usize;
  bitmapBytes: i32;
  B: i32; H: i32;
  blockQ: i32;
}

/** The runs of a query block start at this row of `offsets`. */
// @ts-ignore: decorator
@inline
export function rowOf(blocks: Blocks, b: i32, h: i32, Hq: i32, block: i32, queryBlocks: i32): i32 {
  const batch = blocks.B == 1 ? 0 : b, head = h / (Hq / blocks.H);
  return (batch * blocks.H + head) * queryBlocks + block;
}

// @ts-ignore: decorator
@inline
export function strips(blocks: Blocks): i32 {
  return (blocks.blockQ + 7) >> 3;
}

/**
 * Which bit of a bitmap belongs to each lane of a tile, into `lanes` [8]: row r is query r / share of the block, and the
 * bits start at the strip of the first row.
 */
export function laneBits(lanes: usize, firstRow: i32, share: i32, blockQ: i32): void {
  const firstQuery = (firstRow / share) & ~7;
  for (let lane = 0; lane < 8; lane++) {
    const q = min((firstRow + lane) / share, blockQ - 1);
    store<i32>(lanes + (<usize>lane << 2), 1 << (q - firstQuery));
  }
}

/** First key that one of the rows [firstRow, endRow) of a query block sees, rounded down to a multiple of 4. */
// @ts-ignore: decorator
@inline
export function firstVisible(bitmap: usize, firstRow: i32, endRow: i32, share: i32): i32 {
  let lo = i32.MAX_VALUE;
  for (let strip = (firstRow / share) >> 3; strip <= ((endRow - 1) / share) >> 3; strip++) {
    lo = min(lo, load<i32>(bitmap + (<usize>strip << 3)));
  }
  return lo & ~3;
}

/** End of the keys that one of the rows [firstRow, endRow) sees. */
// @ts-ignore: decorator
@inline
export function endVisible(bitmap: usize, firstRow: i32, endRow: i32, share: i32): i32 {
  let hi = 0;
  for (let strip = (firstRow / share) >> 3; strip <= ((endRow - 1) / share) >> 3; strip++) {
    hi = max(hi, load<i32>(bitmap + (<usize>strip << 3), 4));
  }
  return hi;
}

/** The byte of a key and of the strip of a row. */
// @ts-ignore: decorator
@inline
export function bitsOf(bitmap: usize, key: i32, row: i32, share: i32, strips: i32): usize {
  return bitmap + <usize>((strips << 3) + key * strips + ((row / share) >> 3));
}

/** Sets S [keys][8] to -Infinity where the bit of a lane is not set. */
// @ts-ignore: decorator
@inline
export function hide(S: usize, keys: i32, bits: usize, strips: i32, lanes: usize): void {
  const lanes0 = v128.load(lanes), lanes1 = v128.load(lanes, 16);
  const hidden = f32x4.splat(-Infinity), zero = i32x4.splat(0);
  for (let j = 0; j < keys; j++) {
    const word = v128.load32_splat(bits + <usize>(j * strips)), p = S + (<usize>j << 5);
    v128.store(p, v128.bitselect(hidden, v128.load(p), i32x4.eq(v128.and(word, lanes0), zero)));
    v128.store(p, v128.bitselect(hidden, v128.load(p, 16), i32x4.eq(v128.and(word, lanes1), zero)), 16);
  }
}
