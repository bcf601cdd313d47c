import { concat, type Tensor, zeros } from '@tensorflow/tfjs-core';
import { tokens } from '../../nn/layers/shape';
import type { MixerState } from '../cache';

/** A tensor behind what is kept under a name along the second axis; both are kept. */
export function appended(state: MixerState, name: string, tensor: Tensor): Tensor {
  const past = state.get(name);
  const all = past === undefined ? tensor : concat([past, tensor], 1);
  state.set(name, all);
  return all;
}

/** Zeros for past tokens in front: for ops whose queries are those of every token. */
export function behindPast(tensor: Tensor, past: number): Tensor {
  const [B, , ...rest] = tensor.shape;
  return past === 0 ? tensor : concat([zeros([B, past, ...rest]), tensor], 1);
}

/** The output of the tokens after the past ones. */
export function afterPast(output: Tensor, past: number): Tensor {
  return past === 0 ? output : tokens(output, past, output.shape[1]! - past);
}
