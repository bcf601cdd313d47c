import { WORKER_SOURCE } from '../generated/worker';
import { CONTROL_BYTES, type Control, controlBlock, SLOT, type StartData } from './control';
import { isNode, nodeModule } from './node';
import { look, type Work, work } from './work';

/** A thread of Node or of a browser, as far as the pool needs to know. */
interface Thread {
  onReady(ready: () => void): void;
  onDeath(died: (reason: string) => void): void;
  terminate(): unknown;
}

/** Ranges per thread: enough that one thread slowed by other programs does not hold up the rest. */
const RANGES_PER_THREAD = 8;
/** A call whose workers show no progress for this long is given up. */
const STALLED_MS = 30_000;

async function startThread(data: StartData): Promise<Thread> {
  if (isNode) {
    const { Worker } = (await nodeModule('worker_threads')) as typeof import('node:worker_threads');
    const worker = new Worker(WORKER_SOURCE, { eval: true, workerData: data, execArgv: [] });
    worker.unref();
    return {
      onReady: (ready) => worker.once('message', ready),
      onDeath: (died) => {
        worker.once('error', (error) => died(String(error)));
        worker.once('exit', (code) => died(`it ended with code ${code}`));
      },
      terminate: () => worker.terminate(),
    };
  }
  const url = URL.createObjectURL(new Blob([WORKER_SOURCE], { type: 'text/javascript' }));
  const worker = new Worker(url);
  worker.postMessage(data);
  return {
    onReady: (ready) =>
      worker.addEventListener('message', () => {
        URL.revokeObjectURL(url);
        ready();
      }),
    onDeath: (died) => worker.addEventListener('error', (event) => died(event.message)),
    terminate: () => worker.terminate(),
  };
}

/** Whether this thread may sleep: the main thread of a browser may not. */
function canSleep(): boolean {
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 1, 0);
    return true;
  } catch {
    return false;
  }
}

/** Threads that share the heap with the calling one and work with it on the items of a kernel call. */
export class ThreadPool {
  private readonly control: Control;
  private readonly sleeps = canSleep();
  private readonly entries: Map<string, number>[];
  private lost: string | undefined;

  private constructor(
    private readonly memory: WebAssembly.Memory,
    buffer: SharedArrayBuffer,
    private readonly families: readonly string[],
    modules: readonly WebAssembly.Module[],
    private readonly threads: readonly Thread[],
  ) {
    this.control = controlBlock(buffer);
    this.entries = modules.map(
      (module) => new Map(WebAssembly.Module.exports(module).map(({ name }, i) => [name, i])),
    );
    for (const thread of threads) {
      thread.onDeath((reason) => {
        this.lost ??= reason;
      });
    }
  }

  /**
   * Starts `count - 1` workers beside the calling thread, each with an instance of every family on `memory`.
   *
   * @throws Error when a worker cannot start
   */
  static async start(
    count: number,
    memory: WebAssembly.Memory,
    modules: ReadonlyMap<string, WebAssembly.Module>,
  ): Promise<ThreadPool> {
    const control = new SharedArrayBuffer(CONTROL_BYTES);
    const list = [...modules.values()];
    const started = Array.from({ length: count - 1 }, (_, i) =>
      startThread({ memory, control, modules: list, index: i + 1 }),
    );
    const threads = await Promise.all(started);
    try {
      await Promise.all(
        threads.map(
          (thread) =>
            new Promise<void>((resolve, reject) => {
              thread.onReady(resolve);
              thread.onDeath((reason) => reject(new Error(`linnet: a worker did not start: ${reason}`)));
            }),
        ),
      );
    } catch (error) {
      for (const thread of threads) thread.terminate();
      throw error;
    }
    return new ThreadPool(memory, control, [...modules.keys()], list, threads);
  }

  get count(): number {
    return this.threads.length + 1;
  }

  /** Why the pool can no longer be used, if a worker died. */
  get failure(): string | undefined {
    return this.lost;
  }

  has(family: string): boolean {
    return this.families.includes(family);
  }

  /** Has the workers awake for a call that is being made ready. */
  wake(): void {
    Atomics.notify(this.control.slots, SLOT.call);
  }

  /**
   * Runs `entry` over its work items on all threads and returns when they are done. Argument i of thread n is
   * `values[i] + n * strides[i]`.
   *
   * @throws Error when a worker failed or stalled
   */
  run(
    family: string,
    entry: string,
    own: (...args: number[]) => unknown,
    values: readonly number[],
    strides: readonly number[],
    given: Work,
  ): void {
    const { slots } = this.control;
    const index = this.families.indexOf(family);
    this.control.values.set(values);
    this.control.strides.set(strides);
    slots[SLOT.family] = index;
    slots[SLOT.entry] = this.entries[index].get(entry)!;
    slots[SLOT.arguments] = values.length;
    slots[SLOT.failed] = 0;
    this.layOut(given);
    Atomics.store(slots, SLOT.pending, this.threads.length);
    Atomics.add(slots, SLOT.call, 1);
    Atomics.notify(slots, SLOT.call);
    try {
      const run = (begin: number, end: number) => own(...values, begin, end) as number;
      const sleep = (news: number) => this.wait(entry, SLOT.news, (now) => now !== news);
      work(this.control, this.memory.buffer, 0, run, sleep);
    } finally {
      if (this.lost === undefined) this.wait(entry, SLOT.pending, (pending) => pending === 0);
    }
    if (slots[SLOT.failed] > 0) {
      const message = new TextDecoder().decode(this.control.message.slice(0, slots[SLOT.failed]));
      throw new Error(`${entry}: a worker failed: ${message}`);
    }
  }

  private layOut(given: Work): void {
    const { slots, free } = this.control;
    if (typeof given === 'number') {
      slots[SLOT.items] = given;
      slots[SLOT.chunk] = Math.max(1, Math.floor(given / (this.count * RANGES_PER_THREAD)));
      slots[SLOT.next] = 0;
      return;
    }
    slots[SLOT.items] = slots[SLOT.left] = given.items;
    slots[SLOT.chunk] = 0;
    slots[SLOT.heads] = given.heads;
    slots[SLOT.together] = given.together;
    slots[SLOT.waiting] = given.waiting ?? 0;
    slots[SLOT.threads] = this.count;
    free.fill(1, 0, given.items);
  }

  /** Waits until a slot holds what is waited for. */
  private wait(entry: string, slot: number, isOver: (value: number) => boolean): void {
    const { slots } = this.control;
    let progress: number | undefined;
    let since = 0;
    for (;;) {
      const value = Atomics.load(slots, slot);
      if (isOver(value)) return;
      if (value !== progress) {
        progress = value;
        since = performance.now();
        look(slots, slot, value);
      } else if (performance.now() - since > STALLED_MS) {
        this.lost = `a worker did not finish ${entry} within ${STALLED_MS / 1000} s`;
        for (const thread of this.threads) thread.terminate();
        throw new Error(`linnet: ${this.lost}`);
      } else if (this.sleeps) Atomics.wait(slots, slot, value, 1000);
      else look(slots, slot, value);
    }
  }

  /** Ends the workers; the pool must not be used afterwards. */
  async stop(): Promise<void> {
    const { slots } = this.control;
    slots[SLOT.family] = -1;
    Atomics.add(slots, SLOT.call, 1);
    Atomics.notify(slots, SLOT.call);
    await Promise.all(this.threads.map((thread) => thread.terminate()));
  }
}
