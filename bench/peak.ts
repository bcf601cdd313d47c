import { backend } from '@tensorflow/tfjs-core';
import { type BenchKernels, relaxed, simd } from '../src/generated/bench';
import { memoryOf, Scratch, type WasmBackend } from '../src/runtime/heap';
import { entryPoints, registerFamily } from '../src/runtime/modules';

const TURNS = 200_000;
const FLOPS = 96 * TURNS;
/** Larger than the caches of common machines. */
const BYTES = 128 * 2 ** 20;
const ATTEMPTS = 12;

export interface Peak {
  /** Flops per second of multiplies and adds on registers alone, one thread. */
  gflops: number;
  /** Bytes read and written per second by a copy, one thread. */
  gbytes: number;
}

function fastest(run: () => void): number {
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < ATTEMPTS; i++) {
    const start = performance.now();
    run();
    best = Math.min(best, performance.now() - start);
  }
  return best / 1000;
}

/** What one thread of this machine reaches at most. */
export function measurePeak(): Peak {
  registerFamily('bench', { simd, relaxed });
  const wasm = backend() as unknown as WasmBackend;
  const kernels = entryPoints(wasm, 'bench') as unknown as BenchKernels;
  const scratch = new Scratch(wasm, 'bench');
  try {
    const numbers = scratch.take(64);
    const [from, to] = [scratch.take(BYTES), scratch.take(BYTES)];
    new Float32Array(memoryOf(wasm).buffer, numbers, 2).set([0.5, 1]);
    return {
      gflops: FLOPS / fastest(() => kernels.peakFlops(numbers, TURNS)) / 1e9,
      gbytes: (2 * BYTES) / fastest(() => kernels.copyBytes(from, to, BYTES)) / 1e9,
    };
  } finally {
    scratch.free();
  }
}
