import type { Tensor } from '@tensorflow/tfjs-core';
import type { KernelCall, Shape } from '../op/define';
import { checkShapes } from '../tensor/shape';
import { type Complex, complexParts } from './complex';
import { defineSsmOp } from './family';
import { checkRule, type ModeRule, type Pair } from './modes';
import {
  type S4dInputs,
  s4dGradients,
  s4dKernelBackwardReference,
  s4dKernelReference,
  s4dMode,
} from './s4dKernel.reference';

export interface S4dKernelOptions {
  /** T, the lags to compute. */
  length: number;
  /** How the system is sampled, `zoh` or `bilinear`; default `zoh`. */
  discretization?: ModeRule;
}
export interface S4dAttrs {
  length: number;
  rule: ModeRule;
}

const NAME = 's4dKernel';
type Input = keyof S4dInputs<unknown>;
type Call = Pick<KernelCall<Input, S4dAttrs, never>, 'input' | 'shape' | 'attrs' | 'buffer' | 'scratch'>;

/** Lags of a row of the product: the work on powers, T / R + R, is least at the root of T. */
function columnsOf(length: number): number {
  return Math.max(8, (Math.ceil(Math.sqrt(length)) + 7) & ~7);
}

function sizesOf(shape: { readonly [name in Input]?: Shape }, { length }: S4dAttrs) {
  const [H, N] = shape.aImag!;
  const R = columnsOf(length);
  return { H, N, rows: R + Math.ceil(length / R), sizes: [N, length, R] as const };
}

/** The inputs as the heap holds them now. */
function heapInputs({ input, shape, buffer }: Call): S4dInputs<{ data: Float32Array }> {
  const names: Input[] = ['logDt', 'logAReal', 'aImag', 'cRe', 'cIm'];
  const view = (name: Input) =>
    new Float32Array(
      buffer(),
      input[name],
      shape[name]!.reduce((n, d) => n * d, 1),
    );
  return Object.fromEntries(names.map((name) => [name, { data: view(name) }]));
}

/** z and w of every mode, float64, on the heap. */
function heapModes(call: Call): number {
  const [H, N] = call.shape.aImag!;
  const pointer = call.scratch(32 * H * N);
  const inputs = heapInputs(call);
  const modes = new Float64Array(call.buffer(), pointer, 4 * H * N);
  for (let at = 0; at < H * N; at++) {
    const { z, w } = s4dMode(inputs, call.attrs, Math.floor(at / N), at);
    modes.set([...z, ...w], 4 * at);
  }
  return pointer;
}

const op = defineSsmOp<Input, S4dAttrs>({
  name: NAME,
  outputs: ({ aImag }, { length }) => [[aImag![0], length]],
  kernel: (call) => {
    const { shape, output, attrs, workspace, launch } = call;
    const { H, N, rows, sizes } = sizesOf(shape, attrs);
    launch(NAME, H, heapModes(call), output[0], workspace(8 * N * rows), ...sizes);
  },
  reference: s4dKernelReference,
  gradient: ({ inputs, dy, attrs }) => {
    const [logDt, logAReal, aImag, cRe, cIm] = backward.run({ ...inputs, dK: dy[0] }, attrs);
    return { logDt, logAReal, aImag, cRe, cIm };
  },
});

const backward = defineSsmOp<Input | 'dK', S4dAttrs>({
  name: `${NAME}Backward`,
  outputs: ({ logDt, logAReal, aImag, cRe, cIm }) => [logDt!, logAReal!, aImag!, cRe!, cIm!],
  kernel: (call) => {
    const { input, shape, output, attrs, buffer, scratch, workspace, launch } = call;
    const { H, N, rows, sizes } = sizesOf(shape, attrs);
    const modes = heapModes(call);
    const sums = scratch(32 * H * N);
    launch(
      's4dKernelBackward',
      attrs.length > 0 ? H : 0,
      modes,
      input.dK,
      sums,
      workspace(16 * N * rows),
      ...sizes,
    );
    const s = new Float64Array(buffer(), sums, 4 * H * N);
    if (attrs.length === 0) s.fill(0);
    const pair = (at: number): Pair => [s[at], s[at + 1]];
    const gradients = s4dGradients(heapInputs(call), attrs, [H, N], (at) => [pair(4 * at), pair(4 * at + 2)]);
    gradients.forEach((values, i) => {
      new Float32Array(buffer(), output[i], values.length).set(values);
    });
  },
  reference: s4dKernelBackwardReference,
});

/**
 * The convolution kernel of a diagonal state-space model (S4D): with eigenvalues `A = -exp(logAReal) + i aImag` and steps
 * `dt = exp(logDt)`, `K_t = 2 Re sum over n of C_n f_n z_n^t` where `z = exp(dt A)`, `f = (z - 1) / A` (`zoh`), or
 * `z = (1 + dt A / 2) / (1 - dt A / 2)`, `f = dt / (1 - dt A / 2)` (`bilinear`). One mode stands for a conjugate pair; B is 1.
 *
 * @param logDt `[H]`
 * @param logAReal `[H, N]`
 * @param aImag `[H, N]`
 * @param C complex `[H, N]`
 * @param options.length T
 * @param options.discretization `zoh` (default) or `bilinear`
 * @returns K `[H, T]`, for `fftConv`
 * @throws TypeError, RangeError for a wrong dtype, shape, length or rule
 * @see Gu et al., "On the Parameterization and Initialization of Diagonal State Space Models", section 3
 * @example
 * ```ts
 * import { fill, randomNormal, randomUniform } from '@tensorflow/tfjs-core';
 * import { fftConv, ready, s4dKernel } from 'linnet';
 *
 * await ready();
 * const u = randomNormal([1, 256, 32]);
 * const logDt = randomUniform([32], -7, -2);
 * const logAReal = fill([32, 16], Math.log(0.5));
 * const aImag = randomNormal([32, 16]);
 * const C = { re: randomNormal([32, 16]), im: randomNormal([32, 16]) };
 * const k = s4dKernel(logDt, logAReal, aImag, C, { length: 256 }); // [32, 256]
 * const y = fftConv(u, k); // [1, 256, 32]
 * ```
 */
export function s4dKernel(
  logDt: Tensor,
  logAReal: Tensor,
  aImag: Tensor,
  C: Complex,
  options: S4dKernelOptions,
): Tensor {
  checkShapes(NAME, [
    ['logDt', logDt, 'H'],
    ['logAReal', logAReal, 'H N'],
    ['aImag', aImag, 'H N'],
    ...complexParts(NAME, 'C', C, 'H N'),
  ]);
  const { length, discretization: rule = 'zoh' } = options ?? {};
  if (!Number.isInteger(length) || length < 0)
    throw new RangeError(`${NAME}: length must be a natural number; got ${length}`);
  checkRule(NAME, rule);
  return op.run({ logDt, logAReal, aImag, cRe: C.re, cIm: C.im }, { length, rule })[0];
}
