import type { KernelCall } from '../op/define';
import type { Work } from '../runtime/work';
import { heapOffsets } from './workspace';

/** Steps after which a run of heads may stop for another thread, a multiple of a chunk's: 0.2 ms of four heads of 64 x 64. */
const SPAN = 64;
/** From how many items of a thread on the threads are kept busy without parting sequences. */
const MANY = 8;

interface Recurrence {
  /** Bounds of the sequences, in tokens of so many `steps`; default 1. */
  offsets: readonly number[];
  steps?: number;
  heads: number;
  /** Bytes of the state of a head, and at most of the heads that take turns. */
  bytes: number;
  most: number;
}

export interface Turns {
  /** Heads that take turns at most. */
  together: number;
  work: Work;
  /** Where the kernels find how the work is cut. */
  pointer: number;
}

function isParted(threads: number, sequences: number, heads: number, together: number): boolean {
  return threads > 1 && heads > 1 && sequences * Math.ceil(heads / together) < threads * MANY;
}

/** Heads of sequences as work items of a kernel that does not stop early and takes up to `together` neighbours at a time. */
export function shareHeads(threads: number, sequences: number, heads: number, together: number): Work {
  const items = sequences * heads;
  return isParted(threads, sequences, heads, together) ? { items, heads, together } : items;
}

/**
 * Cuts a recurrence into work items for the threads of a call. Heads that lie next to each other take turns at a chunk, so
 * that memory is read in order: on two threads, four of eight heads at a time take up to 5% less than three. Where heads are
 * few, each thread has its share of them, and one that is done takes half the heads of another from where that has come to.
 */
export function takeTurns(
  { scratch, buffer, threads }: Pick<KernelCall<string, never, never>, 'scratch' | 'buffer' | 'threads'>,
  { offsets, steps = 1, heads, bytes, most }: Recurrence,
): Turns {
  const sequences = offsets.length - 1;
  const together = Math.ceil(heads / Math.min(heads, Math.ceil((heads * bytes) / most)));
  const parted = isParted(threads, sequences, heads, together);
  const unit = parted ? 1 : together;
  const items = sequences * Math.ceil(heads / unit);
  const carried = parted ? scratch(sequences * heads * bytes) : 0;
  const bounds = heapOffsets({ scratch, buffer }, offsets);
  const fields = [bounds, steps, heads, unit, together, items, SPAN, carried, bytes];
  const waiting = 4 * fields.length;
  const pointer = scratch(waiting + 4);
  new Uint32Array(buffer(), pointer, fields.length + 1).set([...fields, 0]);
  const work = parted ? { items, heads, together, waiting: pointer + waiting } : items;
  return { together, work, pointer };
}
