import type { Tensor } from '@tensorflow/tfjs-core';
import type { NdArray } from '../op/define';
import { checkFinite, checkShapes } from '../tensor/shape';
import { defineMoeOp } from './family';

interface Attrs {
  rate: number;
}

/** bias_e + rate * sign(mean count - count_e) */
function updateRouterBiasReference(
  { bias, counts }: { bias?: NdArray; counts?: NdArray },
  { rate }: Attrs,
): [bias: Float64Array] {
  const mean = counts!.data.reduce((sum, count) => sum + count, 0) / counts!.data.length;
  return [bias!.data.map((b, e) => b + rate * Math.sign(mean - counts!.data[e]))];
}

const op = defineMoeOp<'bias' | 'counts', Attrs>({
  name: 'updateRouterBias',
  outputs: ({ bias }) => [bias!],
  kernel: ({ input, output, shape, attrs, launch }) => {
    const [E] = shape.bias!;
    launch('updateRouterBias', E, input.bias, input.counts, output[0], E, attrs.rate);
  },
  reference: updateRouterBiasReference,
});

/**
 * Balance without an auxiliary loss: after a step, the correction bias of experts that got less than the mean goes up by
 * `updateRate`, that of experts that got more goes down. Give the result to `topkRouting` as `correctionBias`.
 *
 * @param bias `[E]`
 * @param counts `[E]` int32, the choices of each expert in the last batch
 * @param updateRate default 0.001
 * @returns `[E]`, the new bias; it has no gradient
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Wang et al., "Auxiliary-Loss-Free Load Balancing Strategy for Mixture-of-Experts", algorithm 1
 * @example
 * ```ts
 * import { tensor, zeros } from '@tensorflow/tfjs-core';
 * import { ready, updateRouterBias } from 'linnet';
 *
 * await ready();
 * const bias = zeros([4]);
 * const counts = tensor([120, 130, 126, 136], [4], 'int32');
 * console.log(updateRouterBias(bias, counts, 0.5).arraySync()); // [0.5, -0.5, 0.5, -0.5]
 * ```
 */
export function updateRouterBias(bias: Tensor, counts: Tensor, updateRate = 0.001): Tensor {
  checkShapes('updateRouterBias', [
    ['bias', bias, 'E'],
    ['counts', counts, 'E', 'int32'],
  ]);
  checkFinite('updateRouterBias', 'updateRate', updateRate);
  return op.run({ bias, counts }, { rate: updateRate })[0];
}
