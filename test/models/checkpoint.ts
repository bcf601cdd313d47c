import { readFileSync } from 'node:fs';
import type { Tensor } from '@tensorflow/tfjs-core';
import { readSafetensors } from '../safetensors';

export type Weights = Readonly<Record<string, Tensor>>;

/** A tiny model of another library: its weights, and what that library computed from them. */
export interface Checkpoint<Config> {
  config: Config;
  weights: Weights;
  /** int32 `[B, T]` */
  inputIds: Tensor;
  /** `[B, T, vocab]` */
  logits: Tensor;
  /** The best next tokens after the input, one by one, `[B, 12]`. */
  greedy: number[][];
}

export function checkpoint<Config>(name: string): Checkpoint<Config> {
  const path = (ending: string) => new URL(`./checkpoints/${name}.${ending}`, import.meta.url);
  const { config } = JSON.parse(readFileSync(path('json'), 'utf8'));
  const { __input_ids, __logits, __greedy, ...weights } = readSafetensors(path('safetensors'));
  const greedy = __greedy.arraySync() as number[][];
  __greedy.dispose();
  return { config, weights, inputIds: __input_ids, logits: __logits, greedy };
}
