import type { Tensor } from '@tensorflow/tfjs-core';
import { routerLogits } from '../moe/routerLogits';
import type { KernelCall, NdArray, Op, Shape } from '../op/define';
import { checkShapes } from '../tensor/shape';
import { type Complex, complexParts } from './complex';
import { type ComplexRecurrent, complexScan } from './complexScan';
import { defineSsmOp } from './family';
import {
  type LruParameter,
  lruModesBackwardReference,
  lruModesReference,
  readOutBackwardReference,
  readOutReference,
  type S5Parameter,
  s5ModesBackwardReference,
  s5ModesReference,
  scaleBackwardReference,
  scaleReference,
} from './modal.reference';
import type { ModeRule } from './modes';
import { columnBlocks } from './scan';

export interface ModalOptions {
  /** Complex `[B, N]`, the state before the first token, or in reverse after the last; default zeros. */
  initialState?: Complex;
  /** Whether the scan runs from the last token to the first; default false. */
  reverse?: boolean;
  /** Whether to return `{ output, finalState }` instead of the output alone. */
  outputFinalState?: boolean;
}

export interface ModalRecurrent {
  /** `[B, T, D]` */
  output: Tensor;
  /** `[B, N]` */
  finalState: Complex;
}

/** Rows of a work item, as in the kernels. */
const BLOCK = 64;
const rowsOf = (shape: Shape) => shape.slice(0, -1).reduce((n, d) => n * d, 1);

/** Few numbers, made in float64: the reference run on the heap. */
function onHeap<I extends string, A>(
  reference: (inputs: { readonly [name in I]?: NdArray }, attrs: A) => Float64Array[],
) {
  return ({ input, shape, output, attrs, buffer }: KernelCall<I, A, never>) => {
    const arrays = Object.fromEntries(
      (Object.keys(shape) as I[]).map((name) => {
        const size = shape[name]!.reduce((n, d) => n * d, 1);
        return [
          name,
          { data: Float64Array.from(new Float32Array(buffer(), input[name], size)), shape: shape[name] },
        ];
      }),
    ) as { [name in I]: NdArray };
    reference(arrays, attrs).forEach((values, i) => {
      new Float32Array(buffer(), output[i], values.length).set(values);
    });
  };
}

type Modes = 'zRe' | 'zIm' | 'fRe' | 'fIm';

/** The eigenvalues z and the factors f of the input of a sampled system, from its parameters `[N]`. */
function defineModes<I extends string, A>(
  name: string,
  parameters: readonly I[],
  reference: (inputs: { readonly [name in I]?: NdArray }, attrs: A) => Float64Array[],
  backwardReference: (inputs: { readonly [name in I | `d${Modes}`]?: NdArray }, attrs: A) => Float64Array[],
): Op<I, A> {
  const backward = defineSsmOp<I | `d${Modes}`, A>({
    name: `${name}Backward`,
    outputs: (shape) => parameters.map((parameter) => shape[parameter]!),
    kernel: onHeap(backwardReference),
    reference: backwardReference,
  });
  return defineSsmOp<I, A>({
    name,
    outputs: (shape) => Array.from({ length: 4 }, () => shape[parameters[0]]!),
    kernel: onHeap(reference),
    reference,
    gradient: ({ inputs, dy: [dzRe, dzIm, dfRe, dfIm], attrs }) => {
      const results = backward.run({ ...inputs, dzRe, dzIm, dfRe, dfIm } as never, attrs);
      return Object.fromEntries(parameters.map((parameter, i) => [parameter, results[i]])) as {
        [name in I]?: Tensor;
      };
    },
  });
}

export const lruModes = defineModes<LruParameter, undefined>(
  'lruModes',
  ['nuLog', 'thetaLog', 'gammaLog'],
  lruModesReference,
  lruModesBackwardReference,
);
export const s5Modes = defineModes<S5Parameter, { rule: ModeRule }>(
  's5Modes',
  ['lambdaRe', 'lambdaIm', 'logStep'],
  s5ModesReference,
  s5ModesBackwardReference,
);

type Scale = 'xRe' | 'xIm' | 'fRe' | 'fIm';

const scale = defineSsmOp<Scale, undefined>({
  name: 'complexScale',
  outputs: ({ xRe }) => [xRe!, xRe!],
  kernel: ({ input: { xRe, xIm, fRe, fIm }, shape, output: [yRe, yIm], launch }) => {
    const [rows, N] = [rowsOf(shape.xRe!), shape.fRe![0]];
    const blocks = Math.ceil(rows / BLOCK);
    launch('scaleColumns', blocks, xRe, fRe, xIm, fIm, -1, yRe, rows, N);
    launch('scaleColumns', blocks, xRe, fIm, xIm, fRe, 1, yIm, rows, N);
  },
  reference: scaleReference,
  gradient: ({ inputs, dy: [dyRe, dyIm] }) => {
    const [xRe, xIm, fRe, fIm] = scaleBackward.run({ ...inputs, dyRe, dyIm }, undefined);
    return { xRe, xIm, fRe, fIm };
  },
});

const scaleBackward = defineSsmOp<Scale | 'dyRe' | 'dyIm', undefined>({
  name: 'complexScaleBackward',
  outputs: ({ xRe, fRe }) => [xRe!, xRe!, fRe!, fRe!],
  kernel: ({ input: { xRe, xIm, fRe, fIm, dyRe, dyIm }, shape, output, launch }) => {
    const [rows, N] = [rowsOf(shape.xRe!), shape.fRe![0]];
    const [dxRe, dxIm, dfRe, dfIm] = output;
    const blocks = Math.ceil(rows / BLOCK);
    launch('scaleColumns', blocks, dyRe, fRe, dyIm, fIm, 1, dxRe, rows, N);
    launch('scaleColumns', blocks, dyIm, fRe, dyRe, fIm, -1, dxIm, rows, N);
    launch('columnProducts', columnBlocks(N), xRe, dyRe, xIm, dyIm, 1, dfRe, rows, N);
    launch('columnProducts', columnBlocks(N), xRe, dyIm, xIm, dyRe, -1, dfIm, rows, N);
  },
  reference: scaleBackwardReference,
});

type ReadOut = 'a' | 'b' | 'u' | 'D';

const readOut = defineSsmOp<ReadOut, { scale: number }>({
  name: 'modalReadOut',
  outputs: ({ u }) => [u!],
  kernel: ({ input: { a, b, u, D }, shape, output, attrs, launch }) => {
    const rows = rowsOf(shape.u!);
    launch('readOut', Math.ceil(rows / BLOCK), a, b, u, D, attrs.scale, output[0], rows, shape.D![0]);
  },
  reference: readOutReference,
  gradient: ({ inputs: { u, D: skip }, dy, attrs }) => {
    const [a, b, du, D] = readOutBackward.run({ u, D: skip, dy: dy[0] }, attrs);
    return { a, b, u: du, D };
  },
});

const readOutBackward = defineSsmOp<'u' | 'D' | 'dy', { scale: number }>({
  name: 'modalReadOutBackward',
  outputs: ({ u, D }) => [u!, u!, u!, D!],
  kernel: ({ input: { u, D, dy }, shape, output: [da, db, du, dD], attrs, launch }) => {
    const [rows, size] = [rowsOf(shape.u!), shape.D![0]];
    launch('readOutBackward', Math.ceil(rows / BLOCK), dy, D, attrs.scale, da, db, du, rows, size);
    launch('columnProducts', columnBlocks(size), dy, u, 0, 0, 1, dD, rows, size);
  },
  reference: readOutBackwardReference,
});

/** Checks what the layers on complex modes share. */
export function checkModal(
  op: string,
  u: Tensor,
  parameters: readonly (readonly [name: string, tensor: Tensor])[],
  B: Complex,
  C: Complex,
  D: Tensor,
  { initialState }: ModalOptions,
): void {
  checkShapes<string>(op, [
    ['u', u, 'B T D'],
    ...parameters.map(([name, tensor]) => [name, tensor, 'N'] as const),
    ...complexParts(op, 'B', B, 'N D'),
    ...complexParts(op, 'C', C, 'D N'),
    ['D', D, 'D'],
    ...complexParts(op, 'initialState?', initialState, 'B N'),
  ]);
}

/** h_t = z h_(t-1) + f (B u_t), o_t = scale Re(C h_t) + D u_t */
export function modalLayer(
  u: Tensor,
  [zRe, zIm, fRe, fIm]: readonly Tensor[],
  B: Complex,
  C: Complex,
  D: Tensor,
  factor: number,
  { initialState, reverse = false, outputFinalState = false }: ModalOptions,
): Tensor | ModalRecurrent {
  const [xRe, xIm] = [routerLogits(u, B.re), routerLogits(u, B.im)];
  const [re, im] = scale.run({ xRe, xIm, fRe, fIm }, undefined);
  const states = complexScan(
    { re: zRe, im: zIm },
    { re, im },
    { initialState, reverse, outputFinalState: outputFinalState as true },
  ) as ComplexRecurrent | Complex;
  const h = 'output' in states ? states.output : states;
  const [output] = readOut.run(
    { a: routerLogits(h.re, C.re), b: routerLogits(h.im, C.im), u, D },
    { scale: factor },
  );
  return 'output' in states ? { output, finalState: states.finalState } : output;
}
