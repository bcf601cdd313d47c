import { concat, keep, type Tensor } from '@tensorflow/tfjs-core';

/** What a model remembers of the tokens it has seen: keys and values, recurrent states, last tokens. */
export class Cache {
  /** Tokens seen. */
  position = 0;
  private readonly tensors = new Map<string, Tensor>();

  get(name: string): Tensor | undefined {
    return this.tensors.get(name);
  }

  /** Keeps a tensor past the end of a `tidy`, in place of the one of that name. */
  set(name: string, tensor: Tensor): Tensor {
    if (this.tensors.get(name) === tensor) return tensor;
    this.tensors.get(name)?.dispose();
    this.tensors.set(name, keep(tensor.clone()));
    return tensor;
  }

  /** Puts `tensor` behind what is kept along T, the second axis, and returns both. */
  append(name: string, tensor: Tensor): Tensor {
    const past = this.get(name);
    return this.set(name, past === undefined ? tensor : concat([past, tensor], 1));
  }

  dispose(): void {
    for (const tensor of this.tensors.values()) tensor.dispose();
    this.tensors.clear();
  }
}
