import type { Tensor } from '@tensorflow/tfjs-core';
import { checkFinite, typeOf } from '../tensor/shape';

/** What every op with a recurrent state takes. */
export interface RecurrentOptions {
  /** Multiplies the output; default `K ** -0.5`. */
  scale?: number;
  /** `[N, HV, K, V]`, N the number of sequences: B, or as many as `cuSeqlens` bounds; default zeros. */
  initialState?: Tensor;
  /** Whether to return `{ output, finalState }` instead of the output alone. */
  outputFinalState?: boolean;
  /** Bounds `[N + 1]` of sequences packed one after another along T, from 0 to T; B must be 1. */
  cuSeqlens?: Tensor | readonly number[];
}

/** The result of an op with a recurrent state that was asked for it. */
export interface Recurrent {
  output: Tensor;
  finalState: Tensor;
}

/** Bounds of the sequences in the flattened `[B T]` axis: each batch entry is one, or `cuSeqlens` says. */
export function sequenceOffsets(
  op: string,
  cuSeqlens: Tensor | readonly number[] | undefined,
  B: number,
  T: number,
): readonly number[] {
  if (cuSeqlens === undefined) return Array.from({ length: B + 1 }, (_, i) => i * T);
  const isTensor = !Array.isArray(cuSeqlens);
  if (isTensor && (cuSeqlens as Tensor | null)?.dataId === undefined)
    throw new TypeError(
      `${op}: cuSeqlens must be an int32 tensor [N + 1] or an array; got ${typeOf(cuSeqlens)}`,
    );
  if (isTensor && ((cuSeqlens as Tensor).dtype !== 'int32' || (cuSeqlens as Tensor).rank !== 1)) {
    const { dtype, shape } = cuSeqlens as Tensor;
    throw new TypeError(
      `${op}: cuSeqlens must be an int32 tensor [N + 1] or an array; got ${dtype} [${shape}]`,
    );
  }
  const bounds: number[] = Array.from(isTensor ? (cuSeqlens as Tensor).dataSync() : (cuSeqlens as number[]));
  if (B !== 1)
    throw new RangeError(`${op}: cuSeqlens needs sequences packed along T with B = 1; got B = ${B}`);
  const ascending = bounds.every(
    (bound, i) => Number.isInteger(bound) && (i === 0 || bound >= bounds[i - 1]),
  );
  if (bounds.length < 2 || bounds[0] !== 0 || bounds.at(-1) !== T || !ascending) {
    throw new RangeError(`${op}: cuSeqlens is [${bounds}]; expected ascending bounds from 0 to T = ${T}`);
  }
  return bounds;
}

export function scaleOf(op: string, scale: number | undefined, K: number): number {
  const value = scale ?? K ** -0.5;
  checkFinite(op, 'scale', value);
  return value;
}

/** One tensor or, when the final state was asked for, both. */
export function recurrentResult([output, finalState]: readonly Tensor[]): Tensor | Recurrent {
  return finalState === undefined ? output : { output, finalState };
}
