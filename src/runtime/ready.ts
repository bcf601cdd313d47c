import { backend, engine, getBackend, setBackend, version_core } from '@tensorflow/tfjs-core';
import { version } from '../../package.json';
import { guardHeap, isShared, memoryOf, type WasmBackend } from './heap';
import {
  compileFamilies,
  type SimdLevel,
  setSimdLevel,
  simdLevel,
  state,
  supportsRelaxedSimd,
} from './modules';
import { isDeno, isNode, nodeModule } from './node';
import { registerSharedBackend } from './nodeBackend';
import { startWasmBackend, threadedFailure } from './startBackend';
import { ThreadPool } from './threads';

const TFJS = '4.22';

export interface ReadyOptions {
  /** The tfjs backend to make current: `'wasm'` (default) runs the kernels, any other one the references. */
  backend?: string;
  /**
   * Threads to compute on, or `'auto'` for one per core. Default 1 in Node, `'auto'` in a cross-origin isolated page,
   * where tfjs's heap is shared anyway. Results are the same bits for any number.
   */
  threads?: number | 'auto';
  /** `'auto'` (default) takes relaxed SIMD (fused multiply-add) where the engine has it. */
  simd?: SimdLevel | 'auto';
}

export interface Info {
  version: string;
  /** The current tfjs backend. */
  backend: string;
  simd: { level: SimdLevel; reason: string };
  threads: { count: number; reason: string };
  /** Size of the wasm heap in bytes, all tensors included; 0 on another backend. */
  heapBytes: number;
}

let threadsReason = 'ready was not called';

function requireVersion(name: string, found: string): void {
  if (!found.startsWith(`${TFJS}.`)) {
    throw new Error(
      `ready: ${name} is version ${found}; linnet works with ${TFJS}. npm install ${name}@${TFJS}.0`,
    );
  }
}

async function loadWasmBackend(): Promise<void> {
  let module: { version_wasm: string };
  try {
    module = await import('@tensorflow/tfjs-backend-wasm');
  } catch (cause) {
    const name = '@tensorflow/tfjs-backend-wasm';
    throw new Error(`ready: cannot load ${name}. npm install ${name}@${TFJS}.0`, { cause });
  }
  requireVersion('@tensorflow/tfjs-backend-wasm', module.version_wasm);
}

async function coreCount(): Promise<number> {
  if (!isNode) return navigator.hardwareConcurrency ?? 1;
  return ((await nodeModule('os')) as typeof import('node:os')).availableParallelism();
}

function checkThreads(op: string, threads: number): void {
  if (!(Number.isInteger(threads) && threads >= 1)) {
    throw new RangeError(`${op}: threads is ${threads}; expected a whole number of at least 1, or 'auto'`);
  }
}

/** The wasm backend if it has started. */
const wasmBackend = () => (engine().registry.wasm ?? null) as unknown as WasmBackend | null;

/** In Node the heap that threads share has to be made before the backend starts. */
async function prepareSharedHeap(): Promise<void> {
  const wasm = wasmBackend();
  if (wasm === null) return registerSharedBackend();
  if (!isShared(memoryOf(wasm))) {
    throw new Error(
      'ready: threads need a shared heap, but the tfjs wasm backend already runs on one that is not; ' +
        'call ready({ threads }) before anything else uses the backend',
    );
  }
}

async function startThreads(count: number): Promise<void> {
  await state.pool?.threads.stop();
  state.pool = undefined;
  if (count === 1) return;
  const wasm = wasmBackend()!;
  const memory = memoryOf(wasm);
  state.pool = { threads: await ThreadPool.start(count, memory, await compileFamilies(wasm)), memory };
}

/**
 * Makes the tfjs wasm backend current and instantiates the kernels on its heap. Call it once before the first op.
 *
 * Threads need a heap that they can share. In Node linnet starts tfjs's threaded build for that, if asked for threads. In
 * a browser the page must be cross-origin isolated; otherwise, in Deno, and where tfjs's threaded build does not start
 * since its code was minified, one thread is used and `info()` says why.
 *
 * @throws Error when @tensorflow/tfjs-core or @tensorflow/tfjs-backend-wasm is missing or of another version than
 *   4.22, when the backend cannot start or its memory cannot be found, when `simd: 'relaxed'` is not supported, or when
 *   threads are asked for in Node after the backend started without them.
 * @throws RangeError for a thread count that is no whole number of at least 1.
 */
export async function ready(options: ReadyOptions = {}): Promise<void> {
  const { backend: name = 'wasm', simd = 'auto' } = options;
  const asked = options.threads ?? (isNode ? 1 : 'auto');
  if (asked !== 'auto') checkThreads('ready', asked);
  requireVersion('@tensorflow/tfjs-core', version_core);
  const count = asked === 'auto' ? await coreCount() : asked;
  if (name === 'wasm') {
    await loadWasmBackend();
    if (isNode && !isDeno() && count > 1) await prepareSharedHeap();
  }
  if (!(await (name === 'wasm' ? startWasmBackend() : setBackend(name)))) {
    const known = engine().registryFactory;
    throw new Error(
      `ready: the tfjs backend '${name}' did not start; registered are ${Object.keys(known).join(', ')}`,
    );
  }
  setSimdLevel(simd);
  if (name !== 'wasm') {
    await startThreads(1);
    threadsReason = `the tfjs backend is '${name}'`;
    return;
  }
  const wasm = backend() as unknown as WasmBackend;
  guardHeap(wasm);
  await compileFamilies(wasm);
  const shared = isShared(memoryOf(wasm));
  await startThreads(shared ? count : 1);
  threadsReason =
    count === 1
      ? options.threads === undefined
        ? 'the default'
        : 'asked for'
      : shared
        ? asked === 'auto'
          ? 'one per core'
          : 'asked for'
        : isDeno()
          ? "tfjs's threaded build does not start in Deno"
          : (threadedFailure() ?? 'the page is not cross-origin isolated, so threads cannot share memory');
  if (count > 1 && !shared && (options.threads !== undefined || threadedFailure() !== undefined)) {
    console.warn(`linnet: ${threadsReason}; computing on one thread`);
  }
}

/**
 * Changes the number of threads. Workers that are no longer wanted end; no tensor is touched.
 *
 * @throws RangeError for a count that is no whole number of at least 1
 * @throws Error when the heap cannot be shared: in Node, when `ready` was not asked for threads
 */
export async function setThreads(count: number | 'auto'): Promise<void> {
  const threads = count === 'auto' ? await coreCount() : count;
  checkThreads('setThreads', threads);
  const wasm = wasmBackend();
  if (threads > 1 && (wasm === null || !isShared(memoryOf(wasm)))) {
    const remedy =
      threadedFailure() ??
      'in Node call ready({ threads }) with more than one first, in a browser serve the page cross-origin isolated';
    throw new Error(`setThreads: the heap is not shared between threads; ${remedy}`);
  }
  await startThreads(threads);
  threadsReason = count === 'auto' ? 'one per core' : 'asked for';
}

function threadsInfo(): Info['threads'] {
  const failure = state.pool?.threads.failure;
  if (failure !== undefined) return { count: 1, reason: `a worker died: ${failure}` };
  return { count: state.pool?.threads.count ?? 1, reason: threadsReason };
}

/** What linnet runs on: version, backend, SIMD level and threads with the reason for each, heap size. */
export function info(): Info {
  const level = simdLevel();
  const wasm = wasmBackend();
  return {
    version,
    backend: getBackend(),
    simd: {
      level,
      reason: supportsRelaxedSimd()
        ? level === 'relaxed'
          ? 'the engine has relaxed SIMD'
          : "asked for by ready({ simd: 'simd' })"
        : 'the engine has no relaxed SIMD',
    },
    threads: threadsInfo(),
    heapBytes: wasm === null ? 0 : memoryOf(wasm).buffer.byteLength,
  };
}
