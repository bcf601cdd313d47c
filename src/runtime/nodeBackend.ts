import { registerBackend, removeBackend } from '@tensorflow/tfjs-core';
import { nodeModule } from './node';

const PACKAGE = '@tensorflow/tfjs-backend-wasm';
const FACTORY = 'tfjs-backend-wasm-threaded-simd';
/** Above the priority that tfjs gives its own wasm backend. */
const PRIORITY = 3;

interface EmscriptenModule {
  wasmMemory: WebAssembly.Memory;
  cwrap(name: string, result: string | null, args: string[]): (...args: number[]) => number;
  PThread: { unusedWorkers: { terminate(): unknown; unref(): void }[]; runningWorkers: { unref(): void }[] };
}

/**
 * Registers a wasm backend whose heap is shared between threads. tfjs itself does not do that in Node, as its threaded
 * build starts its workers from blob: URLs, which Node's workers do not take; given files instead, it works.
 *
 * @throws Error when tfjs's threaded build does not load
 */
export async function registerSharedBackend(): Promise<void> {
  const [{ createRequire }, fs, os, path] = (await Promise.all(
    ['module', 'fs', 'os', 'path'].map(nodeModule),
  )) as [
    typeof import('node:module'),
    typeof import('node:fs'),
    typeof import('node:os'),
    typeof import('node:path'),
  ];
  const require = createRequire(import.meta.url);
  const { BackendWasm, setThreadsCount } = require(PACKAGE);
  const factory = require(`${PACKAGE}/wasm-out/${FACTORY}.js`);
  const { wasmWorkerContents } = require(`${PACKAGE}/wasm-out/${FACTORY}.worker.js`);
  const dist = path.dirname(require.resolve(PACKAGE));
  const files = fs.mkdtempSync(path.join(os.tmpdir(), 'linnet-'));
  const main = path.join(files, 'main.js');
  const worker = path.join(files, 'worker.js');
  try {
    fs.writeFileSync(main, `var WasmBackendModuleThreadedSimd = ${factory}`);
    // the text has line ends inside of its string literals
    fs.writeFileSync(worker, wasmWorkerContents.replace(/\n/g, '\\n'));
    const module: EmscriptenModule = await factory({
      locateFile: (name: string) => (name.endsWith('.worker.js') ? worker : path.join(dist, name)),
      mainScriptUrlOrBlob: main,
    });
    // tfjs's own ops stay on the calling thread, so its workers would only take memory
    setThreadsCount(1);
    for (const thread of module.PThread.unusedWorkers) thread.terminate();
    module.PThread.unusedWorkers.length = 0;
    const wrap = (name: string, result: string | null, count: number) =>
      module.cwrap(name, result, Array(count).fill('number'));
    const tfjs = {
      init: wrap('init', null, 0),
      initWithThreadsCount: wrap('init_with_threads_count', null, 1),
      getThreadsCount: wrap('get_threads_count', 'number', 0),
      registerTensor: wrap('register_tensor', null, 3),
      disposeData: wrap('dispose_data', null, 1),
      dispose: wrap('dispose', null, 0),
    };
    removeBackend('wasm');
    registerBackend('wasm', () => new BackendWasm(Object.assign(module, { tfjs })) as never, PRIORITY);
  } finally {
    fs.rmSync(files, { recursive: true, force: true });
  }
}
