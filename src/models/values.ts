import { type Tensor, tidy } from '@tensorflow/tfjs-core';

/**
 * The values of a tensor, and nothing left behind of what it was made of. A tidy that returned them would look for tensors
 * among the numbers, which takes longer than most tensors take to compute.
 */
export function valuesOf(make: () => Tensor): Float32Array {
  const tensor = tidy(make);
  const values = tensor.dataSync() as Float32Array;
  tensor.dispose();
  return values;
}
