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

/** What an axis may be: a size or the name of one, or one of several. */
type Axis = readonly (number | string)[];

/** Notations seen lately, parsed: the checks of a call on one token must not take longer than its kernel. */
const parsed = new Map<string, readonly Axis[]>();
const MOST_PARSED = 1000;

function axesOf(notation: string): readonly Axis[] {
  let axes = parsed.get(notation);
  if (axes === undefined) {
    const tokens = notation === '' ? [] : notation.split(' ');
    axes = tokens.map((token) => token.split('|').map((one) => (/^\d+$/.test(one) ? Number(one) : one)));
    if (parsed.size === MOST_PARSED) parsed.clear();
    parsed.set(notation, axes);
  }
  return axes;
}

/** Whether an axis may have a size; binds the first name that has none yet. */
function fits(axis: Axis, size: number, sizes: Record<string, number>): boolean {
  for (const one of axis) {
    const known = typeof one === 'number' ? one : sizes[one];
    if (known === size) return true;
    if (known === undefined) {
      sizes[one] = size;
      return true;
    }
  }
  return false;
}

function brackets(shape: readonly (number | string)[], separator = ','): string {
  return `[${shape.join(separator)}]`;
}

const axesText = (axes: readonly Axis[]) =>
  brackets(
    axes.map((axis) => axis.join('|')),
    ', ',
  );

/** Why the tensor at `index` does not fit: what was expected, and where the sizes of its dimensions came from. */
function misfit(
  op: string,
  expectations: readonly Expectation[],
  index: number,
  sizes: Record<string, number>,
): string {
  const nameAt = (i: number) => expectations[i][0].replace('?', '');
  const axes = axesOf(expectations[index][2]);
  const shape = expectations[index][1]!.shape;
  const wanted = `${op}: ${nameAt(index)} has shape ${brackets(shape)}; expected ${axesText(axes)}`;
  if (shape.length !== axes.length) return wanted;
  const expected = axes.map((axis) => axis.map((one) => sizes[one] ?? one).join('|'));
  const before = expectations.slice(0, index);
  const origins = axes.flat().flatMap((one) => {
    const from = before.findIndex(([, tensor, notation]) => tensor && axesOf(notation).flat().includes(one));
    return typeof one === 'string' && from >= 0 ? [`${one} from ${nameAt(from)}`] : [];
  });
  const found = origins.length > 0 ? ` (${[...new Set(origins)].join(', ')})` : '';
  return `${wanted} = ${brackets(expected)}${found}`;
}

export const typeOf = (value: unknown) => (value === null ? 'null' : typeof value);

/** @throws TypeError, Error naming op and argument unless it is a tensor of the dtype that is not disposed. */
export function checkTensor(
  op: string,
  name: string,
  tensor: Tensor | undefined,
  dtype: DataType = 'float32',
  notation?: string,
): asserts tensor is Tensor {
  if (tensor?.dataId === undefined || typeof tensor.dataSync !== 'function') {
    const shape = notation === undefined ? '' : ` ${axesText(axesOf(notation))}`;
    throw new TypeError(`${op}: ${name} must be a tensor${shape}; got ${typeOf(tensor)}`);
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
  const sizes: Record<string, number> = {};
  for (let i = 0; i < expectations.length; i++) {
    const [name, tensor, notation, dtype = 'float32'] = expectations[i];
    const optional = name.endsWith('?');
    if (tensor === undefined && optional) continue;
    checkTensor(op, optional ? name.slice(0, -1) : name, tensor, dtype, notation);
    const axes = axesOf(notation);
    const { shape } = tensor;
    let fitting = shape.length === axes.length;
    for (let axis = 0; fitting && axis < axes.length; axis++) fitting = fits(axes[axis], shape[axis], sizes);
    if (!fitting) throw new RangeError(misfit(op, expectations, i, sizes));
  }
  return sizes as Record<Dims<N>, number>;
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
