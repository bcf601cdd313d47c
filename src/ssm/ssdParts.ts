import type { Tensor } from '@tensorflow/tfjs-core';
import { defineAdditive } from '../linear/additive';
import type { Op, Shape } from '../op/define';
import { defineSsmOp } from './family';
import {
  ssdOutputsBackwardReference,
  ssdOutputsReference,
  ssdStepReference,
  ssdStepsBackwardReference,
  ssdStepsReference,
  transposeReference,
} from './ssdParts.reference';

/** Tokens of a work item, and columns that are summed over parts at a time. */
const ROWS = 64;
const BLOCK_COLUMNS = 64;

export interface StepAttrs {
  softplus: boolean;
  /** Limits of the step size, as float32 numbers. */
  low: number;
  high: number;
}

function sizesOf([B, T, H, P = 1]: Shape) {
  const rows = B * T;
  return { rows, H, P, blocks: Math.ceil(rows / ROWS), Hp: (H + 3) & ~3 };
}

type StepInput = 'dt' | 'A' | 'dtBias';

/** The step sizes, dt + dtBias through softplus and limits, and g = step A. */
export const ssdSteps = defineSsmOp<StepInput, StepAttrs>({
  name: 'ssdSteps',
  outputs: ({ dt }) => [dt!, dt!],
  kernel: ({ input: { dt, A, dtBias }, shape, output, attrs: { softplus, low, high }, launch }) => {
    const { rows, H, blocks } = sizesOf(shape.dt!);
    launch('ssdSteps', blocks, dt, A, dtBias, output[0], output[1], rows, H, softplus ? 1 : 0, low, high);
  },
  reference: ssdStepsReference,
  gradient: ({ inputs, dy, attrs }) => {
    const [dt, A, dtBias] = ssdStepsBackward.run({ ...inputs, dSteps: dy[0], dg: dy[1] }, attrs);
    return { dt, A, dtBias };
  },
});

const ssdStepsBackward = defineSsmOp<StepInput | 'dSteps' | 'dg', StepAttrs>({
  name: 'ssdStepsBackward',
  outputs: ({ dt, A, dtBias }) => [dt!, A!, dtBias ?? [0]],
  kernel: ({ input, shape, output, attrs: { softplus, low, high }, scratch, workspace, launch }) => {
    const { rows, H, blocks, Hp } = sizesOf(shape.dt!);
    const { dt, A, dtBias, dSteps, dg } = input;
    const partial = scratch(4 * blocks * 2 * H);
    const sums = scratch(4 * 2 * H);
    const work = workspace(4 * 2 * Hp);
    // biome-ignore format: one argument list per line of the entry point
    launch('ssdStepsBackward', blocks,
      dt, A, dtBias, dSteps, dg, output[0], partial, work, rows, H, softplus ? 1 : 0, low, high);
    launch('sumRows', Math.ceil((2 * H) / BLOCK_COLUMNS), partial, sums, blocks, 2 * H);
    launch('transposeMatrix', 1, sums, output[1], 1, H);
    if (dtBias) launch('transposeMatrix', 1, sums + 4 * H, output[2], 1, H);
  },
  reference: ssdStepsBackwardReference,
});

type OutputInput = 'y' | 'x' | 'D' | 'z';

/** (y + D x) silu(z), D and z where they are given. */
export const ssdOutputs = defineSsmOp<OutputInput, Record<string, never>>({
  name: 'ssdOutputs',
  outputs: ({ y }) => [y!],
  kernel: ({ input, shape, output, launch }) => {
    const { rows, H, P, blocks } = sizesOf(shape.y!);
    const { y, x, D, z } = input;
    launch('ssdOutputs', blocks, y, x, D, z, output[0], rows, H, P, shape.D?.length === 2 ? 1 : 0);
  },
  reference: ssdOutputsReference,
  gradient: ({ inputs, dy, attrs }) => {
    const [y, x, D, z] = ssdOutputsBackward.run({ ...inputs, dOutput: dy[0] }, attrs);
    return { y, x, D, z };
  },
});

const ssdOutputsBackward = defineSsmOp<OutputInput | 'dOutput', Record<string, never>>({
  name: 'ssdOutputsBackward',
  outputs: ({ y, x, D, z }) => [y!, x ?? [0], D ?? [0], z ?? [0]],
  kernel: ({ input, shape, output, scratch, launch }) => {
    const { rows, H, P, blocks } = sizesOf(shape.y!);
    const { y, x, D, z, dOutput } = input;
    const perChannel = shape.D?.length === 2;
    const size = perChannel ? H * P : H;
    const partial = D ? scratch(4 * blocks * size) : 0;
    // biome-ignore format: one argument list per line of the entry point
    launch('ssdOutputsBackward', blocks,
      y, x, D, z, dOutput, output[0], output[1], output[3], partial, rows, H, P, perChannel ? 1 : 0);
    if (D) launch('sumRows', Math.ceil(size / BLOCK_COLUMNS), partial, output[2], blocks, size);
  },
  reference: ssdOutputsBackwardReference,
});

type TokenInput = StepInput | 'x' | 'B' | 'C' | 'D' | 'z' | 'initialState';

/** All of a sequence's only token: the output and the state [B, H, P, N] after it. Without a gradient. */
export const ssdStep = defineSsmOp<TokenInput, StepAttrs>({
  name: 'ssdStep',
  outputs: ({ x, B }) => {
    const [batch, , H, P] = x!;
    return [x!, [batch, H, P, B![3]]];
  },
  kernel: ({ input, shape, output, attrs: { softplus, low, high }, launch }) => {
    const [batch, , H, P] = shape.x!;
    const [, , G, N] = shape.B!;
    const { x, dt, A, dtBias, B, C, D, z, initialState } = input;
    const perChannel = shape.D?.length === 2 ? 1 : 0;
    // biome-ignore format: one argument list per line of the entry point
    launch('ssdStep', batch * H,
      x, dt, A, dtBias, B, C, D, z, initialState, output[0], output[1], H, P, G, N, perChannel, softplus ? 1 : 0, low, high);
  },
  reference: ssdStepReference,
});

/** The last two axes exchanged. */
const transposeOp: Op<'x', Record<string, never>> = defineSsmOp<'x', Record<string, never>>({
  name: 'transposeStates',
  outputs: ({ x }) => [[...x!.slice(0, -2), x!.at(-1)!, x!.at(-2)!]],
  kernel: ({ input, shape, output, launch }) => {
    const [rows, columns] = shape.x!.slice(-2);
    const matrices = shape.x!.slice(0, -2).reduce((n, size) => n * size, 1);
    launch('transposeMatrices', matrices, input.x, output[0], rows, columns);
  },
  reference: transposeReference,
  gradient: ({ dy }) => ({ x: () => transposeStates(dy[0]) }),
});

export function transposeStates(x: Tensor): Tensor {
  return transposeOp.run({ x }, {})[0];
}

/** S_t = exp(g_t) S_(t-1) + B_t v_t^T, o_t = S_t^T C_t. */
export const ssdScan = defineAdditive('ssdScan').op;
