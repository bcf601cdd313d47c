import type { Tensor } from '@tensorflow/tfjs-core';
import type { Shape } from '../op/define';
import { type Integers, integers, isTensor } from '../tensor/integers';
import { checkShapes } from '../tensor/shape';
import { causalConv1dBackwardReference, causalConv1dReference } from './causalConv1d.reference';
import { defineSsmOp } from './family';

export type ConvActivation = 'silu' | 'swish' | 'none';

export interface CausalConv1dUpdateOptions {
  /** `[D]`, added before the activation. */
  bias?: Tensor;
  /** `'silu'`, `'swish'` (the same) or `'none'`, the default. */
  activation?: ConvActivation;
}

export interface CausalConv1dOptions extends CausalConv1dUpdateOptions {
  /** `[B, D, W - 1]`, the tokens before the first one, oldest first; default zeros. */
  initialState?: Tensor;
  /** Whether to return `{ output, finalState }` instead of the output alone. */
  outputFinalState?: boolean;
  /**
   * `[B, T]` int32, the sequence each token belongs to: only tokens of the same one meet, and tokens of a negative one
   * give zeros. Not together with states.
   */
  seqIdx?: Integers;
}

export interface CausalConv1dResult {
  /** `[B, T, D]` */
  output: Tensor;
  /** `[B, D, W - 1]`, the last tokens, oldest first. */
  finalState: Tensor;
}

export interface CausalConv1dUpdateResult {
  /** `[B, D]` */
  output: Tensor;
  /** `[B, D, W - 1]` */
  state: Tensor;
}

export interface CausalConv1dAttrs {
  silu: boolean;
  finalState: boolean;
  /** The sequence of each token of the flattened [B T] axis; undefined if all tokens of a batch entry are of one. */
  sequences: readonly number[] | undefined;
}

type Input = 'x' | 'weight' | 'bias' | 'initialState';
const INPUTS: Input[] = ['x', 'weight', 'bias', 'initialState'];
const NAME = 'causalConv1d';
const UPDATE = 'causalConv1dUpdate';
/** Tokens and channels of a work item, as the kernels have them. */
const ROWS = 64;
const CHANNELS = 512;
const BLOCK_COLUMNS = 64;

/** x is [B, T, D], or [B, D] for one token. */
export function convSizes(x: Shape, weight: Shape) {
  const [B, D] = [x[0], x.at(-1)!];
  return { B, T: x.length === 3 ? x[1] : 1, D, W: weight[1] };
}

function heapIntegers(values: readonly number[] | undefined, pointer: number, buffer: ArrayBufferLike): void {
  if (values !== undefined) new Int32Array(buffer, pointer, values.length).set(values);
}

const op = defineSsmOp<Input, CausalConv1dAttrs>({
  name: NAME,
  outputs: ({ x, weight }, { finalState }) => {
    const { B, D, W } = convSizes(x!, weight!);
    return finalState ? [x!, [B, D, W - 1]] : [x!];
  },
  kernel: ({ input, shape, output, attrs, scratch, buffer, launch }) => {
    const { B, T, D, W } = convSizes(shape.x!, shape.weight!);
    const { x, weight, bias, initialState } = input;
    const silu = attrs.silu ? 1 : 0;
    if (T === 1 && attrs.finalState && attrs.sequences === undefined) {
      launch('causalConv1dToken', B, x, weight, bias, initialState, output[0], output[1], D, W, silu);
      return;
    }
    const table = scratch(4 * W * D);
    const sequences = attrs.sequences ? scratch(4 * B * T) : 0;
    heapIntegers(attrs.sequences, sequences, buffer());
    launch('transposeMatrix', W, weight, table, W, D);
    // biome-ignore format: one argument list per line of the entry point
    launch('causalConv1d', B * Math.ceil(T / ROWS),
      x, table, bias, initialState, sequences, output[0], T, D, W, silu);
    if (attrs.finalState) launch('causalConv1dState', B, x, initialState, output[1], T, D, W);
  },
  reference: causalConv1dReference,
  gradient: ({ inputs, dy, attrs }) => {
    const gradients = backward.run({ ...inputs, dOutput: dy[0], dFinal: dy[1] }, attrs);
    return Object.fromEntries(INPUTS.map((input, i) => [input, gradients[i]]));
  },
});

/** The gradients of x, weight, bias and initialState; empty ones for what is absent. */
const backward = defineSsmOp<Input | 'dOutput' | 'dFinal', CausalConv1dAttrs>({
  name: `${NAME}Backward`,
  outputs: (shapes) => INPUTS.map((input) => shapes[input] ?? [0]),
  kernel: ({ input, shape, output, attrs, scratch, workspace, buffer, launch }) => {
    const { B, T, D, W } = convSizes(shape.x!, shape.weight!);
    const { x, weight, bias, initialState, dOutput, dFinal } = input;
    const [dx, dweight, dbias, dstate] = output;
    const parts = B * Math.max(1, Math.ceil(T / ROWS));
    const size = (W + 1) * D;
    const table = scratch(4 * W * D);
    const partial = scratch(4 * parts * size);
    const sums = scratch(4 * size);
    const sequences = attrs.sequences ? scratch(4 * B * T) : 0;
    heapIntegers(attrs.sequences, sequences, buffer());
    const work = workspace(4 * (ROWS + W - 1) * CHANNELS);
    launch('transposeMatrix', W, weight, table, W, D);
    // biome-ignore format: one argument list per line of the entry point
    launch('causalConv1dBackward', parts * Math.ceil(D / CHANNELS),
      x, table, bias, initialState, sequences, dOutput, attrs.finalState ? dFinal : 0,
      dx, initialState ? dstate : 0, partial, work, T, D, W, attrs.silu ? 1 : 0);
    launch('sumRows', Math.ceil(size / BLOCK_COLUMNS), partial, sums, parts, size);
    launch('transposeMatrix', D, sums, dweight, D, W);
    if (bias) launch('transposeMatrix', 1, sums + 4 * W * D, dbias, 1, D);
  },
  reference: causalConv1dBackwardReference,
});

function isSilu(name: string, activation: ConvActivation | undefined): boolean {
  if (![undefined, 'none', 'silu', 'swish'].includes(activation)) {
    throw new RangeError(`${name}: activation must be 'silu', 'swish' or 'none'; got ${activation}`);
  }
  return activation === 'silu' || activation === 'swish';
}

function sequencesOf(seqIdx: Integers | undefined, B: number, T: number, states: boolean) {
  if (seqIdx === undefined) return undefined;
  if (states)
    throw new RangeError(`${NAME}: seqIdx cannot be combined with initialState or outputFinalState`);
  const values = integers(NAME, 'seqIdx', seqIdx, `${B} ${T}`);
  if (!isTensor(seqIdx) && values.length !== B * T) {
    throw new RangeError(`${NAME}: seqIdx has ${values.length} values; expected B T = ${B * T}`);
  }
  return values;
}

function checkWidth(name: string, W: number): void {
  if (W < 1) throw new RangeError(`${name}: weight has width W = 0; expected at least 1`);
}

/**
 * Causal depthwise convolution, the short convolution before Mamba's scan and in many linear attentions:
 * `y_t = activation(bias + sum_{k < W} weight[:, k] x_{t - W + 1 + k})`, so that `weight[:, W - 1]` meets the token itself.
 *
 * @param x `[B, T, D]`
 * @param weight `[D, W]`
 * @returns `[B, T, D]`, or `{ output, finalState }` with `outputFinalState: true`
 * @throws TypeError, RangeError for a wrong dtype, shape or activation, or for seqIdx together with states
 * @see Gu and Dao, "Mamba", section 3.4; `causal_conv1d_fn` of Dao-AILab/causal-conv1d
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { causalConv1d, ready } from 'linnet';
 *
 * await ready();
 * const x = randomNormal([1, 64, 32]);
 * const weight = randomNormal([32, 4]);
 * const bias = randomNormal([32]);
 * const output = causalConv1d(x, weight, { bias, activation: 'silu' }); // [1, 64, 32]
 * ```
 */
export function causalConv1d(
  x: Tensor,
  weight: Tensor,
  options: CausalConv1dOptions & { outputFinalState: true },
): CausalConv1dResult;
export function causalConv1d(x: Tensor, weight: Tensor, options?: CausalConv1dOptions): Tensor;
export function causalConv1d(
  x: Tensor,
  weight: Tensor,
  options: CausalConv1dOptions = {},
): Tensor | CausalConv1dResult {
  const { bias, activation, initialState, outputFinalState = false, seqIdx } = options;
  const { B, T, D, W } = checkShapes(NAME, [
    ['x', x, 'B T D'],
    ['weight', weight, 'D W'],
    ['bias?', bias, 'D'],
  ]);
  checkWidth(NAME, W);
  checkShapes(NAME, [['initialState?', initialState, `${B} ${D} ${W - 1}`]]);
  const silu = isSilu(NAME, activation);
  const sequences = sequencesOf(seqIdx, B, T, outputFinalState || initialState !== undefined);
  const [output, finalState] = op.run(
    { x, weight, bias, initialState },
    { silu, finalState: outputFinalState, sequences },
  );
  return outputFinalState ? { output, finalState } : output;
}

/**
 * `causalConv1d` for one more token, `y = activation(bias + sum_{k < W} weight[:, k] x_{k - W + 1})` over it and the W - 1
 * tokens before: its output and the state after it, which is a new tensor.
 *
 * @param x `[B, D]`
 * @param state `[B, D, W - 1]`, the tokens before it, oldest first
 * @param weight `[D, W]`
 * @returns `{ output, state }`, output `[B, D]` and state `[B, D, W - 1]`
 * @throws TypeError, RangeError for a wrong dtype, shape or activation
 * @see `causal_conv1d_update` of Dao-AILab/causal-conv1d, which writes the state in place
 * @example
 * ```ts
 * import { randomNormal, zeros } from '@tensorflow/tfjs-core';
 * import { causalConv1dUpdate, ready } from 'linnet';
 *
 * await ready();
 * const x = randomNormal([1, 32]);
 * const before = zeros([1, 32, 3]);
 * const weight = randomNormal([32, 4]);
 * const { output, state } = causalConv1dUpdate(x, before, weight); // output [1, 32], state [1, 32, 3]
 * ```
 */
export function causalConv1dUpdate(
  x: Tensor,
  state: Tensor,
  weight: Tensor,
  options: CausalConv1dUpdateOptions = {},
): CausalConv1dUpdateResult {
  const { bias, activation } = options;
  const { B, D, W } = checkShapes(UPDATE, [
    ['x', x, 'B D'],
    ['weight', weight, 'D W'],
    ['bias?', bias, 'D'],
  ]);
  checkWidth(UPDATE, W);
  checkShapes(UPDATE, [['state', state, `${B} ${D} ${W - 1}`]]);
  const attrs = { silu: isSilu(UPDATE, activation), finalState: true, sequences: undefined };
  const [output, next] = op.run({ x, weight, bias, initialState: state }, attrs);
  return { output, state: next };
}
