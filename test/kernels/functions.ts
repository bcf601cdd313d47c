import { compileKernels } from '../../kernels/compile.mjs';
import type { EntryPoints } from '../../src/runtime/modules';

export type ArrayFunction =
  | 'expArray'
  | 'exp2Array'
  | 'sigmoidArray'
  | 'siluArray'
  | 'quickSiluArray'
  | 'softplusArray';
/** Values of one call: 64 KiB pages for the inputs and as many for the results. */
const BLOCK = 2 ** 18;

/** The functions of functions.kernel.ts as functions on arrays of at most `BLOCK` values, each with its own memory. */
export async function elementaryFunctions(level: 'simd' | 'relaxed' = 'simd') {
  const { binary } = await compileKernels('test/kernels/functions.kernel.ts', level);
  const memory = new WebAssembly.Memory({ initial: (8 * BLOCK) / 65536 });
  const { exports } = await WebAssembly.instantiate(await WebAssembly.compile(binary), { env: { memory } });
  return (name: ArrayFunction, x: Float32Array): Float32Array => {
    new Float32Array(memory.buffer).set(x);
    (exports as EntryPoints)[name](0, 4 * BLOCK, (x.length + 3) & ~3);
    return new Float32Array(memory.buffer, 4 * BLOCK, x.length).slice();
  };
}

const bits = new Uint32Array(1);
const value = new Float32Array(bits.buffer);

/** Units in the last place of a float32 between `actual` and the float64 `exact`. */
export function ulps(actual: number, exact: number): number {
  value[0] = exact;
  const exponent = Math.max((bits[0] >>> 23) & 255, 1) - 127;
  return Math.abs(actual - exact) / 2 ** (exponent - 23);
}

/** Every `step`-th float32 from `from` to `to`, both of one sign, in blocks. */
export function* floats(from: number, to: number, step: number): Generator<Float32Array> {
  value[0] = from;
  const first = bits[0];
  value[0] = to;
  const last = bits[0];
  const block = new Float32Array(BLOCK);
  const patterns = new Uint32Array(block.buffer);
  let n = 0;
  for (let pattern = first; pattern <= last; pattern += step) {
    patterns[n++] = pattern;
    if (n === BLOCK) {
      yield block;
      n = 0;
    }
  }
  if (n > 0) yield block.subarray(0, n);
}

/** The largest error, in units of the last place, over the floats from `from` to `to`. */
export function largestError(
  run: (x: Float32Array) => Float32Array,
  exact: (x: number) => number,
  [from, to]: readonly [number, number],
  step: number,
): { ulps: number; at: number } {
  const worst = { ulps: 0, at: from };
  for (const block of floats(from, to, step)) {
    const results = run(block);
    for (let i = 0; i < block.length; i++) {
      const error = ulps(results[i], exact(block[i]));
      if (!(error <= worst.ulps)) Object.assign(worst, { ulps: error, at: block[i] });
    }
  }
  return worst;
}
