import type { Tensor } from '@tensorflow/tfjs-core';
import type { MoeKernels } from '../generated/moe';
import type { KernelCall } from '../op/define';
import { checkObject, checkShapes } from '../tensor/shape';
import { defineMoeOp } from './family';
import { groupedMatMulBackwardReference, groupedMatMulReference } from './groupedMatMul.reference';
import { blocksOfSizes, offsetsOf, upload } from './plan';

export interface GroupedMatMulOptions {
  /** Weights are `[E, F, D]`, as linear layers store them, instead of `[E, D, F]`; default false. */
  transposeWeights?: boolean;
  /** `[E, F]`, added to the rows of each group. */
  bias?: Tensor;
}
export interface GroupedMatMulAttrs {
  groupSizes: readonly number[];
  /** F, the columns of the result: weights are one matrix per group, whatever axes they come in. */
  width: number;
  transposed: boolean;
}
/** Rows for which each reads the weight anew, as in the kernel, and columns of them that one thread computes. */
const FEW = 2;
const PART = 1024;
type Input = 'x' | 'weights' | 'bias';

/** Strides in bytes of W(n, k), from input k to output n. */
function strides(K: number, N: number, transposed: boolean): [row: number, step: number] {
  return transposed ? [4 * K, 4] : [4, 4 * N];
}

export function productScratch(K: number, N: number): number {
  return 512 * (K + N) + 64 * Math.max(K, 1);
}
export function outerScratch(M: number): number {
  return 512 * (M + 12) + 128;
}

/** The products with the columns of the weights part after part, each as one output; one part if there are several groups. */
export function launchProducts(
  call: Pick<
    KernelCall<Input, unknown, MoeKernels>,
    'input' | 'output' | 'shape' | 'scratch' | 'buffer' | 'workspace' | 'launch'
  >,
  { groupSizes, width, transposed }: GroupedMatMulAttrs,
  parts: readonly number[],
): void {
  const { input, output, shape, workspace, launch } = call;
  const K = shape.x!.at(-1)!;
  const [row, step] = strides(K, width, transposed);
  const few = groupSizes.length === 1 && groupSizes[0] <= FEW;
  const blocks = few ? undefined : blocksOfSizes(groupSizes);
  const table = blocks === undefined ? 0 : upload(call, blocks);
  const work = blocks === undefined ? 0 : workspace(productScratch(K, Math.max(...parts)));
  let first = 0;
  parts.forEach((N, i) => {
    const weights = input.weights + first * row;
    const bias = input.bias && input.bias + 4 * first;
    first += N;
    if (blocks === undefined) {
      // biome-ignore format: one argument list per line of the entry point
      launch('rowProducts', Math.ceil(N / PART),
        input.x, weights, row, step, bias, output[i], groupSizes[0], K, N, PART);
    } else if (N > 0) {
      // biome-ignore format: one argument list per line of the entry point
      launch('groupedMatMul', blocks.length / 3,
        input.x, 0, weights, row, step, bias, output[i], table, work, K, N);
    }
  });
}

export const groupedMatMulOp = defineMoeOp<Input, GroupedMatMulAttrs>({
  name: 'groupedMatMul',
  outputs: ({ x }, { width }) => [[...x!.slice(0, -1), width]],
  kernel: (call) => launchProducts(call, call.attrs, [call.attrs.width]),
  reference: groupedMatMulReference,
  gradient: ({ inputs, dy, attrs }) => {
    const [dx, dweights, dbias] = groupedMatMulBackward.run({ ...inputs, dy: dy[0] }, attrs);
    return { x: dx, weights: dweights, bias: dbias };
  },
});

export const groupedMatMulBackward = defineMoeOp<Input | 'dy', GroupedMatMulAttrs>({
  name: 'groupedMatMulBackward',
  outputs: ({ x, weights, bias }) => [x!, weights!, bias ?? [0]],
  kernel: (call) => {
    const { input, output, attrs, shape, workspace, launch } = call;
    const { groupSizes, width: N, transposed } = attrs;
    const K = shape.x!.at(-1)!;
    const blocks = blocksOfSizes(groupSizes);
    const [row, step] = strides(K, N, transposed);
    launch(
      'groupedMatMul',
      blocks.length / 3,
      input.dy,
      0,
      input.weights,
      step,
      row,
      0,
      output[0],
      upload(call, blocks),
      workspace(productScratch(N, K)),
      N,
      K,
    );
    const offsets = upload(call, offsetsOf(groupSizes));
    const [a, b] = transposed ? [input.dy, input.x] : [input.x, input.dy];
    const [rows, columns] = transposed ? [N, K] : [K, N];
    launch(
      'groupedOuter',
      groupSizes.length,
      a,
      0,
      b,
      0,
      output[1],
      offsets,
      workspace(outerScratch(rows)),
      rows,
      columns,
    );
    if (shape.bias) launch('groupedSum', groupSizes.length, input.dy, 0, 0, output[2], offsets, N);
  },
  reference: groupedMatMulBackwardReference,
});

function checkedSizes(
  groupSizes: readonly number[] | Int32Array | Tensor,
  E: number,
  rows: number,
): readonly number[] {
  checkObject('groupedMatMul', 'groupSizes', groupSizes, 'that holds integers');
  if ('dataId' in groupSizes) checkShapes('groupedMatMul', [['groupSizes', groupSizes, `${E}`, 'int32']]);
  const sizes = Array.from('dataId' in groupSizes ? (groupSizes.dataSync() as Int32Array) : groupSizes);
  if (sizes.length !== E) {
    throw new RangeError(
      `groupedMatMul: groupSizes has ${sizes.length} sizes; expected ${E} (E from weights)`,
    );
  }
  sizes.forEach((size, e) => {
    if (!(Number.isInteger(size) && size >= 0)) {
      throw new RangeError(`groupedMatMul: groupSizes[${e}] is ${size}; expected a count of rows`);
    }
  });
  const sum = sizes.reduce((a, b) => a + b, 0);
  if (sum !== rows) {
    throw new RangeError(`groupedMatMul: groupSizes sum to ${sum}; expected ${rows} (rows of x)`);
  }
  return sizes;
}

/**
 * Products of consecutive groups of rows with a matrix each: `y_i = x_i W_e (+ b_e)` for the rows i of group e. Groups
 * without rows cost nothing.
 *
 * @param x `[S, D]`, the rows of group 0 first
 * @param weights `[E, D, F]`, or `[E, F, D]` with `transposeWeights`
 * @param groupSizes rows of each group, `[E]`: numbers or an int32 tensor; their sum is S
 * @returns `[S, F]`
 * @throws TypeError, RangeError for a wrong dtype, shape or sizes that do not add up
 * @see Gale et al., "MegaBlocks: Efficient Sparse Training with Mixture-of-Experts"
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { groupedMatMul, ready } from 'linnet';
 *
 * await ready();
 * const x = randomNormal([64, 32]);
 * const weights = randomNormal([4, 32, 16]);
 * const y = groupedMatMul(x, weights, [10, 0, 50, 4]); // [64, 16]
 * ```
 */
export function groupedMatMul(
  x: Tensor,
  weights: Tensor,
  groupSizes: readonly number[] | Int32Array | Tensor,
  options: GroupedMatMulOptions = {},
): Tensor {
  const { transposeWeights = false, bias } = options;
  const { E, S, F } = checkShapes('groupedMatMul', [
    ['x', x, 'S D'],
    ['weights', weights, transposeWeights ? 'E F D' : 'E D F'],
    ['bias?', bias, 'E F'],
  ]);
  const attrs = { groupSizes: checkedSizes(groupSizes, E, S), width: F, transposed: transposeWeights };
  return groupedMatMulOp.run({ x, weights, bias }, attrs)[0];
}
