import type { DataId, DataType, TensorInfo } from '@tensorflow/tfjs-core';

/** What linnet uses of tfjs's wasm backend. */
export interface WasmBackend {
  wasm: {
    asm?: { memory?: WebAssembly.Memory };
    wasmMemory?: WebAssembly.Memory;
    _malloc(bytes: number): number;
    _free(pointer: number): void;
  };
  dataIdMap: { get(dataId: DataId): { memoryOffset: number | null } };
  makeOutput(shape: number[], dtype: DataType): TensorInfo;
  disposeData(dataId: DataId, force?: boolean): boolean;
}

/** The address space of a wasm32 heap. */
const ADDRESSABLE = 2 ** 32;
/** Allocations up to this size are left to malloc alone; larger ones are probed first. */
const PROBE_FROM = 16 * 2 ** 20;
/** malloc gives 8-byte alignment; scratch starts on a cache line. */
const SCRATCH_ALIGNMENT = 64;
/**
 * Bytes between the parts of two threads. A prefetcher that runs on beyond rows read in steps takes lines away from the thread
 * that writes them, up to 16 KB further on: ssd took 3 to 5% longer on two threads.
 */
const APART = 2 ** 14;

/** The memory of a wasm backend: `wasm.asm.memory`, or `wasm.wasmMemory` in the threaded build. */
export function memoryOf(backend: WasmBackend): WebAssembly.Memory {
  const memory = backend.wasm?.asm?.memory ?? backend.wasm?.wasmMemory;
  if (memory === undefined || !(memory.buffer instanceof Object)) {
    throw new Error(
      'linnet: cannot find the memory of the tfjs wasm backend (looked at wasm.asm.memory and wasm.wasmMemory); ' +
        'linnet works with @tensorflow/tfjs-backend-wasm 4.22',
    );
  }
  return memory;
}

/** Whether threads can share the memory. */
export function isShared(memory: WebAssembly.Memory): boolean {
  return typeof SharedArrayBuffer !== 'undefined' && memory.buffer instanceof SharedArrayBuffer;
}

function bytesOf(bytes: number): string {
  return bytes < 2 ** 20 ? `${bytes} bytes` : `${(bytes / 2 ** 20).toFixed(0)} MiB`;
}

class HeapFull extends RangeError {}
const guarded = new WeakSet<WasmBackend>();

/**
 * Where malloc has nothing left it gives address 0, and tfjs takes that for memory: it writes a tensor over its own data.
 * From here on that is an error.
 */
export function guardHeap(backend: WasmBackend): void {
  if (guarded.has(backend)) return;
  guarded.add(backend);
  const { wasm } = backend;
  // emscripten replaces malloc by the real one on its first call
  wasm._free(wasm._malloc(8));
  const { _malloc } = wasm;
  wasm._malloc = (bytes) => {
    const pointer = bytes < ADDRESSABLE ? _malloc(bytes) >>> 0 : 0;
    if (pointer === 0 && bytes > 0) throw new HeapFull(needs('linnet', bytes));
    return pointer;
  };
}

const needs = (op: string, bytes: number) =>
  `${op}: needs ${bytesOf(bytes)} more on the wasm heap, which holds at most 4 GiB in all`;

/** Memory of the heap for an op. */
function allocate({ wasm }: WasmBackend, op: string, bytes: number): number {
  try {
    return wasm._malloc(bytes) >>> 0;
  } catch (error) {
    throw error instanceof HeapFull ? new RangeError(needs(op, bytes)) : error;
  }
}

/** Throws, before anything is allocated, unless `bytes` more fit on the heap. */
export function reserve(backend: WasmBackend, op: string, bytes: number): void {
  if (bytes >= PROBE_FROM) backend.wasm._free(allocate(backend, op, bytes));
}

export function pointerTo(backend: WasmBackend, tensor: TensorInfo): number {
  return (backend.dataIdMap.get(tensor.dataId).memoryOffset ?? 0) >>> 0;
}

/** Scratch memory of one kernel call; `free` gives back whatever was taken. */
export class Scratch {
  private readonly pointers: number[] = [];

  constructor(
    private readonly backend: WasmBackend,
    private readonly op: string,
  ) {}

  take(bytes: number): number {
    reserve(this.backend, this.op, bytes);
    const pointer = allocate(this.backend, this.op, bytes + SCRATCH_ALIGNMENT);
    this.pointers.push(pointer);
    return Math.ceil(pointer / SCRATCH_ALIGNMENT) * SCRATCH_ALIGNMENT;
  }

  /** `bytes` for each of so many threads. */
  takeFor(threads: number, bytes: number): Workspace {
    const apart = threads > 1 ? APART : 0;
    const stride = Math.ceil(bytes / SCRATCH_ALIGNMENT) * SCRATCH_ALIGNMENT + apart;
    return new Workspace(this.take(stride * threads), stride);
  }

  free(): void {
    for (const pointer of this.pointers) this.backend.wasm._free(pointer);
    this.pointers.length = 0;
  }
}

/** Scratch of which every thread has its own part, `stride` bytes apart: what a work item overwrites. */
export class Workspace {
  constructor(
    readonly pointer: number,
    readonly stride: number,
  ) {}
}
