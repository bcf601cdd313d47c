import { Bitmaps } from './bitmaps';
import { type BlockTable, FULL } from './blockTable';

/**
 * The key runs of what queries chose: `chosen` [B, T, H, S] ascends, with -1 for none. It holds tokens, or with `bounds`
 * blocks, block c the keys `bounds[2 c]` to `bounds[2 c + 1]` of which a query sees those up to its own position, that of
 * the first query being `queryOffset`, default 0.
 */
export function chosenTable(
  chosen: Int32Array,
  sizes: { B: number; T: number; H: number; S: number; Tkv: number; queryOffset?: number },
  bounds?: Int32Array,
): BlockTable {
  const { B, T, H, S, Tkv, queryOffset = 0 } = sizes;
  const offsets = new Int32Array(B * H * T + 1);
  const most = Math.min(S, bounds ? bounds.length / 2 : Tkv);
  const runs = new Int32Array(3 * B * H * T * most);
  let end = 0;
  for (let row = 0; row < B * H * T; row++) {
    const i = row % T;
    const bh = (row - i) / T;
    const h = bh % H;
    const at = ((((bh - h) / H) * T + i) * H + h) * S;
    const first = end;
    for (let s = at; s < at + S; s++) {
      const block = chosen[s];
      if (block < 0) continue;
      const lo = bounds ? bounds[2 * block] : block;
      const hi = bounds ? Math.min(bounds[2 * block + 1], queryOffset + i + 1) : block + 1;
      if (lo >= hi) continue;
      if (end > first && runs[end - 2] === lo) {
        runs[end - 2] = hi;
        continue;
      }
      runs[end] = lo;
      runs[end + 1] = hi;
      runs[end + 2] = FULL;
      end += 3;
    }
    offsets[row + 1] = end / 3;
  }
  const geometry = { B, H, Tq: T, Tkv, blockQ: 1, blockKv: 1 };
  return { ...geometry, offsets, runs: runs.slice(0, end), bitmaps: new Bitmaps(1, 1) };
}
