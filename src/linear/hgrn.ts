import type { Tensor } from '@tensorflow/tfjs-core';
import { checkShapes } from '../tensor/shape';
import type { AdditiveOptions } from './additive';
import { defineLinearOp } from './family';
import { hgrnBackwardReference, hgrnReference } from './hgrn.reference';
import { type Recurrent, recurrentResult, sequenceOffsets } from './recurrent';
import { heapOffsets } from './workspace';

export type HgrnOptions = Omit<AdditiveOptions, 'scale'>;
export type HgrnInput = 'x' | 'g' | 'initialState';

export interface HgrnAttrs {
  /** Bounds of the sequences in the flattened [B T] axis. */
  offsets: readonly number[];
  finalState: boolean;
  reverse: boolean;
}

const NAME = 'hgrn';
/** Channels of a work item: whole rows are read in the order they lie in. */
const WIDTH = 4096;

function sizesOf([, , D]: readonly number[], { offsets, reverse }: HgrnAttrs) {
  const width = Math.min(WIDTH, D);
  return {
    items: D === 0 ? 0 : (offsets.length - 1) * Math.ceil(D / width),
    bytes: 4 * ((width + 3) & ~3),
    args: [D, width, reverse ? 1 : 0] as const,
  };
}

const op = defineLinearOp<HgrnInput, HgrnAttrs>({
  name: NAME,
  outputs: ({ x }, { offsets, finalState }) => (finalState ? [x!, [offsets.length - 1, x![2]]] : [x!]),
  kernel: (call) => {
    const { input, output, shape, attrs, workspace, launch } = call;
    const { items, bytes, args } = sizesOf(shape.x!, attrs);
    const { x, g, initialState } = input;
    const offsets = heapOffsets(call, attrs.offsets);
    launch(NAME, items, x, g, initialState, output[0], output[1] ?? 0, offsets, workspace(bytes), ...args);
  },
  reference: hgrnReference,
  saveOutputs: [true],
  gradient: ({ inputs, outputs: [h], dy: [dh, dFinal], attrs }) => {
    const [x, g, initialState] = backward.run({ ...inputs, h, dh, dFinal }, attrs);
    return { x, g, initialState };
  },
});

const backward = defineLinearOp<HgrnInput | 'h' | 'dh' | 'dFinal', HgrnAttrs>({
  name: `${NAME}Backward`,
  outputs: ({ x, initialState }) => (initialState ? [x!, x!, initialState] : [x!, x!]),
  kernel: (call) => {
    const { input, output, shape, attrs, workspace, launch } = call;
    const { items, bytes, args } = sizesOf(shape.x!, attrs);
    const { g, initialState, h, dh, dFinal } = input;
    const offsets = heapOffsets(call, attrs.offsets);
    // biome-ignore format: one argument list per line of the entry point
    launch('hgrnBackward', items,
      g, initialState, h, dh, dFinal, output[0], output[1], output[2] ?? 0, offsets, workspace(bytes), ...args);
  },
  reference: hgrnBackwardReference,
});

/**
 * The recurrence of HGRN, one state per channel: `h_t = exp(g_t) h_{t-1} + x_t`. HGRN passes `x = (1 - exp(g)) i` for its
 * input i, and multiplies h by its output gate.
 *
 * @param x `[B, T, D]`
 * @param g `[B, T, D]`, log decay
 * @param options.initialState `[N, D]`, zeros by default
 * @param options.outputFinalState returns `{ output, finalState }` instead of the output alone
 * @param options.cuSeqlens bounds of sequences packed along T, with B = 1
 * @param options.reverse runs every sequence from its last token to its first; default false
 * @returns `[B, T, D]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Qin, Yang and Zhong, "Hierarchically Gated Recurrent Neural Network for Sequence Modeling", equation 3
 * @example
 * ```ts
 * import { randomNormal, randomUniform } from '@tensorflow/tfjs-core';
 * import { hgrn, ready } from 'linnet';
 *
 * await ready();
 * const x = randomNormal([1, 64, 128]);
 * const g = randomUniform([1, 64, 128], -0.1, 0);
 * const { output, finalState } = hgrn(x, g, { outputFinalState: true });
 * console.log(output.shape, finalState.shape); // [1, 64, 128] [1, 128]
 * ```
 */
export function hgrn(x: Tensor, g: Tensor, options: HgrnOptions & { outputFinalState: true }): Recurrent;
export function hgrn(x: Tensor, g: Tensor, options?: HgrnOptions): Tensor;
export function hgrn(x: Tensor, g: Tensor, options: HgrnOptions = {}): Tensor | Recurrent {
  const { initialState, outputFinalState = false, cuSeqlens, reverse = false } = options;
  const { B, T, D } = checkShapes(NAME, [
    ['x', x, 'B T D'],
    ['g', g, 'B T D'],
  ]);
  const offsets = sequenceOffsets(NAME, cuSeqlens, B, T);
  checkShapes(NAME, [['initialState?', initialState, `${offsets.length - 1} ${D}`]]);
  return recurrentResult(op.run({ x, g, initialState }, { offsets, reverse, finalState: outputFinalState }));
}
