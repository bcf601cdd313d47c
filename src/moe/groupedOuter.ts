import type { Tensor } from '@tensorflow/tfjs-core';
import type { NdArray, Shape } from '../op/define';
import { defineMoeOp } from './family';
import { type GroupedMatMulAttrs, groupedMatMulOp, outerScratch } from './groupedMatMul';
import { offsetsOf, upload } from './plan';

interface Attrs {
  groupSizes: readonly number[];
}

const last = (shape: Shape) => shape.at(-1)!;
const product = (x: Tensor, weights: Tensor, attrs: GroupedMatMulAttrs) =>
  groupedMatMulOp.run({ x, weights }, attrs)[0];

/** y_g = sum over the rows i of group g of a_i b_i^T */
function groupedOuterReference(
  { a, b }: { a?: NdArray; b?: NdArray },
  { groupSizes }: Attrs,
): [y: Float64Array] {
  const [M, N] = [last(a!.shape), last(b!.shape)];
  const y = new Float64Array(groupSizes.length * M * N);
  const groupOf = groupSizes.flatMap((size, g) => Array<number>(size).fill(g));
  groupOf.forEach((g, i) => {
    for (let m = 0; m < M; m++) {
      for (let n = 0; n < N; n++) y[(g * M + m) * N + n] += a!.data[i * M + m] * b!.data[i * N + n];
    }
  });
  return [y];
}

const op = defineMoeOp<'a' | 'b', Attrs>({
  name: 'groupedOuter',
  outputs: ({ a, b }, { groupSizes }) => [[groupSizes.length, last(a!), last(b!)]],
  kernel: (call) => {
    const { input, output, shape, attrs, workspace, launch } = call;
    const [M, N] = [last(shape.a!), last(shape.b!)];
    const offsets = upload(call, offsetsOf(attrs.groupSizes));
    const work = workspace(outerScratch(M));
    launch('groupedOuter', attrs.groupSizes.length, input.a, 0, input.b, 0, output[0], offsets, work, M, N);
  },
  reference: groupedOuterReference,
  gradient: ({ inputs: { a, b }, dy, attrs: { groupSizes } }) => ({
    a: () => product(b!, dy[0], { groupSizes, width: last(a!.shape), transposed: true }),
    b: () => product(a!, dy[0], { groupSizes, width: last(b!.shape), transposed: false }),
  }),
});

/** `[G, M, N]`, for each group of rows the sum of `a_i b_i^T`: a `[..., M]`, b `[..., N]`. */
export function groupedOuter(a: Tensor, b: Tensor, groupSizes: readonly number[]): Tensor {
  return op.run({ a, b }, { groupSizes })[0];
}
