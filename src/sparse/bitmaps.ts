/** Visible pairs of partial blocks, one bit per (query, key) in rows of whole words; equal bitmaps are stored once. */
export class Bitmaps {
  readonly wordsPerRow: number;
  /** Words of one bitmap. */
  readonly size: number;
  private words: Uint32Array;
  private readonly byHash = new Map<number, number[]>();
  count = 0;

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
