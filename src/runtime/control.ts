/** Most arguments that an entry point takes. */
const MOST_ARGUMENTS = 64;
/** Most work items that may be parted; launches with more of them stay on one thread. */
export const MOST_PARTS = 4096;
/** Slots of the control block, int32 each. */
export const SLOT = {
  /** Counts calls; workers sleep until it changes. */
  call: 0,
  /** The first work item that nobody has claimed. */
  next: 1,
  /** Workers that have not finished the call. */
  pending: 2,
  family: 3,
  entry: 4,
  arguments: 5,
  items: 6,
  /** Items claimed at once, or 0 where they are parted. */
  chunk: 7,
  /** Length of the message of the worker that failed. */
  failed: 8,
  /** Of parted items, as `Parted` describes them. */
  heads: 9,
  together: 10,
  waiting: 11,
  /** Parted items that are not done. */
  left: 12,
  /** Counts what happens to parted items: some are free, or done. */
  news: 13,
  threads: 14,
} as const;
const HEADER_BYTES = 64;
const MESSAGE_BYTES = 256;
export const CONTROL_BYTES = HEADER_BYTES + 16 * MOST_ARGUMENTS + MESSAGE_BYTES + 4 * MOST_PARTS;

/** What a worker is started with. */
export interface StartData {
  memory: WebAssembly.Memory;
  control: SharedArrayBuffer;
  modules: WebAssembly.Module[];
  index: number;
}

export type Control = ReturnType<typeof controlBlock>;

/** The parts of a control block. A worker's argument is `values + index * strides`. */
export function controlBlock(buffer: SharedArrayBuffer) {
  return {
    slots: new Int32Array(buffer, 0, HEADER_BYTES / 4),
    values: new Float64Array(buffer, HEADER_BYTES, MOST_ARGUMENTS),
    strides: new Float64Array(buffer, HEADER_BYTES + 8 * MOST_ARGUMENTS, MOST_ARGUMENTS),
    message: new Uint8Array(buffer, HEADER_BYTES + 16 * MOST_ARGUMENTS, MESSAGE_BYTES),
    /** For each parted item that nobody has: 1 + the spans that are done of it. */
    free: new Int32Array(buffer, HEADER_BYTES + 16 * MOST_ARGUMENTS + MESSAGE_BYTES, MOST_PARTS),
  };
}
