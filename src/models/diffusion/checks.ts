import type { Tensor } from '@tensorflow/tfjs-core';
import { type Integers, integers } from '../../tensor/integers';
import { checkShapes } from '../../tensor/shape';

/** @throws RangeError unless the value is an integer of at least `least` */
export function checkCount(op: string, name: string, value: number, least = 1): void {
  if (!(Number.isInteger(value) && value >= least)) {
    throw new RangeError(`${op}: ${name} is ${value}; expected an integer of at least ${least}`);
  }
}

/** @throws RangeError unless the value is a number in [least, most] */
export function checkWithin(op: string, name: string, value: number, least: number, most: number): void {
  if (!(value >= least && value <= most)) {
    throw new RangeError(`${op}: ${name} is ${value}; expected a number from ${least} to ${most}`);
  }
}

/** Tokens `[B, T]`, as an int32 tensor or as rows of one length. */
export type Rows = Tensor | readonly ArrayLike<number>[];

/** @throws TypeError, RangeError for another dtype or rank, rows of different lengths, what is no token */
export function rowsOf(op: string, name: string, given: Rows): Int32Array[] {
  if (!Array.isArray(given)) {
    const { B, T } = checkShapes(op, [[name, given as Tensor, 'B T', 'int32']]);
    const values = (given as Tensor).dataSync() as Int32Array;
    return Array.from({ length: B }, (_, b) => values.slice(b * T, (b + 1) * T));
  }
  const rows = (given as readonly ArrayLike<number>[]).map((row) => {
    const bad = Array.from(row).find((id) => !(Number.isInteger(id) && id >= 0));
    if (bad !== undefined) throw new RangeError(`${op}: ${name} holds ${bad}; expected tokens`);
    return Int32Array.from(row);
  });
  const other = rows.find(({ length }) => length !== rows[0].length);
  if (other !== undefined) {
    throw new RangeError(
      `${op}: ${name} has rows of ${rows[0].length} and ${other.length} tokens; expected one length`,
    );
  }
  return rows;
}

/** Given noised rows of `[B, T]`, if any. */
export function noisedRows(
  op: string,
  given: Rows | undefined,
  B: number,
  T: number,
): Int32Array[] | undefined {
  if (given === undefined) return undefined;
  const noised = rowsOf(op, 'noised', given);
  if (noised.length !== B || (noised[0]?.length ?? 0) !== T) {
    throw new RangeError(
      `${op}: noised has shape [${noised.length},${noised[0]?.length ?? 0}]; expected [${B},${T}] as ids`,
    );
  }
  return noised;
}

/** Sequences of T tokens that begin with `prompts` and go on as `next` says. */
export function continued(prompts: readonly Int32Array[], T: number, next: () => number): Int32Array[] {
  return prompts.map((prompt) => {
    const row = Int32Array.from({ length: T }, next);
    row.set(prompt);
    return row;
  });
}

/** One number for each of B sequences. */
export function perSequence(
  op: string,
  name: string,
  given: Integers | undefined,
  B: number,
  most: number,
): number[] {
  if (given === undefined) return new Array(B).fill(0);
  const values = integers(op, name, given);
  if (values.length !== B || values.some((value) => value < 0 || value > most)) {
    throw new RangeError(`${op}: ${name} is [${values}]; expected B = ${B} lengths from 0 to T = ${most}`);
  }
  return values;
}
