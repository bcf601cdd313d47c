import type { Tensor } from '@tensorflow/tfjs-core';
import { defineMoeOp } from '../../moe/family';
import { type GroupedMatMulAttrs, groupedMatMulBackward, launchProducts } from '../../moe/groupedMatMul';
import { groupedMatMulReference } from '../../moe/groupedMatMul.reference';
import { leadingAxes } from '../../moe/routerLogits';
import { checkShapes } from '../../tensor/shape';
import { checkParts, joinChannels, splitReference } from '../channels';

export interface LinearWeights {
  /** `[in, out]`, or `[out, in]` if `transposed`. */
  readonly weight: Tensor;
  /** `[out]` */
  readonly bias?: Tensor;
  /** Whether the weight is `[out, in]`, as PyTorch stores it and a single token reads it fastest; default false. */
  readonly transposed?: boolean;
}

interface LinearAttrs extends GroupedMatMulAttrs {
  /** Columns of each output. */
  sizes: readonly number[];
}

const op = defineMoeOp<'x' | 'weights' | 'bias', LinearAttrs>({
  name: 'linear',
  outputs: ({ x }, { sizes }) => sizes.map((size) => [...x!.slice(0, -1), size]),
  kernel: (call) => launchProducts(call, call.attrs, call.attrs.sizes),
  reference: (inputs, attrs) => splitReference(groupedMatMulReference(inputs, attrs)[0], attrs.sizes),
  gradient: ({ inputs, dy, attrs }) => {
    const whole = dy.length === 1 ? dy[0] : joinChannels(dy);
    const [x, weights, bias] = groupedMatMulBackward.run({ ...inputs, dy: whole }, attrs);
    return { x, weights, bias };
  },
});

function run(x: Tensor, { weight, bias, transposed = false }: LinearWeights, sizes?: readonly number[]) {
  const { out } = checkShapes('linear', [
    ['x', x, `${leadingAxes(x)} in`.trim()],
    ['weight', weight, transposed ? 'out in' : 'in out'],
    ['bias?', bias, 'out'],
  ]);
  if (sizes !== undefined) checkParts('linear', sizes, out, 'out', 'weight');
  const rows = x.shape.slice(0, -1).reduce((n, size) => n * size, 1);
  const attrs = { groupSizes: [rows], width: out, transposed, sizes: sizes ?? [out] };
  return op.run({ x, weights: weight, bias }, attrs);
}

/**
 * `x weight + bias` over the last axis, as one product of matrices. Its gradient needs nothing but linnet.
 *
 * @param x `[..., in]`
 * @returns `[..., out]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 */
export function linear(x: Tensor, weights: LinearWeights): Tensor {
  return run(x, weights)[0];
}

/**
 * `linear` whose output comes in parts of the given sizes, which add up to it: several layers with one input whose weights
 * are stored as one.
 *
 * @param x `[..., in]`
 * @returns `[..., size]` for each of `sizes`
 * @throws TypeError, RangeError for a wrong dtype or shape, or sizes that do not add up
 */
export function linearParts(x: Tensor, weights: LinearWeights, sizes: readonly number[]): Tensor[] {
  return run(x, weights, sizes);
}
