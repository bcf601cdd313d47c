import { MOST_PARTS } from './control';
import { memoryOf, type WasmBackend, Workspace } from './heap';
import { type EntryPoints, state } from './modules';
import type { ThreadPool } from './threads';
import type { Work } from './work';

/** Milliseconds that waking and joining the workers takes where they nap, measured on two cores: 10 to 45 microseconds. */
const WAKING = 0.03;
/** From how many milliseconds of work on waking the workers pays: a call of 0.1 ms took 4 to 8% longer on two cores. */
export const worthwhile = { ms: 0.16 };
/**
 * Ranges of the first call of an entry point. V8 runs a function in its baseline code until it is entered anew, so one long
 * call would stay slow to its end.
 */
const FIRST_RANGES = 32;
/** What a kernel not called yet is taken for: 1 ms per MiB of its tensors, as memory-bound kernels take. */
const UNKNOWN_RATE = 1 / 2 ** 20;
/** Milliseconds of work per byte of tensors in the last call of each entry point. */
const rates = new Map<string, number>();

/** The threads that share the heap of `backend`, or undefined when the calling thread works alone. */
export function threadsOf(backend: WasmBackend): ThreadPool | undefined {
  const { pool } = state;
  if (pool === undefined || pool.threads.failure !== undefined) return undefined;
  return pool.memory === memoryOf(backend) ? pool.threads : undefined;
}

/**
 * Runs an entry point over its work items, on all threads when the last call says that there is work enough; returns whether
 * it was on all.
 */
export function launch(
  kernels: EntryPoints,
  pool: ThreadPool | undefined,
  family: string,
  entry: string,
  work: Work,
  args: readonly (number | Workspace | undefined)[],
  bytes: number,
): boolean {
  const items = typeof work === 'number' ? work : work.items;
  if (items === 0) return false;
  const run = kernels[entry];
  const values = args.map((arg) => (arg instanceof Workspace ? arg.pointer : (arg ?? 0)));
  const rate = rates.get(entry);
  if (rate === undefined) {
    rates.set(entry, UNKNOWN_RATE);
    const range = Math.ceil(items / FIRST_RANGES);
    for (let begin = 0; begin < items; begin += range) run(...values, begin, Math.min(begin + range, items));
    return false;
  }
  const alone = items === 1 || (typeof work !== 'number' && items > MOST_PARTS);
  if (pool === undefined || alone || !pool.has(family)) {
    run(...values, 0, items);
    return false;
  }
  const together = rate * bytes >= worthwhile.ms;
  const start = performance.now();
  if (together) {
    const strides = args.map((arg) => (arg instanceof Workspace ? arg.stride : 0));
    pool.run(family, entry, run, values, strides, work);
  } else run(...values, 0, items);
  const elapsed = performance.now() - start;
  const spent = together ? Math.max(0, elapsed - WAKING) * pool.count : elapsed;
  rates.set(entry, spent / Math.max(1, bytes));
  return together;
}
