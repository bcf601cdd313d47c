import { add, matMul, reshape, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';

export interface LinearWeights {
  /** `[in, out]`, the transpose of what checkpoints of PyTorch hold. */
  readonly weight: Tensor;
  /** `[out]` */
  readonly bias?: Tensor;
}

/**
 * `x weight + bias` over the last axis, as one product of matrices.
 *
 * @param x `[..., in]`
 * @returns `[..., out]`
 */
export function linear(x: Tensor, { weight, bias }: LinearWeights): Tensor {
  const [into, out] = weight.shape;
  const rows = matMul(reshape(x, [-1, into]) as Tensor2D, weight as Tensor2D);
  const y = reshape(rows, [...x.shape.slice(0, -1), out]);
  return bias === undefined ? y : add(y, bias);
}
