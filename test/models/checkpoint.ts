import { readFileSync } from 'node:fs';
import { type Tensor, tensor } from '@tensorflow/tfjs-core';
import { loadModel, type Model } from '../../src/models';
import { parseSafetensors } from '../../src/models/decode';

/** A tiny model of another library, loaded, and what that library computed with it. */
export interface Stored {
  model: Model;
  /** int32 `[B, T]` */
  inputIds: Tensor;
  /** `[B, T, vocab]` */
  logits: Tensor;
  /** The best next tokens after the input, one by one, `[B, 12]`. */
  greedy: number[][];
}

export const fileOf = (name: string, ending = 'safetensors') =>
  new URL(`./checkpoints/${name}.${ending}`, import.meta.url);

export const configOf = (name: string): Record<string, unknown> =>
  JSON.parse(readFileSync(fileOf(name, 'json'), 'utf8')).config;

export async function checkpoint(name: string): Promise<Stored> {
  // what begins with __ is no weight of the model
  const model = await loadModel(configOf(name), fileOf(name), { unknownTensors: /^__/ });
  const {
    __input_ids: ids,
    __logits: logits,
    __greedy: greedy,
  } = parseSafetensors(readFileSync(fileOf(name)));
  const [B, count] = greedy.shape;
  return {
    model,
    inputIds: tensor(ids.data, ids.shape as [number, number], 'int32'),
    logits: tensor(logits.data, logits.shape as [number, number, number]),
    greedy: Array.from({ length: B }, (_, b) => [...greedy.data.subarray(b * count, (b + 1) * count)]),
  };
}
