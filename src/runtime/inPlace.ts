import { engine, type Tensor } from '@tensorflow/tfjs-core';
import { memoryOf, pointerTo, type WasmBackend } from './heap';

/** Elements of four bytes: `count` of them from `from` in one tensor to `to` in another, or to lower places of the same. */
export interface Move {
  to: number;
  from: number;
  count: number;
}

/**
 * Copies elements into a tensor in place, in order. The tensor must not have been an operand of tfjs's own matMul, which
 * remembers what it held.
 *
 * @throws Error on a backend other than wasm and cpu, whose tensors cannot be written to
 */
export function moveElements(op: string, target: Tensor, source: Tensor, moves: Iterable<Move>): void {
  const { backendName } = engine();
  if (backendName === 'wasm') {
    const backend = engine().backend as unknown as WasmBackend;
    const [to, from] = [pointerTo(backend, target), pointerTo(backend, source)];
    const heap = new Uint8Array(memoryOf(backend).buffer);
    for (const move of moves) {
      const start = from + 4 * move.from;
      heap.copyWithin(to + 4 * move.to, start, start + 4 * move.count);
    }
    return;
  }
  if (backendName !== 'cpu') {
    throw new Error(
      `${op}: needs the wasm or cpu backend, whose tensors can be written to; got ${backendName}`,
    );
  }
  // the cpu backend hands out the array it keeps
  const [to, from] = [target.dataSync(), source.dataSync()];
  for (const move of moves) to.set(from.subarray(move.from, move.from + move.count), move.to);
}
