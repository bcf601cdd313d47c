import { readFileSync } from 'node:fs';
import { type Tensor, tensor } from '@tensorflow/tfjs-core';
import { parseSafetensors } from '../src/models/decode';

/** Every tensor of a safetensors file by name, as tensors. */
export function readSafetensors(path: URL): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(parseSafetensors(readFileSync(path))).map(([name, { data, shape, dtype }]) => [
      name,
      tensor(data, shape, dtype),
    ]),
  );
}
