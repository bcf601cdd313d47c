import type { KernelCall } from '../op/define';
import { heapOffsets, longestOf } from './workspace';

/** Steps of an item where the heads are too few to keep all threads busy. Measured with 256 to 1024: ... */
const SPAN = 256;
/** Items that begin a sequence for every thread, so that one of them hardly ever waits for the item before its own. */
const LANES_PER_THREAD = 2;
/** From how many of them on threads are even without cutting sequences. */
const MANY_LANES_PER_THREAD = 8;

interface Recurrence {
  /** Bounds of the sequences, in tokens of so many steps. */
  offsets: readonly number[];
  steps?: number;
  heads: number;
  /** Bytes of the state of a head. */
  bytes: number;
  /** Most bytes of the states of heads that take turns. */
  most: number;
}

/** How a recurrence is cut into work items that take up to `together` heads of a sequence. */
export interface Turns {
  together: number;
  /** Work items, of which each but the first `after` goes on where the one `after` before it stops. */
  work: { items: number; after: number };
  /** Where the kernels find it, as `Turns` of theirs. */
  pointer: number;
}

/**
 * Cuts a recurrence into work items for the threads of a call. An item takes neighbouring heads, which take turns at a chunk,
 * so that memory is read in the order it lies in. Where heads are few, sequences are cut as well, so that no thread waits for
 * a slower one.
 */
export function takeTurns(
  { scratch, buffer, threads }: Pick<KernelCall<string, never, never>, 'scratch' | 'buffer' | 'threads'>,
  { offsets, steps = 1, heads, bytes, most }: Recurrence,
): Turns {
  const sequences = offsets.length - 1;
  const lanesWanted = threads === 1 ? 1 : threads * LANES_PER_THREAD;
  const groups = Math.max(Math.ceil((heads * bytes) / most), Math.ceil(lanesWanted / sequences));
  const together = Math.ceil(heads / Math.min(heads, groups));
  const lanes = sequences * Math.ceil(heads / together);
  const longest = longestOf(offsets) * steps;
  const cut = threads > 1 && lanes < threads * MANY_LANES_PER_THREAD && longest > SPAN;
  const span = cut ? SPAN : longest;
  const carried = cut ? scratch(sequences * heads * bytes) : 0;
  const pointer = scratch(32);
  const fields = [
    heapOffsets({ scratch, buffer }, offsets),
    steps,
    heads,
    together,
    lanes,
    span,
    carried,
    bytes,
  ];
  new Uint32Array(buffer(), pointer, fields.length).set(fields);
  return { together, work: { items: lanes * Math.ceil(longest / span), after: lanes }, pointer };
}
