import { isShared, memoryOf, type WasmBackend } from './heap';
import { forSharedMemory } from './sharedMemory';
import type { ThreadPool } from './threads';

export type SimdLevel = 'simd' | 'relaxed';
/** The binaries of one kernel family, base64, as the build writes them. */
export type FamilyBinaries = Record<SimdLevel, string>;
/** Entry points take plain numbers: pointers, sizes, and last the range of work items. */
export type EntryPoints = Record<string, (...args: number[]) => void>;

interface RuntimeState {
  level: SimdLevel | undefined;
  families: Map<string, FamilyBinaries>;
  /** By family, SIMD level and kind of memory. */
  modules: Map<string, WebAssembly.Module>;
  instances: WeakMap<WebAssembly.Memory, Map<string, EntryPoints>>;
  /** The threads that share a heap with this one, and that heap. */
  pool: { threads: ThreadPool; memory: WebAssembly.Memory } | undefined;
}

/** Kept on globalThis, so that an ESM and a CJS copy in one program share their kernels as they share tfjs's registry. */
const STATE = Symbol.for('linnet.runtime');
const globals = globalThis as { [STATE]?: RuntimeState };
globals[STATE] ??= {
  level: undefined,
  families: new Map(),
  modules: new Map(),
  instances: new WeakMap(),
  pool: undefined,
};
export const state: RuntimeState = globals[STATE];

/** f32x4.relaxed_madd in the smallest module that holds it. */
const RELAXED_PROBE = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 8, 1, 96, 3, 123, 123, 123, 1, 123, 3, 2, 1, 0, 10, 13, 1, 11, 0, 32, 0, 32,
  1, 32, 2, 253, 133, 2, 11,
]);

export function supportsRelaxedSimd(): boolean {
  return WebAssembly.validate(RELAXED_PROBE);
}

export function simdLevel(): SimdLevel {
  state.level ??= supportsRelaxedSimd() ? 'relaxed' : 'simd';
  return state.level;
}

/** Chooses the SIMD level for every kernel called from now on. */
export function setSimdLevel(level: SimdLevel | 'auto'): void {
  if (level === 'relaxed' && !supportsRelaxedSimd()) {
    throw new Error(
      "ready: simd: 'relaxed' asked for, but this engine has no relaxed SIMD; use 'auto' or 'simd'",
    );
  }
  const chosen = level === 'auto' ? (supportsRelaxedSimd() ? 'relaxed' : 'simd') : level;
  if (chosen !== state.level) state.instances = new WeakMap();
  state.level = chosen;
}

export function registerFamily(name: string, binaries: FamilyBinaries): void {
  state.families.set(name, binaries);
}

function decode(base64: string): Uint8Array<ArrayBuffer> {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

function binaryOf(family: string, shared: boolean): Uint8Array<ArrayBuffer> {
  const binaries = state.families.get(family);
  if (binaries === undefined) throw new Error(`linnet: no kernel family '${family}'`);
  const binary = decode(binaries[simdLevel()]);
  return shared ? forSharedMemory(binary) : binary;
}

const keyOf = (family: string, shared: boolean) => `${family}/${simdLevel()}${shared ? '/shared' : ''}`;

/** Compiles every registered family for the heap of `backend`, off the main thread's critical path. */
export async function compileFamilies(backend: WasmBackend): Promise<Map<string, WebAssembly.Module>> {
  const shared = isShared(memoryOf(backend));
  const compiled = await Promise.all(
    [...state.families.keys()].map(async (family) => {
      const key = keyOf(family, shared);
      const module = state.modules.get(key) ?? (await WebAssembly.compile(binaryOf(family, shared)));
      state.modules.set(key, module);
      return [family, module] as const;
    }),
  );
  return new Map(compiled);
}

/** The entry points of a family on the heap of `backend`; compiles on the spot what `ready` has not. */
export function entryPoints(backend: WasmBackend, family: string): EntryPoints {
  const memory = memoryOf(backend);
  let instances = state.instances.get(memory);
  if (instances === undefined) {
    instances = new Map();
    state.instances.set(memory, instances);
  }
  let exports = instances.get(family);
  if (exports === undefined) {
    const shared = isShared(memory);
    const key = keyOf(family, shared);
    let module = state.modules.get(key);
    if (module === undefined) {
      module = new WebAssembly.Module(binaryOf(family, shared));
      state.modules.set(key, module);
    }
    exports = new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as EntryPoints;
    instances.set(family, exports);
  }
  return exports;
}
