import type { Tensor } from '@tensorflow/tfjs-core';
import { blockAttention } from './blockAttention';
import { type BlockTable, FULL, TableBuilder } from './blockTable';

/** Softmax attention over the keys of a table, without its lse. */
export function attendOver(q: Tensor, k: Tensor, v: Tensor, table: BlockTable, scale: number): Tensor {
  const [output, lse] = blockAttention.run({ q, k, v }, { table, scale, softcap: 0 });
  lse.dispose();
  return output;
}

/** A table of the keys each query of each head sees, one by one and ascending. */
export function tokenTable(
  sizes: { B: number; H: number; Tq: number; Tkv: number },
  tokensOf: (b: number, h: number, i: number) => Iterable<number>,
): BlockTable {
  const { B, H, Tq } = sizes;
  const builder = new TableBuilder({ ...sizes, blockQ: 1, blockKv: 1 });
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      for (let i = 0; i < Tq; i++) {
        for (const token of tokensOf(b, h, i)) builder.add(token, token + 1, FULL);
        builder.endRow();
      }
    }
  }
  return builder.table();
}

/** @throws RangeError unless every count is a positive integer */
export function checkPositive(op: string, counts: Record<string, number>): void {
  for (const [name, count] of Object.entries(counts)) {
    if (!Number.isInteger(count) || count < 1)
      throw new RangeError(`${op}: ${name} must be a positive integer; got ${count}`);
  }
}
