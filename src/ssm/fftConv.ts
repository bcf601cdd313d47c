import type { Tensor } from '@tensorflow/tfjs-core';
import type { KernelCall, Shape } from '../op/define';
import { checkShapes } from '../tensor/shape';
import { defineSsmOp } from './family';
import { fftConvBackwardReference, fftConvReference } from './fftConv.reference';

export interface FftConvOptions {
  /** `[H]`, a skip connection: adds `D u`. */
  D?: Tensor;
}

const NAME = 'fftConv';
/** Bytes of an element of the transform: a sample of eight channels. */
const ELEMENT = 32;
type Input = 'u' | 'k' | 'D';

/** Sizes and the group count: eight channels share a transform of a power of two elements. */
function planOf({ u, k }: { readonly [name in Input]?: Shape }) {
  const [B, T, H] = u!;
  const L = k![1];
  let size = 1;
  while (size < T + Math.max(1, Math.min(L, T)) - 1) size *= 2;
  return { groups: Math.ceil(H / 8), size, sizes: [B, T, H, L, size] as const };
}

/** e^(-2 pi i t / size), t < 3 size / 4, on the heap. */
function twiddles(
  { scratch, buffer }: Pick<KernelCall<Input, never, never>, 'scratch' | 'buffer'>,
  size: number,
) {
  const count = Math.max(1, (3 * size) / 4);
  const pointer = scratch(8 * count);
  const pairs = new Float32Array(buffer(), pointer, 2 * Math.floor(count));
  for (let t = 0; 2 * t < pairs.length; t++) {
    pairs[2 * t] = Math.cos((2 * Math.PI * t) / size);
    pairs[2 * t + 1] = -Math.sin((2 * Math.PI * t) / size);
  }
  return pointer;
}

const op = defineSsmOp<Input, undefined>({
  name: NAME,
  outputs: ({ u }) => [u!],
  kernel: (call) => {
    const { input, shape, output, workspace, launch } = call;
    const { groups, size, sizes } = planOf(shape);
    const { u, k, D } = input;
    launch(NAME, groups, u, k, D, output[0], twiddles(call, size), workspace(2 * ELEMENT * size), ...sizes);
  },
  reference: fftConvReference,
  gradient: ({ inputs, dy, attrs }) => {
    const [u, k, D] = backward.run({ ...inputs, dy: dy[0] }, attrs);
    return { u, k, D };
  },
});

const backward = defineSsmOp<Input | 'dy', undefined>({
  name: `${NAME}Backward`,
  outputs: ({ u, k, D }) => (D ? [u!, k!, D] : [u!, k!]),
  kernel: (call) => {
    const { input, shape, output, workspace, launch } = call;
    const { groups, size, sizes } = planOf(shape);
    const { u, k, D, dy } = input;
    const [du, dk, dD = 0] = output;
    // biome-ignore format: one argument list per line of the entry point
    launch('fftConvBackward', groups,
      u, k, D, dy, du, dk, dD, twiddles(call, size), workspace(4 * ELEMENT * size), ...sizes);
  },
  reference: fftConvBackwardReference,
});

/**
 * Causal convolution of every channel with a kernel of its own, as long as the sequence or not:
 * `y_t = sum over s <= t of k_s u_{t-s}`, plus `D u_t`, in O(T log T) by Fourier transforms. What a time-invariant
 * state-space model computes, seen from its kernel.
 *
 * @param u `[B, T, H]`
 * @param k `[H, L]`, lag 0 first
 * @param options.D `[H]`, a skip connection; default none
 * @returns y `[B, T, H]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Gu et al., "Efficiently Modeling Long Sequences with Structured State Spaces", equations 4 and 5
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { fftConv, ready } from 'linnet';
 *
 * await ready();
 * const u = randomNormal([1, 256, 32]);
 * const k = randomNormal([32, 256]);
 * const D = randomNormal([32]);
 * const y = fftConv(u, k, { D }); // [1, 256, 32]
 * ```
 */
export function fftConv(u: Tensor, k: Tensor, options: FftConvOptions = {}): Tensor {
  const { D } = options;
  checkShapes(NAME, [
    ['u', u, 'B T H'],
    ['k', k, 'H L'],
    ['D?', D, 'H'],
  ]);
  return op.run({ u, k, D }, undefined)[0];
}
