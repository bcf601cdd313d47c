import { type BlockTable, FULL, TableBuilder } from './blockTable';

/**
 * The key runs of chosen blocks: `chosen` [B, T, H, S] holds ascending blocks and -1 for none, `rangeOf` the keys
 * [lo, hi) that query i sees of a block.
 */
export function chosenTable(
  chosen: Int32Array,
  sizes: { B: number; T: number; H: number; S: number; Tkv: number },
  rangeOf: (block: number, query: number) => readonly [lo: number, hi: number],
): BlockTable {
  const { B, T, H, S, Tkv } = sizes;
  const builder = new TableBuilder({ B, H, Tq: T, Tkv, blockQ: 1, blockKv: 1 });
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      for (let i = 0; i < T; i++) {
        const at = ((b * T + i) * H + h) * S;
        for (let s = at; s < at + S; s++) {
          if (chosen[s] < 0) continue;
          const [lo, hi] = rangeOf(chosen[s], i);
          builder.add(lo, hi, FULL);
        }
        builder.endRow();
      }
    }
  }
  return builder.table();
}
