import { gather, type Tensor, type Tensor1D } from '@tensorflow/tfjs-core';

/** The rows of `weight` `[V, C]` that int32 `ids` `[...]` name: `[..., C]`. */
export function embedding(ids: Tensor, weight: Tensor): Tensor {
  return gather(weight, ids as Tensor1D);
}
