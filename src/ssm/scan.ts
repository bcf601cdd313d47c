import type { Shape } from '../op/define';

export interface ScanAttrs {
  reverse: boolean;
  finalState: boolean;
}

/**
 * Channels of a work item. Measured with 1024 channels at T 16384: whole rows take a quarter of the time of blocks of 64,
 * whose rows lie a page apart.
 */
const WIDTH = 4096;

/** How a scan over rows `[B, T, D]` is split, `a` being `[B, T, D]` or `[D]`. */
export function scanSizes(a: Shape, [B, T, D]: Shape, { reverse }: ScanAttrs) {
  const width = Math.min(WIDTH, D);
  return {
    B,
    D,
    shared: a.length === 1,
    items: D === 0 ? 0 : B * Math.ceil(D / width),
    rowBytes: 4 * ((width + 3) & ~3),
    sizes: [T, D, width, a.length === 1 ? 1 : 0, reverse ? 1 : 0] as const,
  };
}

/** Blocks of columns of `sumRows`. */
export function columnBlocks(D: number): number {
  return Math.ceil(D / 64);
}
