import { engine, getBackend, reshape, slice, type Tensor, tile } from '@tensorflow/tfjs-core';
import { isRecording } from '../../op/define';

/** `reshape` to a shape of as many elements, for the price of a tensor object where no gradient is recorded. */
export function reshaped(x: Tensor, shape: number[]): Tensor {
  if (isRecording() || getBackend() !== 'wasm') return reshape(x, shape);
  const { dataId, dtype } = x;
  engine().backend.incRef(dataId);
  return engine().makeTensorFromTensorInfo({ dataId, shape, dtype });
}

/** `[B, T, H D]` to `[B, T, H, D]` */
export function toHeads(x: Tensor, D: number): Tensor {
  const [B, T, C] = x.shape;
  return reshaped(x, [B, T!, C! / D, D]);
}

/** `[B, T, H, D]` to `[B, T, H D]` */
export function fromHeads(x: Tensor): Tensor {
  const [B, T, H, D] = x.shape;
  return reshaped(x, [B, T!, H! * D!]);
}

/** The channels [begin, begin + size) of the last axis. */
export function channels(x: Tensor, begin: number, size: number): Tensor {
  const leading = x.shape.slice(0, -1);
  return slice(x, [...leading.map(() => 0), begin], [...leading, size]);
}

/** The tokens [begin, begin + size) of the second axis. */
export function tokens(x: Tensor, begin: number, size: number): Tensor {
  const [B, , ...rest] = x.shape;
  return slice(x, [0, begin, ...rest.map(() => 0)], [B, size, ...rest]);
}

/** `[B, T, H, D]` to `[B, T, H times, D]`, each head followed by its copies. */
export function repeatHeads(x: Tensor, times: number): Tensor {
  if (times === 1) return x;
  const [B, T, H, D] = x.shape;
  return reshape(tile(reshape(x, [B * T, H, 1, D]), [1, 1, times, 1]), [B, T, H * times, D]);
}
