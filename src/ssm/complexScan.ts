import { checkShapes } from '../tensor/shape';
import { type Complex, complexParts } from './complex';
import { complexScanBackwardReference, complexScanReference } from './complexScan.reference';
import { defineSsmOp } from './family';
import { columnBlocks, type ScanAttrs, scanSizes } from './scan';

export interface ComplexScanOptions {
  /** `[B, D]`, the state before the first token, or in reverse after the last; default zeros. */
  initialState?: Complex;
  /** Whether the scan runs from the last token to the first; default false. */
  reverse?: boolean;
  /** Whether to return `{ output, finalState }` instead of the output alone. */
  outputFinalState?: boolean;
}

export interface ComplexRecurrent {
  /** `[B, T, D]` */
  output: Complex;
  /** `[B, D]` */
  finalState: Complex;
}

const NAME = 'complexScan';
type Input = 'aRe' | 'aIm' | 'bRe' | 'bIm' | 'initialRe' | 'initialIm';

const op = defineSsmOp<Input, ScanAttrs>({
  name: NAME,
  outputs: ({ bRe }, { finalState }) => {
    const [B, , D] = bRe!;
    return finalState ? [bRe!, bRe!, [B, D], [B, D]] : [bRe!, bRe!];
  },
  kernel: ({ input, shape, output: [hRe, hIm, finalRe, finalIm], attrs, workspace, launch }) => {
    const { items, rowBytes, sizes } = scanSizes(shape.aRe!, shape.bRe!, attrs);
    const { aRe, aIm, bRe, bIm, initialRe, initialIm } = input;
    // biome-ignore format: one argument list per line of the entry point
    launch('complexScan', items,
      aRe, aIm, bRe, bIm, initialRe, initialIm, hRe, hIm, finalRe ?? 0, finalIm ?? 0, workspace(rowBytes), ...sizes);
  },
  reference: complexScanReference,
  saveOutputs: [true, true],
  gradient: ({ inputs, outputs: [hRe, hIm], dy: [dhRe, dhIm, dFinalRe, dFinalIm], attrs }) => {
    const results = backward.run({ ...inputs, hRe, hIm, dhRe, dhIm, dFinalRe, dFinalIm }, attrs);
    const [aRe, aIm, bRe, bIm, initialRe, initialIm] = results;
    return { aRe, aIm, bRe, bIm, initialRe, initialIm };
  },
});

const backward = defineSsmOp<Input | 'hRe' | 'hIm' | 'dhRe' | 'dhIm' | 'dFinalRe' | 'dFinalIm', ScanAttrs>({
  name: `${NAME}Backward`,
  outputs: ({ aRe, bRe, initialRe }) => {
    const inputs = [aRe!, aRe!, bRe!, bRe!];
    return initialRe ? [...inputs, initialRe, initialRe] : inputs;
  },
  kernel: ({ input, shape, output, attrs, scratch, workspace, launch }) => {
    const { B, D, shared, items, rowBytes, sizes } = scanSizes(shape.aRe!, shape.bRe!, attrs);
    const { aRe, aIm, initialRe, initialIm, hRe, hIm, dhRe, dhIm, dFinalRe, dFinalIm } = input;
    const [daRe, daIm, dbRe, dbIm, dInitialRe = 0, dInitialIm = 0] = output;
    const [rowsRe, rowsIm] = shared ? [scratch(4 * B * D), scratch(4 * B * D)] : [daRe, daIm];
    // biome-ignore format: one argument list per line of the entry point
    launch('complexScanBackward', items,
      aRe, aIm, initialRe, initialIm, hRe, hIm, dhRe, dhIm, dFinalRe, dFinalIm,
      rowsRe, rowsIm, dbRe, dbIm, dInitialRe, dInitialIm, workspace(5 * rowBytes), ...sizes);
    if (!shared) return;
    launch('sumRows', columnBlocks(D), rowsRe, daRe, B, D);
    launch('sumRows', columnBlocks(D), rowsIm, daIm, B, D);
  },
  reference: complexScanBackwardReference,
});

/**
 * `linearScan` on complex numbers, `h_t = a_t h_{t-1} + b_t`: the state of diagonal state-space models whose eigenvalues
 * come in conjugate pairs. A complex tensor is two real ones, `{ re, im }`; gradients are those of the two parts.
 *
 * @param a `[B, T, D]`, or `[D]` for eigenvalues that do not change
 * @param b `[B, T, D]`
 * @param options.initialState `[B, D]`, zeros by default
 * @param options.reverse from the last token to the first, `h_t = a_t h_{t+1} + b_t`
 * @param options.outputFinalState returns `{ output, finalState }`, `finalState` `[B, D]`
 * @returns h `[B, T, D]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Orvieto et al., "Resurrecting Recurrent Neural Networks for Long Sequences", section 3.2
 * @example
 * ```ts
 * import { randomNormal, randomUniform, zeros } from '@tensorflow/tfjs-core';
 * import { complexScan, ready } from 'linnet';
 *
 * await ready();
 * const a = { re: randomUniform([32]), im: zeros([32]) };
 * const b = { re: randomNormal([1, 64, 32]), im: randomNormal([1, 64, 32]) };
 * const { re, im } = complexScan(a, b); // re [1, 64, 32], im [1, 64, 32]
 * ```
 */
export function complexScan(
  a: Complex,
  b: Complex,
  options: ComplexScanOptions & { outputFinalState: true },
): ComplexRecurrent;
export function complexScan(a: Complex, b: Complex, options?: ComplexScanOptions): Complex;
export function complexScan(
  a: Complex,
  b: Complex,
  options: ComplexScanOptions = {},
): Complex | ComplexRecurrent {
  const { initialState, reverse = false, outputFinalState = false } = options;
  checkShapes(NAME, [
    ...complexParts(NAME, 'b', b, 'B T D'),
    ...complexParts(NAME, 'a', a, a?.re?.shape?.length === 1 ? 'D' : 'B T D'),
    ...complexParts(NAME, 'initialState?', initialState, 'B D'),
  ]);
  const [re, im, finalRe, finalIm] = op.run(
    {
      aRe: a.re,
      aIm: a.im,
      bRe: b.re,
      bIm: b.im,
      initialRe: initialState?.re,
      initialIm: initialState?.im,
    },
    { reverse, finalState: outputFinalState },
  );
  return outputFinalState ? { output: { re, im }, finalState: { re: finalRe, im: finalIm } } : { re, im };
}
