import { type Tensor, tensor } from '@tensorflow/tfjs-core';
import { checkShapes } from '../../tensor/shape';
import { valuesOf } from '../values';

/**
 * A model of diffusion over tokens: scores `[B, T, V]` of every token at every place, given int32 `[B, T]`. `time` `[B]` is
 * how far the noise has come: t in [0, 1] of masked diffusion, the total noise sigma of SEDD. Many models do without it.
 */
export type Denoiser = (ids: Tensor, time: Tensor) => Tensor;

/** What all samplers have in common. */
export interface SamplerOptions {
  /** Of what is drawn; the same seed gives the same tokens. Default 0. */
  seed?: number;
  /** Called after each step with the tokens as they stand. */
  onStep?: (ids: readonly Int32Array[], step: number) => void;
  /** Ends the sampling with the signal's reason as error. */
  signal?: AbortSignal;
}

/** Milliseconds of work after which other tasks get their turn. */
const TURN = 16;

/** To be awaited between steps. */
export function turns(signal: AbortSignal | undefined): () => Promise<void> {
  let turn = Date.now();
  return async () => {
    if (Date.now() - turn >= TURN) {
      await new Promise((resolve) => setTimeout(resolve));
      turn = Date.now();
    }
    signal?.throwIfAborted();
  };
}

/** Rows of tokens as int32 `[B, T]`. */
export function idTensor(rows: readonly Int32Array[]): Tensor {
  const T = rows[0]?.length ?? 0;
  const values = new Int32Array(rows.length * T);
  rows.forEach((row, b) => {
    values.set(row, b * T);
  });
  return tensor(values, [rows.length, T], 'int32');
}

/** What a model says of rows of tokens at one time: the values of `[B, T, V]`. */
export function logitsOf(op: string, denoiser: Denoiser, rows: readonly Int32Array[], time: number) {
  const [B, T] = [rows.length, rows[0]?.length ?? 0];
  let V = 0;
  const logits = valuesOf(() => {
    const output = denoiser(idTensor(rows), tensor(new Array(B).fill(time), [B], 'float32'));
    ({ V } = checkShapes(op, [['logits', output, `${B} ${T} V`]]));
    return output;
  });
  return { logits, V };
}
