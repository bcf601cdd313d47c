/** Most arguments that an entry point takes. */
export const MOST_ARGUMENTS = 64;
/** Most chains of work items; launches with more of them stay on one thread. */
export const MOST_CHAINS = 512;
/**
 * How long a worker that has nothing to do takes naps before it sleeps. It wakes from a nap in 0.03 ms, from sleep in 0.1 to
 * 0.3 ms, and to look for a call all the time slows eight threads on two cores down to a sixth.
 */
const AWAKE_MS = 1;
const NAP_MS = 0.05;
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
  /** Items claimed at once. */
  chunk: 7,
  /** Length of the message of the worker that failed. */
  failed: 8,
  /** Item i begins when item i - after is done; as many as there are items where they are independent. */
  after: 9,
} as const;
const HEADER_BYTES = 64;
export const MESSAGE_BYTES = 256;
export const CONTROL_BYTES = HEADER_BYTES + 16 * MOST_ARGUMENTS + MESSAGE_BYTES + 4 * MOST_CHAINS;

/** The parts of a control block. A worker's argument is `values + index * strides`. */
export function controlBlock(buffer: SharedArrayBuffer) {
  return {
    slots: new Int32Array(buffer, 0, HEADER_BYTES / 4),
    values: new Float64Array(buffer, HEADER_BYTES, MOST_ARGUMENTS),
    strides: new Float64Array(buffer, HEADER_BYTES + 8 * MOST_ARGUMENTS, MOST_ARGUMENTS),
    message: new Uint8Array(buffer, HEADER_BYTES + 16 * MOST_ARGUMENTS, MESSAGE_BYTES),
    /** Items done of each chain. */
    done: new Int32Array(buffer, HEADER_BYTES + 16 * MOST_ARGUMENTS + MESSAGE_BYTES, MOST_CHAINS),
  };
}

/**
 * What a worker runs, as text, so that no bundler has to find a file. It keeps an instance of every family on the shared
 * heap, sleeps until the call counter moves, and then claims ranges of work items until none are left. A notice without a new
 * call leaves it awake for a while.
 */
export const WORKER_SOURCE = `
const start = ({ memory, control, modules, index }, reply) => {
  const slots = new Int32Array(control, 0, ${HEADER_BYTES / 4});
  const values = new Float64Array(control, ${HEADER_BYTES}, ${MOST_ARGUMENTS});
  const strides = new Float64Array(control, ${HEADER_BYTES + 8 * MOST_ARGUMENTS}, ${MOST_ARGUMENTS});
  const message = new Uint8Array(control, ${HEADER_BYTES + 16 * MOST_ARGUMENTS}, ${MESSAGE_BYTES});
  const done = new Int32Array(control, ${HEADER_BYTES + 16 * MOST_ARGUMENTS + MESSAGE_BYTES}, ${MOST_CHAINS});
  const families = modules.map((module) => {
    const { exports } = new WebAssembly.Instance(module, { env: { memory } });
    return WebAssembly.Module.exports(module).map(({ name }) => exports[name]);
  });
  let seen = Atomics.load(slots, ${SLOT.call});
  reply('ready');
  for (;;) {
    for (let until = performance.now() + ${AWAKE_MS}; Atomics.load(slots, ${SLOT.call}) === seen; ) {
      const nap = performance.now() < until ? ${NAP_MS} : Infinity;
      if (Atomics.wait(slots, ${SLOT.call}, seen, nap) === 'ok') until = performance.now() + ${AWAKE_MS};
    }
    seen = Atomics.load(slots, ${SLOT.call});
    if (slots[${SLOT.family}] < 0) return;
    try {
      const entry = families[slots[${SLOT.family}]][slots[${SLOT.entry}]];
      const items = slots[${SLOT.items}], chunk = slots[${SLOT.chunk}], after = slots[${SLOT.after}];
      const args = [];
      for (let i = 0; i < slots[${SLOT.arguments}]; i++) args.push(values[i] + index * strides[i]);
      for (;;) {
        const begin = Atomics.add(slots, ${SLOT.next}, chunk);
        if (begin >= items) break;
        const chain = begin % after, before = Math.floor(begin / after);
        for (let n; after < items && (n = Atomics.load(done, chain)) < before; ) Atomics.wait(done, chain, n);
        try {
          entry(...args, begin, Math.min(begin + chunk, items));
        } finally {
          if (after < items) {
            Atomics.store(done, chain, before + 1);
            Atomics.notify(done, chain);
          }
        }
      }
    } catch (error) {
      const text = new TextEncoder().encode(String(error)).subarray(0, ${MESSAGE_BYTES});
      if (Atomics.compareExchange(slots, ${SLOT.failed}, 0, text.length) === 0) message.set(text);
    }
    if (Atomics.sub(slots, ${SLOT.pending}, 1) === 1) Atomics.notify(slots, ${SLOT.pending});
  }
};
if (typeof require === 'function') {
  const { parentPort, workerData } = require('node:worker_threads');
  start(workerData, (text) => parentPort.postMessage(text));
} else {
  self.onmessage = ({ data }) => {
    start(data, (text) => self.postMessage(text));
    self.close();
  };
}
`;
