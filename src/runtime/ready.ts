import { backend, engine, findBackend, getBackend, setBackend, version_core } from '@tensorflow/tfjs-core';
import { version } from '../../package.json';
import { memoryOf, type WasmBackend } from './heap';
import { compileFamilies, type SimdLevel, setSimdLevel, simdLevel, supportsRelaxedSimd } from './modules';

const TFJS = '4.22';

export interface ReadyOptions {
  /** The tfjs backend to make current: `'wasm'` (default) runs the kernels, any other one the references. */
  backend?: string;
  /** Threads to compute on; this version has one. */
  threads?: number;
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

/**
 * Makes the tfjs wasm backend current and instantiates the kernels on its heap. Call it once before the first op.
 *
 * @throws Error when @tensorflow/tfjs-core or @tensorflow/tfjs-backend-wasm is missing or of another version than
 *   4.22, when the backend cannot start or its memory cannot be found, or when `simd: 'relaxed'` is not supported.
 * @throws RangeError for a thread count this version does not have.
 */
export async function ready(options: ReadyOptions = {}): Promise<void> {
  const { backend: name = 'wasm', threads = 1, simd = 'auto' } = options;
  if (threads !== 1) throw new RangeError(`ready: threads is ${threads}; this version computes on 1 thread`);
  requireVersion('@tensorflow/tfjs-core', version_core);
  if (name === 'wasm') await loadWasmBackend();
  if (!(await setBackend(name))) {
    const known = engine().registryFactory;
    throw new Error(
      `ready: the tfjs backend '${name}' did not start; registered are ${Object.keys(known).join(', ')}`,
    );
  }
  setSimdLevel(simd);
  if (name !== 'wasm') return;
  memoryOf(backend() as unknown as WasmBackend);
  await compileFamilies();
}

/** What linnet runs on: version, backend, SIMD level and threads with the reason for each, heap size. */
export function info(): Info {
  const level = simdLevel();
  const wasm = findBackend('wasm') as unknown as WasmBackend | null;
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
    threads: { count: 1, reason: 'this version computes on the calling thread' },
    heapBytes: wasm === null ? 0 : memoryOf(wasm).buffer.byteLength,
  };
}
