import { controlBlock, SLOT, type StartData } from './control';
import { look, work } from './work';

// Bundled to text by kernels/worker.mjs, so that no bundler of an app has to find a file.

declare const require: undefined | ((name: string) => typeof import('node:worker_threads'));

/**
 * How long a worker that has nothing to do takes naps before it sleeps. It wakes from a nap in 0.03 ms, from sleep in 0.1 to
 * 0.3 ms, and to look for a call all the time slows eight threads on two cores down to a sixth.
 */
const AWAKE_MS = 1;
const NAP_MS = 0.05;

/**
 * Keeps an instance of every family on the shared heap, sleeps until the call counter moves, and then works on the items of
 * the call until none are left. A notice without a new call leaves it awake for a while.
 */
function start({ memory, control: buffer, modules, index }: StartData, ready: () => void): void {
  const control = controlBlock(buffer);
  const { slots, values, strides, message } = control;
  const families = modules.map((module) => {
    const { exports } = new WebAssembly.Instance(module, { env: { memory } });
    return WebAssembly.Module.exports(module).map(
      ({ name }) => exports[name] as (...args: number[]) => number,
    );
  });

  function sleep(news: number): void {
    look(slots, SLOT.news, news);
    Atomics.wait(slots, SLOT.news, news);
  }

  function workOnCall(): void {
    const entry = families[slots[SLOT.family]][slots[SLOT.entry]];
    const given = values.subarray(0, slots[SLOT.arguments]);
    const args = Array.from(given, (value, i) => value + index * strides[i]);
    work(control, memory.buffer, index, (begin, end) => entry(...args, begin, end), sleep);
  }

  let seen = Atomics.load(slots, SLOT.call);
  ready();
  for (;;) {
    for (let until = performance.now() + AWAKE_MS; Atomics.load(slots, SLOT.call) === seen; ) {
      const nap = performance.now() < until ? NAP_MS : Number.POSITIVE_INFINITY;
      if (Atomics.wait(slots, SLOT.call, seen, nap) === 'ok') until = performance.now() + AWAKE_MS;
    }
    seen = Atomics.load(slots, SLOT.call);
    if (slots[SLOT.family] < 0) return;
    try {
      workOnCall();
    } catch (error) {
      const text = new TextEncoder().encode(String(error)).subarray(0, message.length);
      if (Atomics.compareExchange(slots, SLOT.failed, 0, text.length) === 0) message.set(text);
    }
    if (Atomics.sub(slots, SLOT.pending, 1) === 1) Atomics.notify(slots, SLOT.pending);
  }
}

if (typeof require === 'function') {
  const { parentPort, workerData } = require('node:worker_threads');
  start(workerData, () => parentPort!.postMessage('ready'));
} else {
  self.onmessage = ({ data }) => {
    start(data, () => self.postMessage('ready'));
    self.close();
  };
}
