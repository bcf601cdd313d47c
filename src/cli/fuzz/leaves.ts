import { Tensor } from '@tensorflow/tfjs-core';

export type Path = readonly (string | number)[];
/** A value somewhere in the arguments of a call. */
export interface Leaf {
  path: Path;
  value: unknown;
}

const isPlain = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
/** Arrays of numbers are values; others hold some. */
const isList = (value: unknown): value is unknown[] =>
  Array.isArray(value) && value.some((one) => typeof one === 'object');

/** Everything in the arguments that is no plain object or list of objects. */
export function leavesOf(value: unknown, path: Path = []): Leaf[] {
  if (isPlain(value) || isList(value) || path.length === 0) {
    return Object.entries(value as object).flatMap(([key, inner]) => leavesOf(inner, [...path, key]));
  }
  return [{ path, value }];
}

/** The same arguments with another value at `path`, or without it when it is undefined and has a name. */
export function withValue(args: readonly unknown[], path: Path, value: unknown): unknown[] {
  const set = (holder: unknown, [key, ...rest]: Path): unknown => {
    const copy: Record<string | number, unknown> = Array.isArray(holder)
      ? ([...holder] as never)
      : { ...(holder as object) };
    copy[key] = rest.length === 0 ? value : set(copy[key], rest);
    return copy;
  };
  return set([...args], path) as unknown[];
}

export const isTensor = (value: unknown): value is Tensor => value instanceof Tensor;

/** A value as the report of a failure shows it. */
export function show(value: unknown): string {
  if (isTensor(value)) {
    if (value.isDisposed) return `disposed ${value.dtype}[${value.shape}]`;
    return `${value.dtype}[${value.shape}]`;
  }
  if (typeof value === 'function') return `function ${value.name}`;
  if (isPlain(value))
    return `{ ${Object.entries(value)
      .map(([key, inner]) => `${key}: ${show(inner)}`)
      .join(', ')} }`;
  if (Array.isArray(value)) return `[${value.map(show).join(', ')}]`;
  if (typeof value === 'object' && value !== null) return value.constructor?.name ?? 'object';
  return typeof value === 'string' ? `'${value}'` : String(value);
}
