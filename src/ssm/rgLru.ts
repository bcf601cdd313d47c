import type { Tensor } from '@tensorflow/tfjs-core';
import type { Recurrent } from '../linear/recurrent';
import type { Shape } from '../op/define';
import { tidied } from '../op/tidied';
import { checkFinite, checkShapes } from '../tensor/shape';
import { defineSsmOp } from './family';
import { linearScan } from './linearScan';
import { rgLruGatesBackwardReference, rgLruGatesReference } from './rgLru.reference';
import { columnBlocks } from './scan';

export interface RgLruOptions {
  /** int32 `[B, T]`, not 0 where a sequence begins: the state before is forgotten. */
  reset?: Tensor;
  /** `[B, W]`, the state before the first token; default zeros. */
  initialState?: Tensor;
  /** Whether to return `{ output, finalState }` instead of the output alone. */
  outputFinalState?: boolean;
  /** Multiplies the log decay; default 8. */
  c?: number;
}
export interface RgLruAttrs {
  c: number;
}

const NAME = 'rgLru';
/** Tokens of a work item, as in the kernel. */
const BLOCK = 32;
type Parameter =
  | 'recurrentParam'
  | 'inputGateWeight'
  | 'inputGateBias'
  | 'recurrentGateWeight'
  | 'recurrentGateBias';
type Input = 'x' | Parameter;
type Shapes = { readonly [name in Input]?: Shape };

function sizesOf({ x, inputGateBias }: Shapes, { c }: RgLruAttrs) {
  const [B, T, W] = x!;
  const [H, d] = inputGateBias!;
  const rows = B * T;
  return {
    rows,
    W,
    H,
    d,
    items: H * Math.ceil(rows / BLOCK),
    rowBytes: 4 * ((d + 3) & ~3),
    sizes: [rows, H, d, c] as const,
  };
}

/** The decay and the input of the scan; the gates i and r are kept for the gradient. */
const gates = defineSsmOp<Input | 'reset', RgLruAttrs>({
  name: `${NAME}Gates`,
  outputs: ({ x }) => [x!, x!],
  kept: ({ x }) => [x!, x!],
  kernel: ({ input, shape, output: [a, b], kept: [i, r], attrs, workspace, launch }) => {
    const { items, rowBytes, sizes } = sizesOf(shape, attrs);
    const { x, reset, recurrentParam: p } = input;
    const { inputGateWeight: wi, inputGateBias: bi, recurrentGateWeight: wr, recurrentGateBias: br } = input;
    // biome-ignore format: one argument list per line of the entry point
    launch('rgLruGates', items,
      x, p, wi, bi, wr, br, reset, a, b, i ?? 0, r ?? 0, workspace((2 * BLOCK + 1) * rowBytes), ...sizes);
  },
  reference: rgLruGatesReference,
  gradient: ({ inputs, kept: [i, r], dy: [da, db], attrs }) => {
    const [x, recurrentParam, inputGateWeight, inputGateBias, recurrentGateWeight, recurrentGateBias] =
      backward.run({ ...inputs, i, r, da, db }, attrs);
    return {
      x,
      recurrentParam,
      inputGateWeight,
      inputGateBias,
      recurrentGateWeight,
      recurrentGateBias,
    };
  },
});

const backward = defineSsmOp<Input | 'reset' | 'i' | 'r' | 'da' | 'db', RgLruAttrs>({
  name: `${NAME}GatesBackward`,
  outputs: ({ x, recurrentParam, inputGateWeight, inputGateBias }) => [
    x!,
    recurrentParam!,
    inputGateWeight!,
    inputGateBias!,
    inputGateWeight!,
    inputGateBias!,
  ],
  kernel: ({ input, shape, output: [dx, dp, dwi, dbi, dwr, dbr], attrs, scratch, workspace, launch }) => {
    const { rows, W, H, d, items, rowBytes, sizes } = sizesOf(shape, attrs);
    const { x, reset, recurrentParam: p, inputGateWeight: wi, recurrentGateWeight: wr, i, r, da, db } = input;
    const [wiT, wrT] = [scratch(4 * W * d), scratch(4 * W * d)];
    const [dzi, dzr, dps] = [scratch(4 * rows * W), scratch(4 * rows * W), scratch(4 * rows * W)];
    launch('transposeHeads', H, wi, wiT, d);
    launch('transposeHeads', H, wr, wrT, d);
    // biome-ignore format: one argument list per line of the entry point
    launch('rgLruGatesBackward', items,
      x, p, i, r, reset, da, db, wiT, wrT, dx, dzi, dzr, dps, workspace(2 * rowBytes), ...sizes);
    launch('headProducts', H, x, dzi, dwi, rows, H, d);
    launch('headProducts', H, x, dzr, dwr, rows, H, d);
    launch('sumRows', columnBlocks(W), dzi, dbi, rows, W);
    launch('sumRows', columnBlocks(W), dzr, dbr, rows, W);
    launch('sumRows', columnBlocks(W), dps, dp, rows, W);
  },
  reference: rgLruGatesBackwardReference,
});

/**
 * Real-gated linear recurrent unit of Griffin and RecurrentGemma. With `r_t = sigmoid(x_t Wr + br)` and
 * `i_t = sigmoid(x_t Wi + bi)`, block-diagonal over H heads,
 * `a_t = exp(-c softplus(recurrentParam) r_t)`, `h_t = a_t h_{t-1} + sqrt(1 - a_t^2) i_t x_t`.
 *
 * @param x `[B, T, W]`, W = H d
 * @param recurrentParam `[W]`, before its softplus
 * @param inputGateWeight Wi `[H, d, d]`, from its second axis to its third
 * @param inputGateBias bi `[H, d]`
 * @param recurrentGateWeight Wr `[H, d, d]`
 * @param recurrentGateBias br `[H, d]`
 * @param options.reset int32 `[B, T]`: where it is not 0, a sequence begins, `h_t = i_t x_t`
 * @param options.initialState `[B, W]`, zeros by default
 * @param options.outputFinalState returns `{ output, finalState }`, `finalState` `[B, W]`
 * @param options.c default 8
 * @returns h `[B, T, W]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see De et al., "Griffin: Mixing Gated Linear Recurrences with Local Attention", equations 1 to 4
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { ready, rgLru } from 'linnet';
 *
 * await ready();
 * const x = randomNormal([1, 64, 32]);
 * const recurrentParam = randomNormal([32]);
 * const Wi = randomNormal([2, 16, 16]);
 * const bi = randomNormal([2, 16]);
 * const Wr = randomNormal([2, 16, 16]);
 * const br = randomNormal([2, 16]);
 * const h = rgLru(x, recurrentParam, Wi, bi, Wr, br); // [1, 64, 32]
 * ```
 */
export function rgLru(
  x: Tensor,
  recurrentParam: Tensor,
  inputGateWeight: Tensor,
  inputGateBias: Tensor,
  recurrentGateWeight: Tensor,
  recurrentGateBias: Tensor,
  options: RgLruOptions & { outputFinalState: true },
): Recurrent;
export function rgLru(
  x: Tensor,
  recurrentParam: Tensor,
  inputGateWeight: Tensor,
  inputGateBias: Tensor,
  recurrentGateWeight: Tensor,
  recurrentGateBias: Tensor,
  options?: RgLruOptions,
): Tensor;
export function rgLru(
  x: Tensor,
  recurrentParam: Tensor,
  inputGateWeight: Tensor,
  inputGateBias: Tensor,
  recurrentGateWeight: Tensor,
  recurrentGateBias: Tensor,
  options: RgLruOptions = {},
): Tensor | Recurrent {
  const { reset, initialState, outputFinalState = false, c = 8 } = options;
  const { W, H, d } = checkShapes(NAME, [
    ['x', x, 'B T W'],
    ['recurrentParam', recurrentParam, 'W'],
    ['inputGateBias', inputGateBias, 'H d'],
    ['inputGateWeight', inputGateWeight, 'H d d'],
    ['recurrentGateWeight', recurrentGateWeight, 'H d d'],
    ['recurrentGateBias', recurrentGateBias, 'H d'],
    ['reset?', reset, 'B T', 'int32'],
    ['initialState?', initialState, 'B W'],
  ]);
  if (W !== H * d) {
    throw new RangeError(`${NAME}: x has W = ${W} channels; expected H d = ${H * d} (from inputGateBias)`);
  }
  checkFinite(NAME, 'c', c);
  return tidied(() => {
    const [a, b] = gates.run(
      {
        x,
        recurrentParam,
        inputGateWeight,
        inputGateBias,
        recurrentGateWeight,
        recurrentGateBias,
        reset,
      },
      { c },
    );
    return linearScan(a, b, { initialState, outputFinalState: outputFinalState as true });
  });
}
