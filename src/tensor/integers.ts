import type { Tensor } from '@tensorflow/tfjs-core';
import { checkShapes, typeOf } from './shape';

/** Integers of an argument: an int32 tensor or plain numbers. */
export type Integers = Tensor | ArrayLike<number>;

export function isTensor(given: Integers): given is Tensor {
  return (given as Tensor | null | undefined)?.dataId !== undefined;
}

/**
 * The values of an argument; a tensor must be int32 of the shape in `notation`.
 *
 * @throws TypeError, RangeError naming op and argument
 */
export function integers(op: string, name: string, given: Integers, notation = 'N'): number[] {
  if (isTensor(given)) checkShapes(op, [[name, given, notation, 'int32']]);
  else if (!(Array.isArray(given) || ArrayBuffer.isView(given)))
    throw new TypeError(
      `${op}: ${name} must be an int32 tensor or an array of integers; got ${typeOf(given)}`,
    );
  const values = Array.from(isTensor(given) ? given.dataSync() : given);
  if (!values.every(Number.isInteger))
    throw new TypeError(`${op}: ${name} must hold integers; got [${values}]`);
  return values;
}
