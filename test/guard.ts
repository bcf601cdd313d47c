import { backend } from '@tensorflow/tfjs-core';
import { memoryOf, type WasmBackend } from '../src/runtime/heap';

const GUARD_BYTES = 256;
const GUARD = 0xa5;

/**
 * Runs with a heap that hands out memory full of NaN and with a guard behind every block.
 *
 * @returns the number of blocks whose guard was written to
 */
export function damagedBlocks(run: () => void): number {
  const { wasm } = backend() as unknown as WasmBackend;
  // emscripten replaces both by the real ones on their first call
  wasm._free(wasm._malloc(8));
  const { _malloc, _free } = wasm;
  const bytes = () => new Uint8Array(memoryOf(backend() as unknown as WasmBackend).buffer);
  const sizes = new Map<number, number>();
  let damaged = 0;
  const check = (pointer: number) => {
    const end = pointer + sizes.get(pointer)!;
    if (
      bytes()
        .subarray(end, end + GUARD_BYTES)
        .some((byte) => byte !== GUARD)
    )
      damaged++;
    sizes.delete(pointer);
  };
  wasm._malloc = (size) => {
    const pointer = _malloc(size + GUARD_BYTES) >>> 0;
    bytes()
      .fill(0xff, pointer, pointer + size)
      .fill(GUARD, pointer + size, pointer + size + GUARD_BYTES);
    sizes.set(pointer, size);
    return pointer;
  };
  wasm._free = (pointer) => {
    if (sizes.has(pointer >>> 0)) check(pointer >>> 0);
    _free(pointer);
  };
  try {
    run();
    for (const pointer of [...sizes.keys()]) check(pointer);
  } finally {
    wasm._malloc = _malloc;
    wasm._free = _free;
  }
  return damaged;
}

/** Blocks that `run` allocated on the heap and did not free. */
export function blocksInUse(run: () => void): number {
  const { wasm } = backend() as unknown as WasmBackend;
  wasm._free(wasm._malloc(8));
  const { _malloc, _free } = wasm;
  const blocks = new Set<number>();
  wasm._malloc = (size) => {
    const pointer = _malloc(size) >>> 0;
    blocks.add(pointer);
    return pointer;
  };
  wasm._free = (pointer) => {
    blocks.delete(pointer >>> 0);
    _free(pointer);
  };
  try {
    run();
  } finally {
    wasm._malloc = _malloc;
    wasm._free = _free;
  }
  return blocks.size;
}

/** The most bytes that `run` held on the heap at once, besides what was there before. */
export function peakBytes(run: () => void): number {
  const { wasm } = backend() as unknown as WasmBackend;
  wasm._free(wasm._malloc(8));
  const { _malloc, _free } = wasm;
  const sizes = new Map<number, number>();
  let held = 0;
  let peak = 0;
  wasm._malloc = (size) => {
    const pointer = _malloc(size) >>> 0;
    sizes.set(pointer, size);
    held += size;
    peak = Math.max(peak, held);
    return pointer;
  };
  wasm._free = (pointer) => {
    held -= sizes.get(pointer >>> 0) ?? 0;
    sizes.delete(pointer >>> 0);
    _free(pointer);
  };
  try {
    run();
  } finally {
    wasm._malloc = _malloc;
    wasm._free = _free;
  }
  return peak;
}
