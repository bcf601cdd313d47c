import type { KernelCall } from '../op/define';

/** A size in the kernels' workspace: rows and vectors are padded to multiples of 4. */
export function padded(n: number): number {
  return (n + 3) & ~3;
}

/** The longest of the sequences between `offsets`, at least 1. */
export function longestOf(offsets: readonly number[]): number {
  return offsets.reduce((most, end, i, all) => Math.max(most, end - (all[i - 1] ?? end)), 1);
}

/** The bounds of the sequences on the heap, int32. */
export function heapOffsets(
  { scratch, buffer }: Pick<KernelCall<string, never, never>, 'scratch' | 'buffer'>,
  offsets: readonly number[],
) {
  const pointer = scratch(4 * offsets.length);
  new Int32Array(buffer(), pointer, offsets.length).set(offsets);
  return pointer;
}
