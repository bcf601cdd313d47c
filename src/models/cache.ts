import { concat, keep, type Tensor } from '@tensorflow/tfjs-core';
import { tokens } from '../nn/layers/shape';

/** What one mixer remembers of the tokens it has seen: keys and values, recurrent states, last tokens. */
export interface MixerState {
  get(name: string): Tensor | undefined;
  /** Keeps a tensor for the next call, in place of the one of that name. */
  set(name: string, tensor: Tensor): void;
  /**
   * Puts `tensor` behind what is kept along the second axis and returns both; for the next call the last `most` remain.
   */
  append(name: string, tensor: Tensor, most?: number): Tensor;
}

/** Remembers nothing. */
export const forgetful: MixerState = { get: () => undefined, set: () => {}, append: (_, tensor) => tensor };

class Kept implements MixerState {
  private readonly tensors = new Map<string, Tensor>();

  get(name: string): Tensor | undefined {
    return this.tensors.get(name);
  }

  set(name: string, tensor: Tensor): void {
    const kept = keep(tensor.clone());
    this.tensors.get(name)?.dispose();
    this.tensors.set(name, kept);
  }

  append(name: string, tensor: Tensor, most = Number.POSITIVE_INFINITY): Tensor {
    const past = this.get(name);
    const all = past === undefined ? tensor : concat([past, tensor], 1);
    const length = all.shape[1]!;
    this.set(name, length > most ? tokens(all, length - most, most) : all);
    return all;
  }

  get bytes(): number {
    let bytes = 0;
    for (const { size } of this.tensors.values()) bytes += 4 * size;
    return bytes;
  }

  dispose(): void {
    for (const tensor of this.tensors.values()) tensor.dispose();
    this.tensors.clear();
  }
}

/** What a model remembers of the tokens it has seen, mixer by mixer. */
export class Cache {
  /** Tokens seen. */
  position = 0;
  private readonly states = new Map<string, Kept>();

  /** The state of the mixer of that name. */
  of(mixer: string): MixerState {
    let state = this.states.get(mixer);
    if (state === undefined) {
      state = new Kept();
      this.states.set(mixer, state);
    }
    return state;
  }

  /** What the kept tensors take. */
  get bytes(): number {
    let bytes = 0;
    for (const state of this.states.values()) bytes += state.bytes;
    return bytes;
  }

  dispose(): void {
    for (const state of this.states.values()) state.dispose();
    this.states.clear();
    this.position = 0;
  }
}
