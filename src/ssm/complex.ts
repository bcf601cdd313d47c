import type { Tensor } from '@tensorflow/tfjs-core';
import type { Expectation } from '../tensor/shape';

/** A complex tensor as two real ones of the same shape. */
export interface Complex {
  re: Tensor;
  im: Tensor;
}

/** Both parts for `checkShapes`. A name that ends with `?` may be left out. */
export function complexParts<N extends string>(
  op: string,
  given: string,
  value: Complex | undefined,
  notation: N,
): Expectation<N>[] {
  const name = given.replace('?', '');
  if (value === undefined && name !== given) return [];
  if (value?.re === undefined || value.im === undefined) {
    throw new TypeError(`${op}: ${name} must be complex, { re, im } of tensors; got ${typeName(value)}`);
  }
  return [
    [`${name}.re`, value.re, notation],
    [`${name}.im`, value.im, notation],
  ];
}

function typeName(value: unknown): string {
  if (value === null) return 'null';
  return typeof value === 'object' && 'dataId' in value ? 'one tensor' : typeof value;
}
