import type { Tensor } from '@tensorflow/tfjs-core';
import { blockAttention } from './blockAttention';
import { type BlockTable, FULL, TableBuilder } from './blockTable';

/** Softmax attention over the keys of a table, without its lse. */
export function attendOver(q: Tensor, k: Tensor, v: Tensor, table: BlockTable, scale: number): Tensor {
  const [output, lse] = blockAttention.run({ q, k, v }, { table, scale, softcap: 0 });
  lse.dispose();
  return output;
}

/** Sorts `items` by the number below `count` that each has in `by`, equal ones in the order they come. */
function sortBy(by: Int32Array, count: number, items: Int32Array): Int32Array {
  const place = new Int32Array(count + 1);
  for (const item of items) place[by[item] + 1]++;
  for (let n = 0; n < count; n++) place[n + 1] += place[n];
  const sorted = new Int32Array(items.length);
  for (const item of items) sorted[place[by[item]]++] = item;
  return sorted;
}

/** A table of the pairs that each head sees, reported in any order and more than once if they like. */
export function pairTable(
  sizes: { B: number; H: number; Tq: number; Tkv: number },
  pairsOf: (b: number, h: number, see: (i: number, j: number) => void) => void,
): BlockTable {
  const { B, H, Tq, Tkv } = sizes;
  const builder = new TableBuilder({ ...sizes, blockQ: 1, blockKv: 1 });
  let [queries, keys] = [new Int32Array(1024), new Int32Array(1024)];
  let end = 0;
  const see = (i: number, j: number) => {
    if (end === queries.length) {
      const grown = [queries, keys].map((list) => {
        const copy = new Int32Array(2 * end);
        copy.set(list);
        return copy;
      });
      [queries, keys] = grown;
    }
    queries[end] = i;
    keys[end++] = j;
  };
  for (let bh = 0; bh < B * H; bh++) {
    end = 0;
    pairsOf(Math.floor(bh / H), bh % H, see);
    const byKey = sortBy(
      keys,
      Tkv,
      Int32Array.from({ length: end }, (_, n) => n),
    );
    const pairs = sortBy(queries, Tq, byKey);
    for (let i = 0, at = 0; i < Tq; i++) {
      for (let last = -1; at < end && queries[pairs[at]] === i; at++) {
        const j = keys[pairs[at]];
        if (j > last) builder.add(j, j + 1, FULL);
        last = j;
      }
      builder.endRow();
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
