import v8 from 'node:v8';
import { supportsRelaxedSimd } from '../../src/runtime/modules';

/** Relaxed SIMD is behind a flag in Node 20. */
export function allowRelaxedSimd(): void {
  if (!supportsRelaxedSimd()) v8.setFlagsFromString('--experimental-wasm-relaxed-simd');
}
