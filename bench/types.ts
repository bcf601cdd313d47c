import type { Tensor } from '@tensorflow/tfjs-core';
import type { InputSpec, Ops, Tensors } from '../src/catalog/types';

export interface Workload {
  op: keyof Ops;
  id: string;
  /** Whether `bench --quick` runs it. */
  quick: boolean;
  inputs: Readonly<Record<string, InputSpec>>;
  flops: number;
  call(ops: Ops, tensors: Tensors): Tensor;
  /** The same result by other means. */
  rivals: Readonly<Record<string, (tensors: Tensors) => Tensor>>;
}
