import type { KernelCall } from '../op/define';
import type { Work } from '../runtime/launch';
import { heapOffsets, longestOf } from './workspace';

/**
 * Steps of an item where heads are too few to keep all threads busy, a multiple of a chunk's. On two threads 128 to 1024 take
 * the same time within 2%; more are uneven at T 2048.
 */
const SPAN = 256;
/** From how many first items of a thread on the threads are kept busy without cutting sequences. */
const MANY = 8;

interface Recurrence {
  /** Bounds of the sequences, in tokens of so many `steps`; default 1. */
  offsets: readonly number[];
  steps?: number;
  heads: number;
  /** Bytes of the state of a head, and at most of the heads of an item. */
  bytes: number;
  most: number;
}

export interface Turns {
  /** Heads of an item. */
  together: number;
  work: Work;
  /** Where the kernels find how the work is cut. */
  pointer: number;
}

/**
 * Cuts a recurrence into work items for the threads of a call. An item takes heads that lie next to each other, which take
 * turns at a chunk, so that memory is read in order: four of eight heads at a time are 3% faster than two. Where heads are few,
 * sequences are cut as well, and a thread that is faster takes more of the pieces.
 */
export function takeTurns(
  { scratch, buffer, threads }: Pick<KernelCall<string, never, never>, 'scratch' | 'buffer' | 'threads'>,
  { offsets, steps = 1, heads, bytes, most }: Recurrence,
): Turns {
  const sequences = offsets.length - 1;
  // one more than threads: the item before an item's own is then done, unless a thread is half as fast as another
  const lanesWanted = threads === 1 ? 1 : threads + 1;
  const groups = Math.max(Math.ceil((heads * bytes) / most), Math.ceil(lanesWanted / sequences));
  const together = Math.ceil(heads / Math.min(heads, groups));
  const lanes = sequences * Math.ceil(heads / together);
  const longest = longestOf(offsets) * steps;
  const cut = threads > 1 && lanes < threads * MANY && longest > SPAN;
  const span = cut ? SPAN : longest;
  const carried = cut ? scratch(sequences * heads * bytes) : 0;
  const bounds = heapOffsets({ scratch, buffer }, offsets);
  const fields = [bounds, steps, heads, together, lanes, span, carried, bytes];
  const pointer = scratch(4 * fields.length);
  new Uint32Array(buffer(), pointer, fields.length).set(fields);
  return { together, work: { items: lanes * Math.ceil(longest / span), after: lanes }, pointer };
}
