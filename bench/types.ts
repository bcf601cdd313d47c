import type { Tensor } from '@tensorflow/tfjs-core';
import type { InputSpec, Ops, Tensors } from '../src/catalog/types';
import type { OnnxModel } from './onnx/session';

type Result = Tensor | readonly Tensor[];

export interface Workload {
  op: keyof Ops;
  id: string;
  /** Whether `bench --quick` runs it. */
  quick?: boolean;
  inputs: Readonly<Record<string, InputSpec>>;
  flops: number;
  /** Bytes that must move; default those of the inputs and outputs. */
  bytes?: number;
  call(ops: Ops, tensors: Tensors): Result;
  /** Inputs to differentiate in the forward-and-backward row; none, no such row. */
  differentiable?: readonly string[];
  /** The same result by compositions of tfjs ops. */
  rivals?: Readonly<Record<string, (tensors: Tensors) => Result>>;
  /** The same result by onnxruntime-web, by variant. */
  onnx?: Readonly<Record<string, (tensors: Tensors) => OnnxModel>>;
}
