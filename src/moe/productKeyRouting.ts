import type { Tensor } from '@tensorflow/tfjs-core';
import type { NdArray } from '../op/define';
import { checkObject, checkShapes } from '../tensor/shape';
import { defineMoeOp } from './family';
import type { Routing } from './moeMlp';
import { leadingAxes } from './routerLogits';
import { softmaxReference } from './routingWeights.reference';

interface Attrs {
  k: number;
}
const rowsOf = (shape: readonly number[]) => shape.slice(0, -1).reduce((n, size) => n * size, 1);

/** The k best of all n^2 sums, ties to the pair that comes first in the order of the two rankings, and their softmax. */
function productKeyRoutingReference(
  { a, b }: { a?: NdArray; b?: NdArray },
  { k }: Attrs,
): [weights: Float64Array, indices: Int32Array] {
  const n = a!.shape.at(-1)!;
  const rows = rowsOf(a!.shape);
  const weights = new Float64Array(rows * k);
  const indices = new Int32Array(rows * k);
  for (let row = 0; row < rows; row++) {
    const x = a!.data.subarray(row * n, (row + 1) * n);
    const y = b!.data.subarray(row * n, (row + 1) * n);
    const ranked = (values: Float64Array) =>
      Array.from(values.keys()).sort((i, j) => values[j] - values[i] || i - j);
    const pairs = ranked(x).flatMap((i) => ranked(y).map((j) => ({ index: i * n + j, sum: x[i] + y[j] })));
    const best = pairs.sort((p, q) => q.sum - p.sum).slice(0, k);
    weights.set(softmaxReference(best.map(({ sum }) => sum)), row * k);
    indices.set(
      best.map(({ index }) => index),
      row * k,
    );
  }
  return [weights, indices];
}

interface BackwardInputs {
  a?: NdArray;
  weights?: NdArray;
  indices?: NdArray;
  dweights?: NdArray;
}

function productKeyRoutingBackwardReference(
  { a, weights, indices, dweights }: BackwardInputs,
  { k }: Attrs,
): [da: Float64Array, db: Float64Array] {
  const n = a!.shape.at(-1)!;
  const da = new Float64Array(a!.data.length);
  const db = new Float64Array(a!.data.length);
  for (let row = 0; row < rowsOf(a!.shape); row++) {
    const places = Array.from({ length: k }, (_, j) => row * k + j);
    const mean = places.reduce((sum, at) => sum + weights!.data[at] * dweights!.data[at], 0);
    for (const at of places) {
      const d = weights!.data[at] * (dweights!.data[at] - mean);
      da[row * n + Math.floor(indices!.data[at] / n)] += d;
      db[row * n + (indices!.data[at] % n)] += d;
    }
  }
  return [da, db];
}

const op = defineMoeOp<'a' | 'b', Attrs>({
  name: 'productKeyRouting',
  outputs: ({ a }, { k }) => {
    const shape = [...a!.slice(0, -1), k];
    return [shape, { shape, dtype: 'int32' }];
  },
  kernel: ({ input, output, shape, attrs: { k }, workspace, launch }) => {
    const n = shape.a!.at(-1)!;
    const work = workspace(5 * (Math.max(n, k * k) + 16) + 4 * (k * k + 2 * k));
    launch('productKeyRouting', rowsOf(shape.a!), input.a, input.b, output[0], output[1], work, n, k);
  },
  reference: productKeyRoutingReference,
  saveOutputs: [true, true],
  gradient: ({ inputs: { a }, outputs: [weights, indices], dy, attrs }) => {
    const [da, db] = backward.run({ a, weights, indices, dweights: dy[0] }, attrs);
    return { a: da, b: db };
  },
});

const backward = defineMoeOp<'a' | 'weights' | 'indices' | 'dweights', Attrs>({
  name: 'productKeyRoutingBackward',
  outputs: ({ a }) => [a!, a!],
  kernel: ({ input, output, shape, attrs: { k }, launch }) =>
    launch(
      'productKeyRoutingBackward',
      rowsOf(shape.a!),
      input.weights,
      input.indices,
      input.dweights,
      output[0],
      output[1],
      shape.a!.at(-1)!,
      k,
    ),
  reference: productKeyRoutingBackwardReference,
});

/**
 * The best `topK` of n^2 experts for the price of 2 n scores: expert `i * n + j` scores `scores1[i] + scores2[j]`, so the
 * best pairs are among those of the best rows and columns. Weights are the softmax over the chosen scores.
 *
 * Scores come from the halves of a query and two sets of n keys: `routerLogits(query1, keys1)`,
 * `routerLogits(query2, keys2)`; heads are one more leading axis.
 *
 * @param scores1 `[..., n]`
 * @param scores2 `[..., n]`
 * @returns weights `[..., topK]` and indices `[..., topK]` int32 into n^2 experts, best first
 * @throws TypeError, RangeError for a wrong dtype or shape, or topK beyond n
 * @see Lample et al., "Large Memory Layers with Product Keys"
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { productKeyRouting, ready } from 'linnet';
 *
 * await ready();
 * const scores1 = randomNormal([64, 32]);
 * const scores2 = randomNormal([64, 32]);
 * const { weights, indices } = productKeyRouting(scores1, scores2, { topK: 8 }); // weights [64, 8], indices [64, 8]
 * ```
 */
export function productKeyRouting(scores1: Tensor, scores2: Tensor, options: { topK: number }): Routing {
  checkObject('productKeyRouting', 'options', options, '{ topK }');
  const { topK } = options;
  const axes = leadingAxes(scores1);
  const { n } = checkShapes('productKeyRouting', [
    ['scores1', scores1, `${axes} n`.trim()],
    ['scores2', scores2, `${axes} n`.trim()],
  ]) as { n: number };
  if (!(Number.isInteger(topK) && topK >= 1 && topK <= n)) {
    throw new RangeError(`productKeyRouting: topK is ${topK}; expected 1 to ${n} (n from scores1)`);
  }
  const [weights, indices] = op.run({ a: scores1, b: scores2 }, { k: topK });
  return { weights, indices };
}
