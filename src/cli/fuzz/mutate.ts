import { scalar, type Tensor, tensor } from '@tensorflow/tfjs-core';
import { isTensor, type Leaf, leavesOf, type Path, withValue } from './leaves';

export type Random = () => number;
export const pick = <T>(from: readonly T[], random: Random): T => from[Math.floor(random() * from.length)];

export interface Mutated {
  args: unknown[];
  /** What was done, for the report. */
  notes: string[];
  /** Whether the call must still be accepted: only values of floats have changed. */
  valid: boolean;
}

const HOSTILE = [Number.NaN, Infinity, -Infinity, 1e-40, -1e-45, 3.4e38, -3.4e38, -0, 0, 1e20, 88.8, -1e4];
const JUNK_NUMBERS = [
  Number.NaN,
  Infinity,
  -Infinity,
  -1,
  0,
  1,
  2,
  3,
  7,
  1.5,
  -0.5,
  1e-40,
  2 ** 31,
  -(2 ** 31),
  2 ** 32,
  2 ** 53,
];
/** Tensors where an op takes none: disposed ones there would say no more. */
const misplaced = new WeakSet<object>();
const junkTensor = (made: Tensor) => {
  misplaced.add(made);
  return made;
};
const JUNK: readonly (() => unknown)[] = [
  () => undefined,
  () => null,
  () => true,
  () => '',
  () => 'linnet',
  () => [],
  () => ({}),
  () => [0, 1],
  () => [Number.NaN, -1],
  () => Int32Array.of(0, 5, 3),
  () => () => 0,
  () => junkTensor(scalar(1)),
  () => junkTensor(tensor([1, 2, 3], [3], 'int32')),
];
const SIZES = [0, 1, 2, 3, 5, 17, 33];
/** Tensors with more elements take seconds, and say no more. */
const MOST_ELEMENTS = 2 ** 18;

const size = (shape: readonly number[]) => shape.reduce((n, d) => n * d, 1);

/** A tensor of another shape with the values of the given one, over and over. */
function reshaped(from: Tensor, shape: readonly number[], dtype = from.dtype): Tensor {
  if (size(shape) > MOST_ELEMENTS) return from;
  const values = Array.from(from.dataSync());
  const filled = Array.from({ length: size(shape) }, (_, i) =>
    values.length === 0 ? 0 : values[i % values.length],
  );
  if (dtype === 'string') return tensor(filled.map(String), [...shape], 'string');
  if (dtype === 'complex64') return from.clone();
  return tensor(filled, [...shape], dtype);
}

/** Some or all values hostile. */
function hostileValues(from: Tensor, random: Random): Tensor {
  const share = pick([0.02, 0.3, 1], random);
  const few = [pick(HOSTILE, random), pick(HOSTILE, random)];
  const values = Array.from(from.dataSync(), (value) => (random() < share ? pick(few, random) : value));
  return tensor(values, from.shape, from.dtype);
}

function hostileIntegers(from: Tensor, random: Random): Tensor {
  const wrong = pick([-1, 2 ** 31 - 1, -(2 ** 31), 1, 0, 1000], random);
  const values = Array.from(from.dataSync(), (value) => (random() < 0.2 ? wrong : value));
  return tensor(values, from.shape, 'int32');
}

function otherShape(from: Tensor, random: Random): number[] {
  const shape = [...from.shape];
  const axis = Math.floor(random() * shape.length);
  switch (pick(['size', 'size', 'more', 'fewer'], random)) {
    case 'more':
      shape.splice(axis, 0, 1);
      return shape;
    case 'fewer':
      shape.splice(axis, 1);
      return shape;
    default:
      if (shape.length > 0)
        shape[axis] = pick([...SIZES, shape[axis] + 1, Math.max(0, shape[axis] - 1)], random);
      return shape;
  }
}

function junkLike(value: unknown, random: Random): unknown {
  if (typeof value === 'number' && random() < 0.7) return pick(JUNK_NUMBERS, random);
  if (Array.isArray(value) && random() < 0.7) {
    const copy: unknown[] = [...value];
    copy[Math.floor(random() * (copy.length + 1))] = pick(JUNK_NUMBERS, random);
    return copy;
  }
  return pick(JUNK, random)();
}

type Mutation = (
  args: unknown[],
  random: Random,
  options: readonly Leaf[],
) => (Omit<Mutated, 'notes'> & { note: string }) | undefined;

const at = (path: Path) => path.join('.');
const isAlive = (value: unknown): value is Tensor => isTensor(value) && !value.isDisposed;

const replaceTensor =
  (what: string, replace: (given: Tensor, random: Random) => Tensor, dtype?: string): Mutation =>
  (args, random) => {
    const tensors = leavesOf(args).filter(
      ({ value }) => isAlive(value) && (dtype === undefined || value.dtype === dtype),
    );
    if (tensors.length === 0) return undefined;
    const { path, value } = pick(tensors, random);
    const replaced = replace(value as Tensor, random);
    if (misplaced.has(value as Tensor)) misplaced.add(replaced);
    return {
      args: withValue(args, path, replaced),
      valid: dtype === 'float32',
      note: `${what} of ${at(path)}`,
    };
  };

const MUTATIONS: readonly Mutation[] = [
  replaceTensor('values', hostileValues, 'float32'),
  replaceTensor('values', hostileValues, 'float32'),
  replaceTensor('integers', hostileIntegers, 'int32'),
  replaceTensor('shape', (given, random) => reshaped(given, otherShape(given, random))),
  replaceTensor('dtype', (given, random) =>
    reshaped(given, given.shape, pick(['float32', 'int32', 'bool', 'string'] as const, random)),
  ),
  replaceTensor('disposal', (given) => {
    if (misplaced.has(given)) return given;
    const gone = given.clone();
    gone.dispose();
    return gone;
  }),
  // a size that several tensors share, changed in all of them
  (args, random) => {
    const leaves = leavesOf(args);
    const sizes = leaves.flatMap(({ value }) => (isAlive(value) ? value.shape : []));
    if (sizes.length === 0) return undefined;
    const from = pick(sizes, random);
    const to = pick(SIZES, random);
    let changed = args;
    for (const { path, value } of leaves) {
      if (!isAlive(value) || !value.shape.includes(from)) continue;
      const shape = value.shape.map((d) => (d === from ? to : d));
      changed = withValue(changed, path, reshaped(value, shape));
    }
    return { args: changed, valid: false, note: `every size ${from} is ${to}` };
  },
  (args, random) => {
    const leaves = leavesOf(args);
    if (leaves.length === 0) return undefined;
    const { path, value } = pick(leaves, random);
    const junk = junkLike(value, random);
    return { args: withValue(args, path, junk), valid: false, note: `junk at ${at(path)}` };
  },
  // options of other cases of the op, as they are or with junk
  (args, random, options) => {
    if (options.length === 0) return undefined;
    const { path, value } = pick(options, random);
    const chosen = random() < 0.5 ? value : junkLike(value, random);
    const holder = path.slice(0, -1).reduce<unknown>((inner, key) => (inner as never)?.[key], args);
    const prepared =
      typeof holder === 'object' && holder !== null ? args : withValue(args, path.slice(0, 1), {});
    if (path.length > 2) return undefined;
    return { args: withValue(prepared, path, chosen), valid: false, note: `option ${at(path)}` };
  },
  (args, random) => {
    const last = Math.floor(random() * (args.length + 1));
    return {
      args: [...args.slice(0, last), ...(random() < 0.3 ? [pick(JUNK, random)() ?? {}] : [])],
      valid: false,
      note: `arguments end at ${last}`,
    };
  },
];

/** The arguments of a valid call with up to three things changed. */
export function mutate(args: unknown[], options: readonly Leaf[], random: Random): Mutated {
  let result: Mutated = { args, notes: [], valid: true };
  const count = pick([0, 1, 1, 1, 2, 2, 3], random);
  for (let i = 0; i < count; i++) {
    const change = pick(MUTATIONS, random)(result.args, random, options);
    if (change === undefined) continue;
    result = {
      args: change.args,
      valid: result.valid && change.valid,
      notes: [...result.notes, change.note],
    };
  }
  return result;
}
