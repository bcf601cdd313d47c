import { backend } from '@tensorflow/tfjs-core';
import { memoryOf, type WasmBackend } from '../../runtime/heap';

/** Guard bytes on both sides of every block; a multiple of the alignment of malloc. */
const GUARD_BYTES = 64;
const GUARD = 0xa5;

/** Stands between the program and malloc: guards around every block, contents that nobody wrote set to `fill`. */
export class HeapWatch {
  /** 0xff reads as NaN, 0 as zero: what depends on it has read what it did not write. */
  fill = 0xff;
  private readonly sizes = new Map<number, number>();
  private readonly restore: () => void;
  private damaged = 0;

  constructor() {
    const { wasm } = backend() as unknown as WasmBackend;
    // emscripten replaces both by the real ones on their first call
    wasm._free(wasm._malloc(8));
    const { _malloc, _free } = wasm;
    wasm._malloc = (size) => {
      const block = _malloc(size + 2 * GUARD_BYTES) >>> 0;
      if (block === 0) return 0;
      const bytes = this.bytes();
      const pointer = block + GUARD_BYTES;
      bytes.fill(GUARD, block, pointer).fill(this.fill, pointer, pointer + size);
      bytes.fill(GUARD, pointer + size, pointer + size + GUARD_BYTES);
      this.sizes.set(pointer, size);
      return pointer;
    };
    wasm._free = (given) => {
      const pointer = given >>> 0;
      if (!this.sizes.has(pointer)) return _free(given);
      if (this.isDamaged(pointer)) this.damaged++;
      this.bytes().fill(0xff, pointer, pointer + this.sizes.get(pointer)!);
      this.sizes.delete(pointer);
      _free(pointer - GUARD_BYTES);
    };
    this.restore = () => Object.assign(wasm, { _malloc, _free });
  }

  get blocks(): number {
    return this.sizes.size;
  }

  /** How many blocks, freed since the last look or in use, have had bytes next to them written. */
  takeDamaged(): number {
    let count = this.damaged;
    this.damaged = 0;
    for (const pointer of this.sizes.keys()) if (this.isDamaged(pointer)) count++;
    return count;
  }

  /** Puts malloc and free back; every block handed out must have been freed. */
  stop(): void {
    this.restore();
  }

  private bytes(): Uint8Array {
    return new Uint8Array(memoryOf(backend() as unknown as WasmBackend).buffer);
  }

  private isDamaged(pointer: number): boolean {
    const bytes = this.bytes();
    const intact = (begin: number) => {
      for (let i = begin; i < begin + GUARD_BYTES; i++) if (bytes[i] !== GUARD) return false;
      return true;
    };
    return !(intact(pointer - GUARD_BYTES) && intact(pointer + this.sizes.get(pointer)!));
  }
}
