import type { DataId, DataType, TensorInfo } from '@tensorflow/tfjs-core';

/** What the references need of any tfjs backend. */
export interface ReadWrite {
  readSync(dataId: DataId): ArrayLike<number>;
  write(values: Float32Array | Int32Array, shape: number[], dtype: DataType): DataId;
}

/**
 * Tensors hold float32. A reference keeps its float64 result beside the tensor it wrote, and a reference that reads
 * such a tensor continues from there: a chain of references, gradients included, is float64 throughout.
 */
const exact = new WeakMap<DataId, Float64Array>();

export function setExact(tensor: { dataId: DataId }, values: Float64Array): void {
  exact.set(tensor.dataId, values);
}

/** The float64 values of a tensor where a reference left them, else its values widened. */
export function exactValues(tensor: { dataId: DataId }, backend: ReadWrite): Float64Array {
  return exact.get(tensor.dataId) ?? Float64Array.from(backend.readSync(tensor.dataId));
}

export function writeExact(
  backend: ReadWrite,
  values: ArrayLike<number>,
  shape: readonly number[],
  dtype: DataType,
): TensorInfo {
  const rounded = dtype === 'int32' ? Int32Array.from(values) : Float32Array.from(values);
  const info = { dataId: backend.write(rounded, [...shape], dtype), shape: [...shape], dtype };
  if (dtype === 'float32') setExact(info, Float64Array.from(values));
  return info;
}
