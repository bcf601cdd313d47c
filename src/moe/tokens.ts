import type { Tensor } from '@tensorflow/tfjs-core';
import { checkShapes } from '../tensor/shape';
import { defineMoeOp, noGradient } from './family';
import { checkIndices, planOf, upload } from './plan';
import { leadingAxes } from './routerLogits';
import { gatherRowsReference, scatterRowsBackwardReference, scatterRowsReference } from './tokens.reference';

const rowsOf = (shape: readonly number[]) => shape.slice(0, -1).reduce((n, size) => n * size, 1);
const sizeOf = (shape: readonly number[]) => shape.reduce((n, size) => n * size, 1);

/** Rows are the last axis, or of one number each. */
interface GatherAttrs {
  scalars: boolean;
}

const gatherOp = defineMoeOp<'x' | 'indices', GatherAttrs>({
  name: 'gatherTokens',
  outputs: ({ x, indices }, { scalars }) => [scalars ? indices! : [...indices!, x!.at(-1)!]],
  kernel: ({ input, output, shape, attrs, launch }) => {
    const D = attrs.scalars ? 1 : shape.x!.at(-1)!;
    launch('gatherRows', sizeOf(shape.indices!), input.x, input.indices, output[0], D);
  },
  reference: gatherRowsReference,
  gradient: ({ inputs: { x, indices }, dy, attrs: { scalars } }) => ({
    x: () => {
      const rows = scalars ? x!.size : rowsOf(x!.shape);
      return scatterOp.run({ y: dy[0], indices }, { rows, shape: x!.shape })[0];
    },
    indices: noGradient(indices!),
  }),
});

interface ScatterAttrs {
  rows: number;
  /** Of the output. */
  shape: readonly number[];
}

const scatterOp = defineMoeOp<'y' | 'weights' | 'indices' | 'residual', ScatterAttrs>({
  name: 'scatterTokens',
  outputs: (_, { shape }) => [shape],
  kernel: (call) => {
    const { input, output, shape, attrs, launch } = call;
    const indices = new Int32Array(call.buffer(), input.indices, sizeOf(shape.indices!)).slice();
    const { start, order, weight } = planOf(indices, indices.length, attrs.rows, 1, 'expert');
    const places = upload(
      call,
      order.map((slot) => weight[slot]),
    );
    const starts = upload(call, start);
    const D = sizeOf(attrs.shape) / attrs.rows;
    launch(
      'moeCombine',
      attrs.rows,
      input.y,
      input.weights,
      input.residual,
      output[0],
      starts,
      places,
      places,
      D,
    );
  },
  reference: scatterRowsReference,
  gradient: ({ inputs, dy, attrs }) => {
    const { y, weights, indices } = inputs;
    const [ours, theirs] = weights ? scatterBackward.run({ y, weights, indices, dy: dy[0] }, attrs) : [];
    return {
      y: ours ?? (() => gatherOp.run({ x: dy[0], indices }, { scalars: attrs.shape.length === 1 })[0]),
      weights: theirs,
      indices: noGradient(indices!),
      residual: () => dy[0].clone(),
    };
  },
});

const scatterBackward = defineMoeOp<'y' | 'weights' | 'indices' | 'dy', ScatterAttrs>({
  name: 'scatterTokensBackward',
  outputs: ({ y, weights }) => [y!, weights!],
  kernel: ({ input, output, shape, launch }) =>
    launch(
      'scatterRowsBackward',
      sizeOf(shape.indices!),
      input.y,
      input.weights,
      input.indices,
      input.dy,
      output[0],
      output[1],
      shape.y!.at(-1)!,
    ),
  reference: scatterRowsBackwardReference,
});

/** `gatherTokens` without its checks. */
export function gatherRows(x: Tensor, indices: Tensor): Tensor {
  return gatherOp.run({ x, indices }, { scalars: false })[0];
}

/** x[index], x taken flat. */
export function gatherNumbers(x: Tensor, indices: Tensor): Tensor {
  return gatherOp.run({ x, indices }, { scalars: true })[0];
}

/** `scatterTokens` without its checks, into a tensor of a given shape. */
export function scatterRows(
  y: Tensor,
  weights: Tensor | undefined,
  indices: Tensor,
  shape: readonly number[],
  residual?: Tensor,
): Tensor {
  return scatterOp.run({ y, weights, indices, residual }, { rows: rowsOf(shape), shape })[0];
}

/**
 * Rows of chosen tokens: `y_i = hidden[index_i]`, with the tokens of all sequences numbered through. Zeros for -1.
 *
 * @param hidden `[..., D]`
 * @param indices `[..]` int32
 * @returns `[.., D]`, the axes of `indices` and D
 * @throws TypeError, RangeError for a wrong dtype or shape, or an index that names no token
 * @see Raposo et al., "Mixture-of-Depths: Dynamically allocating compute in transformer-based language models"
 * @example
 * ```ts
 * import { randomNormal, tensor } from '@tensorflow/tfjs-core';
 * import { gatherTokens, ready } from 'linnet';
 *
 * await ready();
 * const hidden = randomNormal([4, 32]);
 * const indices = tensor([3, 0, -1], [3], 'int32');
 * const rows = gatherTokens(hidden, indices); // [3, 32]
 * ```
 */
export function gatherTokens(hidden: Tensor, indices: Tensor): Tensor {
  checkShapes('gatherTokens', [
    ['hidden', hidden, `${leadingAxes(hidden)} D`.trim()],
    ['indices', indices, indices?.shape?.map((_, i) => `I${i}`).join(' ') ?? '', 'int32'],
  ]);
  checkIndices('gatherTokens', 'indices', indices, rowsOf(hidden.shape), 'tokens', -1);
  return gatherRows(hidden, indices);
}

/**
 * Puts rows of chosen tokens back: `out = residual`, plus `weight_i y_i` at token `index_i`, added in the order of i.
 * Rows with index -1 go nowhere.
 *
 * @param y `[.., M]`
 * @param weights `[..]`, or undefined for ones
 * @param indices `[..]` int32
 * @param residual `[..., M]`
 * @returns `[..., M]`
 * @throws TypeError, RangeError for a wrong dtype or shape, or an index that names no token
 * @see Raposo et al., "Mixture-of-Depths: Dynamically allocating compute in transformer-based language models"
 * @example
 * ```ts
 * import { randomNormal, tensor } from '@tensorflow/tfjs-core';
 * import { ready, scatterTokens } from 'linnet';
 *
 * await ready();
 * const y = randomNormal([2, 32]);
 * const indices = tensor([3, 0], [2], 'int32');
 * const residual = randomNormal([4, 32]);
 * const out = scatterTokens(y, undefined, indices, residual); // [4, 32]
 * ```
 */
export function scatterTokens(
  y: Tensor,
  weights: Tensor | undefined,
  indices: Tensor,
  residual: Tensor,
): Tensor {
  const axes = indices?.shape?.map((_, i) => `I${i}`).join(' ') ?? '';
  checkShapes('scatterTokens', [
    ['indices', indices, axes, 'int32'],
    ['y', y, `${axes} M`.trim()],
    ['weights?', weights, axes],
    ['residual', residual, `${leadingAxes(residual)} M`.trim()],
  ]);
  checkIndices('scatterTokens', 'indices', indices, rowsOf(residual.shape), 'tokens', -1);
  return scatterRows(y, weights, indices, residual.shape, residual);
}
