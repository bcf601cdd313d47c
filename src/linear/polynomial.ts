import type { Tensor } from '@tensorflow/tfjs-core';
import type { KernelCall, NdArray, Shape } from '../op/define';
import { checkTensor } from '../tensor/shape';
import { defineLinearOp } from './family';

interface Attrs {
  /** Feature f is factor[f] times feature parent[f] times number variable[f] of the row; -1 stands for 1. */
  parent: readonly number[];
  variable: readonly number[];
  factor: readonly number[];
  /** How many of the features, counted from the last, are given out. */
  features: number;
}

const rowsOf = (shape: Shape) => shape.slice(0, -1).reduce((n, size) => n * size, 1);

/** The tables on the heap. */
function tablesOf({
  attrs,
  scratch,
  buffer,
}: Pick<KernelCall<string, Attrs, never>, 'attrs' | 'scratch' | 'buffer'>) {
  const total = attrs.parent.length;
  const [parent, variable, factor] = [scratch(4 * total), scratch(4 * total), scratch(4 * total)];
  new Int32Array(buffer(), parent, total).set(attrs.parent);
  new Int32Array(buffer(), variable, total).set(attrs.variable);
  new Float32Array(buffer(), factor, total).set(attrs.factor);
  return [parent, variable, factor] as const;
}

/** All features of one row. */
function featuresOf({ parent, variable, factor }: Attrs, row: Float64Array): Float64Array {
  const y = new Float64Array(parent.length);
  for (let f = 0; f < y.length; f++)
    y[f] = factor[f] * (parent[f] < 0 ? 1 : y[parent[f]]) * (variable[f] < 0 ? 1 : row[variable[f]]);
  return y;
}

const op = defineLinearOp<'x', Attrs>({
  name: 'monomials',
  outputs: ({ x }, { features }) => [[...x!.slice(0, -1), features]],
  kernel: (call) => {
    const { input, output, shape, attrs, workspace, launch } = call;
    const total = attrs.parent.length;
    // biome-ignore format: one argument list per line of the entry point
    launch('monomials', rowsOf(shape.x!),
      input.x, output[0], ...tablesOf(call), workspace(4 * total), shape.x!.at(-1)!, total, attrs.features);
  },
  reference: ({ x }, attrs) => {
    const D = x!.shape.at(-1)!;
    const rows = rowsOf(x!.shape);
    const y = new Float64Array(rows * attrs.features);
    for (let row = 0; row < rows; row++) {
      const all = featuresOf(attrs, x!.data.subarray(row * D, (row + 1) * D));
      y.set(all.subarray(all.length - attrs.features), row * attrs.features);
    }
    return [y];
  },
  gradient: ({ inputs, dy, attrs }) => ({ x: () => backward.run({ x: inputs.x, dy: dy[0] }, attrs)[0] }),
});

const backward = defineLinearOp<'x' | 'dy', Attrs>({
  name: 'monomialsBackward',
  outputs: ({ x }) => [x!],
  kernel: (call) => {
    const { input, output, shape, attrs, workspace, launch } = call;
    const total = attrs.parent.length;
    // biome-ignore format: one argument list per line of the entry point
    launch('monomialsBackward', rowsOf(shape.x!),
      input.x, input.dy, output[0], ...tablesOf(call), workspace(8 * total), shape.x!.at(-1)!, total, attrs.features);
  },
  reference: ({ x, dy }: { x?: NdArray; dy?: NdArray }, attrs) => {
    const { parent, variable, factor, features } = attrs;
    const D = x!.shape.at(-1)!;
    const dx = new Float64Array(x!.data.length);
    for (let row = 0; row < rowsOf(x!.shape); row++) {
      const own = x!.data.subarray(row * D, (row + 1) * D);
      const y = featuresOf(attrs, own);
      const d = new Float64Array(y.length);
      d.set(dy!.data.subarray(row * features, (row + 1) * features), y.length - features);
      for (let f = y.length - 1; f >= 0; f--) {
        if (variable[f] < 0) continue;
        const by = d[f] * factor[f];
        dx[row * D + variable[f]] += by * (parent[f] < 0 ? 1 : y[parent[f]]);
        if (parent[f] >= 0) d[parent[f]] += by * own[variable[f]];
      }
    }
    return [dx];
  },
});

/**
 * All monomials of D numbers up to a degree, each once, as x^alpha / sqrt(alpha!) times sqrt(scale) per degree: their inner
 * products are the sum over j of (scale x.y)^j / j!.
 */
function monomialTables(D: number, degree: number, scale: number) {
  const tables = { parent: [-1], variable: [-1], factor: [1] };
  /** How often the last variable of a feature stands in it. */
  const repeats = [0];
  let first = 0;
  for (let n = 1; n <= degree; n++) {
    const end = tables.parent.length;
    for (let f = first; f < end; f++) {
      for (let i = Math.max(0, tables.variable[f]); i < D; i++) {
        const repeat = i === tables.variable[f] ? repeats[f] + 1 : 1;
        tables.parent.push(f);
        tables.variable.push(i);
        tables.factor.push(Math.sqrt(scale / repeat));
        repeats.push(repeat);
      }
    }
    first = end;
  }
  return { ...tables, ofDegree: tables.parent.length - first };
}

/** Features beyond these would not fit on the heap for a few rows. */
const MOST_FEATURES = 2 ** 24;

/** How many monomials of D numbers have at most so high a degree. */
function monomialCount(D: number, degree: number): number {
  let count = 1;
  const [fewer, more] = D < degree ? [D, degree] : [degree, D];
  for (let i = 1; i <= fewer && count <= MOST_FEATURES; i++) count *= (more + i) / i;
  return count;
}

function checkDegree(op: string, name: string, degree: number, x: Tensor): void {
  if (!Number.isInteger(degree) || degree < 0)
    throw new RangeError(`${op}: ${name} must be a whole number of at least 0; got ${String(degree)}`);
  const D = x.shape.at(-1)!;
  if (degree > MOST_FEATURES || monomialCount(D, degree) > MOST_FEATURES)
    throw new RangeError(`${op}: ${name} = ${degree} makes more than ${MOST_FEATURES} features of D = ${D}`);
}

function checkRows(op: string, x: Tensor): void {
  checkTensor(op, 'x', x);
  if (x.rank === 0) throw new RangeError(`${op}: x has shape []; expected [..., D]`);
}

export interface TaylorFeaturesOptions {
  /** Degree of the polynomial; default 2. */
  order?: number;
  /** Multiplies inner products of x; default `D ** -0.5`. */
  scale?: number;
}

/**
 * Features whose inner products are the Taylor polynomial of an exponential,
 * `phi(x).phi(y) = sum over j <= order of (scale x.y)^j / j!`. Equal monomials are one feature, so there are
 * `(D + order)! / (D! order!)` of them.
 *
 * @param x `[..., D]`
 * @param options.order default 2
 * @param options.scale default `D ** -0.5`
 * @returns `[..., F]`
 * @throws TypeError, RangeError for a wrong dtype or order
 * @see Arora et al., "Simple linear attention language models balance the recall-throughput tradeoff", section 3
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { ready, taylorFeatures } from 'linnet';
 *
 * await ready();
 * const x = randomNormal([1, 64, 2, 16]);
 * const features = taylorFeatures(x, { order: 2 }); // [1, 64, 2, 153]
 * ```
 */
export function taylorFeatures(x: Tensor, options: TaylorFeaturesOptions = {}): Tensor {
  checkRows('taylorFeatures', x);
  const D = x.shape.at(-1)!;
  const { order = 2, scale = D ** -0.5 } = options;
  checkDegree('taylorFeatures', 'order', order, x);
  if (!(scale >= 0)) throw new RangeError(`taylorFeatures: scale must be at least 0; got ${scale}`);
  const { ofDegree, ...tables } = monomialTables(D, order, scale);
  return op.run({ x }, { ...tables, features: tables.parent.length })[0];
}

/**
 * Features whose inner products are a power, `phi(x).phi(y) = (x.y)^degree`. Equal monomials are one feature, so there are
 * `(D + degree - 1)! / ((D - 1)! degree!)` of them.
 *
 * @param x `[..., D]`
 * @param degree a positive integer
 * @returns `[..., F]`
 * @throws TypeError, RangeError for a wrong dtype or degree
 * @see Aksenov et al., "Linear Transformers with Learnable Kernel Functions are Better In-Context Models", section 4, whose
 * features are those of degree 2
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { powerFeatures, ready } from 'linnet';
 *
 * await ready();
 * const x = randomNormal([1, 64, 2, 16]);
 * const features = powerFeatures(x, 2); // [1, 64, 2, 136]
 * ```
 */
export function powerFeatures(x: Tensor, degree: number): Tensor {
  checkRows('powerFeatures', x);
  checkDegree('powerFeatures', 'degree', degree, x);
  const { ofDegree, ...tables } = monomialTables(x.shape.at(-1)!, degree, 1);
  let factorial = 1;
  for (let j = 2; j <= degree; j++) factorial *= j;
  const factor = tables.factor.map((f, i) => (i === 0 ? Math.sqrt(factorial) : f));
  return op.run({ x }, { ...tables, factor, features: ofDegree })[0];
}
