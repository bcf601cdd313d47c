import { type Tensor, tensor } from '@tensorflow/tfjs-core';
import { countBits } from './bitmaps';
import { type BlockTable, FULL, keyBlocks, queryBlocks } from './blockTable';
import { drawSvg, drawText, type SvgOptions } from './drawMask';

/**
 * Which keys each query sees, cut into blocks: full ones that need no mask, partial ones with a bitmap, empty ones that
 * cost nothing. Made by `createBlockMask`, `blockMaskFromIndices`, `blockMaskFromDense` and the constructors in `masks`.
 *
 * A mask of one batch entry or one head holds for all of them; with more heads than one their number must divide the
 * query heads it is used with.
 */
export class BlockMask {
  /** Batch entries and heads that have a mask of their own; 1 for a mask shared by all. */
  readonly B: number;
  readonly H: number;
  readonly Tq: number;
  readonly Tkv: number;
  /** Queries and keys of a block. */
  readonly blockSize: readonly [queries: number, keys: number];
  /** Blocks of each kind, over all B and H. */
  readonly blocks: Readonly<{ full: number; partial: number; empty: number }>;
  /** Share of (query, key) pairs that lie in full or partial blocks: what is computed, of what dense attention computes. */
  readonly density: number;
  /** Share of pairs that are visible. */
  readonly visible: number;
  /** Operations of the products q k and p v in kept blocks, per batch entry, query head and channel: times D for a head. */
  readonly flops: number;

  /** @internal */
  constructor(
    /** @internal */
    readonly table: BlockTable,
    /** Position of query 0 among the keys. */
    readonly queryOffset: number,
  ) {
    const { B, H, Tq, Tkv, blockQ, blockKv, offsets, runs, bitmaps } = table;
    this.B = B;
    this.H = H;
    this.Tq = Tq;
    this.Tkv = Tkv;
    this.blockSize = [blockQ, blockKv];
    const bits = Array.from({ length: bitmaps.count }, (_, id) => countBits(bitmaps.at(id)));
    let [full, partial, kept, seen] = [0, 0, 0, 0];
    const rows = queryBlocks(table);
    for (let row = 0; row + 1 < offsets.length; row++) {
      const queries = Math.min(blockQ, Tq - (row % rows) * blockQ);
      for (let i = offsets[row]; i < offsets[row + 1]; i++) {
        const keys = runs[3 * i + 1] - runs[3 * i];
        const code = runs[3 * i + 2];
        kept += queries * keys;
        seen += code === FULL ? queries * keys : bits[code];
        if (code === FULL) full += Math.ceil(keys / blockKv);
        else partial++;
      }
    }
    const pairs = B * H * Tq * Tkv;
    this.blocks = { full, partial, empty: B * H * rows * keyBlocks(table) - full - partial };
    this.density = pairs === 0 ? 0 : kept / pairs;
    this.visible = pairs === 0 ? 0 : seen / pairs;
    this.flops = B * H === 0 ? 0 : (4 * kept) / (B * H);
  }

  /** Whether query q of head h sees key kv. */
  isVisible(b: number, h: number, q: number, kv: number): boolean {
    const { offsets, runs, bitmaps, blockQ } = this.table;
    const head = (this.B === 1 ? 0 : b) * this.H + (this.H === 1 ? 0 : h);
    const row = head * queryBlocks(this.table) + Math.floor(q / blockQ);
    let [lo, hi] = [offsets[row], offsets[row + 1]];
    while (lo < hi) {
      const middle = (lo + hi) >>> 1;
      if (runs[3 * middle + 1] <= kv) lo = middle + 1;
      else hi = middle;
    }
    if (lo === offsets[row + 1] || runs[3 * lo] > kv) return false;
    const code = runs[3 * lo + 2];
    return code === FULL || bitmaps.has(code, q % blockQ, kv - runs[3 * lo]);
  }

  /** The mask as a bool tensor `[B, H, Tq, Tkv]`, true where a key is visible. */
  toDense(): Tensor {
    const { B, H, Tq, Tkv } = this;
    const values = new Uint8Array(B * H * Tq * Tkv);
    for (let b = 0, at = 0; b < B; b++) {
      for (let h = 0; h < H; h++) {
        for (let q = 0; q < Tq; q++) {
          for (let kv = 0; kv < Tkv; kv++) values[at++] = this.isVisible(b, h, q, kv) ? 1 : 0;
        }
      }
    }
    return tensor(values, [B, H, Tq, Tkv], 'bool');
  }

  /** Draws one head's blocks for a terminal, at most `columns` of them side by side. */
  toString({ b = 0, h = 0, columns = 64 }: { b?: number; h?: number; columns?: number } = {}): string {
    return drawText(this, b, h, columns);
  }

  /** Draws one head's mask as an SVG image: full blocks dark, partial ones light with their visible pairs. */
  toSvg(options: SvgOptions = {}): string {
    return drawSvg(this, options);
  }
}
