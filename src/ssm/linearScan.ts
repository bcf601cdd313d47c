import type { Tensor } from '@tensorflow/tfjs-core';
import { type Recurrent, recurrentResult } from '../linear/recurrent';
import { checkShapes } from '../tensor/shape';
import { defineSsmOp } from './family';
import { linearScanBackwardReference, linearScanReference } from './linearScan.reference';
import { columnBlocks, type ScanAttrs, scanSizes } from './scan';

export interface LinearScanOptions {
  /** `[B, D]`, the state before the first token, or in reverse after the last; default zeros. */
  initialState?: Tensor;
  /** Whether the scan runs from the last token to the first; default false. */
  reverse?: boolean;
  /** Whether to return `{ output, finalState }` instead of the output alone. */
  outputFinalState?: boolean;
}

const NAME = 'linearScan';

const op = defineSsmOp<'a' | 'b' | 'initialState', ScanAttrs>({
  name: NAME,
  outputs: ({ b }, { finalState }) => (finalState ? [b!, [b![0], b![2]]] : [b!]),
  kernel: ({ input, shape, output: [h, final], attrs, workspace, launch }) => {
    const { items, rowBytes, sizes } = scanSizes(shape.a!, shape.b!, attrs);
    const { a, b, initialState } = input;
    launch('linearScan', items, a, b, initialState, h, final ?? 0, workspace(rowBytes), ...sizes);
  },
  reference: linearScanReference,
  saveOutputs: [true],
  gradient: ({ inputs, outputs: [h], dy: [dh, dFinal], attrs }) => {
    const [a, b, initialState] = backward.run({ ...inputs, h, dh, dFinal }, attrs);
    return { a, b, initialState };
  },
});

const backward = defineSsmOp<'a' | 'b' | 'initialState' | 'h' | 'dh' | 'dFinal', ScanAttrs>({
  name: `${NAME}Backward`,
  outputs: ({ a, b, initialState }) => (initialState ? [a!, b!, initialState] : [a!, b!]),
  kernel: ({ input, shape, output: [da, db, dInitial], attrs, scratch, workspace, launch }) => {
    const { B, D, shared, items, rowBytes, sizes } = scanSizes(shape.a!, shape.b!, attrs);
    const { a, initialState, h, dh, dFinal } = input;
    const rows = shared ? scratch(4 * B * D) : da;
    // biome-ignore format: one argument list per line of the entry point
    launch('linearScanBackward', items,
      a, initialState, h, dh, dFinal, rows, db, dInitial ?? 0, workspace(3 * rowBytes), ...sizes);
    if (shared) launch('sumRows', columnBlocks(D), rows, da, B, D);
  },
  reference: linearScanBackwardReference,
});

/**
 * First-order linear recurrence per channel, `h_t = a_t h_{t-1} + b_t`: the scan under diagonal state-space models and
 * gated linear RNNs.
 *
 * @param a `[B, T, D]`, or `[D]` for a decay that does not change
 * @param b `[B, T, D]`
 * @param options.initialState `[B, D]`, zeros by default
 * @param options.reverse from the last token to the first, `h_t = a_t h_{t+1} + b_t`
 * @param options.outputFinalState returns `{ output, finalState }`, `finalState` `[B, D]`
 * @returns h `[B, T, D]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Blelloch, "Prefix Sums and Their Applications", section 1.4; Martin and Cundy, "Parallelizing Linear Recurrent
 * Neural Nets Over Sequence Length", equation 3
 * @example
 * ```ts
 * import { randomNormal, randomUniform } from '@tensorflow/tfjs-core';
 * import { linearScan, ready } from 'linnet';
 *
 * await ready();
 * const a = randomUniform([1, 64, 32]);
 * const b = randomNormal([1, 64, 32]);
 * const h = linearScan(a, b); // [1, 64, 32]
 * ```
 */
export function linearScan(
  a: Tensor,
  b: Tensor,
  options: LinearScanOptions & { outputFinalState: true },
): Recurrent;
export function linearScan(a: Tensor, b: Tensor, options?: LinearScanOptions): Tensor;
export function linearScan(a: Tensor, b: Tensor, options: LinearScanOptions = {}): Tensor | Recurrent {
  const { initialState, reverse = false, outputFinalState = false } = options;
  checkShapes(NAME, [
    ['b', b, 'B T D'],
    ['a', a, a?.shape?.length === 1 ? 'D' : 'B T D'],
    ['initialState?', initialState, 'B D'],
  ]);
  return recurrentResult(op.run({ a, b, initialState }, { reverse, finalState: outputFinalState }));
}
