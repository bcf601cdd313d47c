/** Visible pairs of partial blocks, one bit per (query, key) in rows of whole words; equal bitmaps are stored once. */
export class Bitmaps {
  readonly wordsPerRow: number;
  /** Words of one bitmap. */
  readonly size: number;
  private words: Uint32Array;
  private readonly byHash = new Map<number, number[]>();
  count = 0;
  private packedData = { data: new Uint8Array(4), bytes: 0 };
  private packedCount = 0;

  constructor(
    readonly queries: number,
    readonly keys: number,
  ) {
    this.wordsPerRow = Math.ceil(keys / 32);
    this.size = queries * this.wordsPerRow;
    this.words = new Uint32Array(8 * this.size);
  }

  at(id: number): Uint32Array {
    return this.words.subarray(id * this.size, (id + 1) * this.size);
  }

  has(id: number, query: number, key: number): boolean {
    const word = this.words[id * this.size + query * this.wordsPerRow + (key >>> 5)];
    return ((word >>> (key & 31)) & 1) === 1;
  }

  /** The number of the bitmap with these words. */
  intern(words: Uint32Array): number {
    let hash = 0;
    for (let i = 0; i < this.size; i++) hash = (Math.imul(hash, 0x01000193) + words[i]) | 0;
    const candidates = this.byHash.get(hash) ?? [];
    const known = candidates.find((id) => this.equals(id, words));
    if (known !== undefined) return known;
    const id = this.count++;
    if (this.count * this.size > this.words.length) {
      const grown = new Uint32Array(2 * this.words.length);
      grown.set(this.words);
      this.words = grown;
    }
    this.words.set(words, id * this.size);
    this.byHash.set(hash, [...candidates, id]);
    return id;
  }

  /**
   * The bitmaps as the kernels read them: for each strip of eight queries the first and end of the keys any of them sees,
   * two int32, then for each key one byte per strip, query q in bit q mod 8. Padded with four bytes.
   */
  packed(): { data: Uint8Array; bytes: number } {
    if (this.packedCount === this.count) return this.packedData;
    const strips = Math.ceil(this.queries / 8);
    const bytes = Math.ceil((8 * strips + this.keys * strips) / 4) * 4;
    const data = new Uint8Array(this.count * bytes + 4);
    const ranges = new Int32Array(data.buffer);
    for (let id = 0; id < this.count; id++) {
      for (let strip = 0; strip < strips; strip++) ranges[(id * bytes) / 4 + 2 * strip] = this.keys;
      for (let q = 0; q < this.queries; q++) {
        const range = (id * bytes) / 4 + 2 * (q >> 3);
        for (let key = 0; key < this.keys; key++) {
          if (!this.has(id, q, key)) continue;
          ranges[range] = Math.min(ranges[range], key);
          ranges[range + 1] = Math.max(ranges[range + 1], key + 1);
          data[id * bytes + (8 + key) * strips + (q >> 3)] |= 1 << (q & 7);
        }
      }
    }
    this.packedData = { data, bytes };
    this.packedCount = this.count;
    return this.packedData;
  }

  private equals(id: number, words: Uint32Array): boolean {
    const at = id * this.size;
    for (let i = 0; i < this.size; i++) if (this.words[at + i] !== words[i]) return false;
    return true;
  }
}

/** Sets the bits of keys [lo, hi) in a row of words that starts at `row`. */
export function setBits(words: Uint32Array, row: number, lo: number, hi: number): void {
  for (let key = lo; key < hi; key = (key | 31) + 1) {
    const bits = Math.min(hi, (key | 31) + 1) - key;
    words[row + (key >>> 5)] |= (bits === 32 ? -1 : (1 << bits) - 1) << (key & 31);
  }
}

export function countBits(words: Uint32Array): number {
  let count = 0;
  for (let word of words) {
    word -= (word >>> 1) & 0x55555555;
    word = (word & 0x33333333) + ((word >>> 2) & 0x33333333);
    count += Math.imul((word + (word >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
  }
  return count;
}
