import { add, mean, mul, reshape, sub, type Tensor } from '@tensorflow/tfjs-core';
import { rmsNorm } from '../rmsNorm';

export interface NormWeights {
  /** `[C]` */
  readonly weight?: Tensor;
  /** `[C]` */
  readonly bias?: Tensor;
}

/** `(x - mean(x)) / sqrt(var(x) + eps) * weight + bias` over the last axis: the RMS norm of what is centred. */
export function layerNorm(x: Tensor, { weight, bias }: NormWeights, { eps = 1e-5 } = {}): Tensor {
  const y = rmsNorm(sub(x, mean(x, -1, true)), weight, { eps });
  return bias === undefined ? y : add(y, bias);
}

/** Layer normalisation of each of `groups` equal parts of the last axis. */
export function groupNorm(
  x: Tensor,
  groups: number,
  { weight, bias }: NormWeights,
  { eps = 1e-5 } = {},
): Tensor {
  const C = x.shape.at(-1)!;
  const parts = layerNorm(reshape(x, [...x.shape.slice(0, -1), groups, C / groups]), {}, { eps });
  const y = reshape(parts, x.shape);
  const scaled = weight === undefined ? y : mul(y, weight);
  return bias === undefined ? scaled : add(scaled, bias);
}
