import type { DataType, Tensor } from '@tensorflow/tfjs-core';

/** The dimension names of a notation such as `'B Tq Hq D'`; numbers and alternatives (`'B|1'`) name none. */
type Dims<Notation extends string> = Notation extends `${infer Head} ${infer Rest}`
  ? Dim<Head> | Dims<Rest>
  : Dim<Notation>;
type Dim<Token extends string> = Token extends `${string}|${string}` | `${number}` | '' ? never : Token;

/** Argument name, tensor, shape notation and, unless float32, dtype. A name that ends with `?` may be left out. */
export type Expectation<Notation extends string = string> =
  | readonly [name: string, tensor: Tensor, notation: Notation, dtype?: DataType]
  | readonly [name: `${string}?`, tensor: Tensor | undefined, notation: Notation, dtype?: DataType];

interface Binding {
  size: number;
  from: string;
}

function brackets(shape: readonly (number | string)[], separator = ','): string {
  return `[${shape.join(separator)}]`;
}

function sizeOf(token: string, bound: ReadonlyMap<string, Binding>): number | string {
  return token
    .split('|')
    .map((one) => (/^\d+$/.test(one) ? one : (bound.get(one)?.size ?? one)))
    .join('|');
}

function origins(tokens: readonly string[], bound: ReadonlyMap<string, Binding>, self: string): string {
  const seen = tokens
    .flatMap((token) => token.split('|'))
    .filter((token) => bound.has(token) && bound.get(token)!.from !== self)
    .map((token) => `${token} from ${bound.get(token)!.from}`);
  return seen.length > 0 ? ` (${[...new Set(seen)].join(', ')})` : '';
}

export const typeOf = (value: unknown) => (value === null ? 'null' : typeof value);

/** @throws TypeError, Error naming op and argument unless it is a tensor of the dtype that is not disposed. */
export function checkTensor(
  op: string,
  name: string,
  tensor: Tensor | undefined,
  dtype: DataType = 'float32',
  expected = '',
): asserts tensor is Tensor {
  if (tensor?.dataId === undefined || tensor.shape === undefined) {
    throw new TypeError(
      `${op}: ${name} must be a tensor ${expected}; got ${typeOf(tensor)}`.replace(' ;', ';'),
    );
  }
  if (tensor.isDisposed) throw new Error(`${op}: ${name} is disposed`);
  if (tensor.dtype !== dtype) throw new TypeError(`${op}: ${name} must be ${dtype}; got ${tensor.dtype}`);
}

/**
 * Checks tensors against shape notations and returns the sizes of the dimensions they name.
 *
 * A notation lists dimensions separated by spaces. A name is bound by its first use and must agree afterwards;
 * a number must be that size; `'B|1'` is either. An empty notation is a scalar.
 *
 * @throws TypeError naming op and argument when something is no tensor or has another dtype.
 * @throws Error naming op and argument when a tensor is disposed.
 * @throws RangeError naming op, argument, shape, expectation and where each size came from.
 */
export function checkShapes<const N extends string>(
  op: string,
  expectations: readonly Expectation<N>[],
): Record<Dims<N>, number> {
  const bound = new Map<string, Binding>();
  for (const [given, tensor, notation, dtype = 'float32'] of expectations) {
    const name = given.replace('?', '');
    if (tensor === undefined && name !== given) continue;
    const tokens = notation === '' ? [] : notation.split(' ');
    checkTensor(op, name, tensor, dtype, brackets(tokens, ', '));
    const fits =
      tensor.shape.length === tokens.length &&
      tokens.every((token, axis) => {
        const size = tensor.shape[axis];
        return token.split('|').some((one) => {
          if (/^\d+$/.test(one)) return Number(one) === size;
          const known = bound.get(one);
          if (known !== undefined) return known.size === size;
          bound.set(one, { size, from: name });
          return true;
        });
      });
    if (!fits) {
      const expected = tokens.map((token) => sizeOf(token, bound));
      throw new RangeError(
        `${op}: ${name} has shape ${brackets(tensor.shape)}; expected ${brackets(tokens, ', ')}` +
          (tensor.shape.length === tokens.length
            ? ` = ${brackets(expected)}${origins(tokens, bound, name)}`
            : ''),
      );
    }
  }
  return Object.fromEntries([...bound].map(([name, { size }]) => [name, size])) as Record<Dims<N>, number>;
}

/** @throws RangeError unless `count` is a multiple of `of`: grouped heads. */
export function checkMultiple(op: string, name: string, count: number, ofName: string, of: number): void {
  if (of === 0 ? count !== 0 : count === 0 || count % of !== 0) {
    throw new RangeError(`${op}: ${name} = ${count} must be a multiple of ${ofName} = ${of}`);
  }
}

/** @throws RangeError unless `value` is a finite number. */
export function checkFinite(op: string, name: string, value: number): void {
  if (!Number.isFinite(value)) {
    const got = typeof value === 'object' ? typeOf(value) : String(value);
    throw new RangeError(`${op}: ${name} must be a finite number; got ${got}`);
  }
}

/** @throws TypeError unless `value` is an object with what `expected` lists: `{ weights, indices }`. */
export function checkObject(op: string, name: string, value: object, expected: string): void {
  if (typeof value !== 'object' || value === null) {
    throw new TypeError(`${op}: ${name} must be an object ${expected}; got ${typeOf(value)}`);
  }
}

/** @throws TypeError unless `value` is a function. */
export function checkFunction(op: string, name: string, value: unknown): void {
  if (typeof value !== 'function')
    throw new TypeError(`${op}: ${name} must be a function; got ${typeOf(value)}`);
}
