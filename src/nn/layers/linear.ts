import type { Tensor } from '@tensorflow/tfjs-core';
import { groupedMatMulOp } from '../../moe/groupedMatMul';
import { leadingAxes } from '../../moe/routerLogits';
import { checkShapes } from '../../tensor/shape';

export interface LinearWeights {
  /** `[in, out]`, or `[out, in]` if `transposed`. */
  readonly weight: Tensor;
  /** `[out]` */
  readonly bias?: Tensor;
  /** Whether the weight is `[out, in]`, as PyTorch stores it and a single token reads it fastest; default false. */
  readonly transposed?: boolean;
}

/**
 * `x weight + bias` over the last axis, as one product of matrices. Its gradient needs nothing but linnet.
 *
 * @param x `[..., in]`
 * @returns `[..., out]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 */
export function linear(x: Tensor, { weight, bias, transposed = false }: LinearWeights): Tensor {
  const { out } = checkShapes('linear', [
    ['x', x, `${leadingAxes(x)} in`.trim()],
    ['weight', weight, transposed ? 'out in' : 'in out'],
    ['bias?', bias, 'out'],
  ]);
  const rows = x.shape.slice(0, -1).reduce((n, size) => n * size, 1);
  return groupedMatMulOp.run({ x, weights: weight, bias }, { groupSizes: [rows], width: out, transposed })[0];
}
