import { reshape, type Tensor, transpose } from '@tensorflow/tfjs-core';
import { groupedMatMul } from '../../ops';

/** `[B, T, H, D]` times a matrix `[D, F]` per head, `[H, D, F]`, or its transpose. */
export function perHead(x: Tensor, weights: Tensor, transposeWeights: boolean): Tensor {
  const [B, T, H, D] = x.shape;
  const rows = reshape(transpose(x, [2, 0, 1, 3]), [H * B * T, D]);
  const y = groupedMatMul(rows, weights, Array(H).fill(B * T), { transposeWeights });
  return transpose(reshape(y, [H, B, T, y.shape[1]!]), [1, 2, 0, 3]);
}
