import type { Tensor } from '@tensorflow/tfjs-core';
import type { Shape } from '../op/define';
import { checkShapes } from '../tensor/shape';
import { defineNnOp } from './family';
import { rmsNormBackwardReference, rmsNormReference } from './rmsNorm.reference';

export interface RmsNormOptions {
  /** Added to the mean square; default 1e-6. */
  eps?: number;
  /** Added to the weight: 1 for Gemma, whose weights are stored around zero; default 0. */
  weightOffset?: number;
}
export interface RmsNormAttrs {
  eps: number;
  offset: number;
}

const op = defineNnOp<'x' | 'weight', RmsNormAttrs>({
  name: 'rmsNorm',
  outputs: ({ x }) => [x!],
  kernel: ({ input, shape, output, attrs, launch }) => {
    const { rows, D } = rowsOf(shape.x!);
    launch('rmsNorm', rows, input.x, input.weight, output[0], D, attrs.eps, attrs.offset);
  },
  reference: rmsNormReference,
  gradient: ({ inputs, dy, attrs }) => {
    const [dx, dweight] = backward.run({ ...inputs, dy: dy[0] }, attrs);
    return { x: dx, weight: dweight };
  },
});

const backward = defineNnOp<'x' | 'weight' | 'dy', RmsNormAttrs>({
  name: 'rmsNormBackward',
  outputs: ({ x }) => [x!, [x!.at(-1)!]],
  kernel: ({ input, shape, output, attrs, scratch, launch }) => {
    const { rows, D } = rowsOf(shape.x!);
    const { eps, offset } = attrs;
    launch(
      'rmsNormBackward',
      rows,
      input.x,
      input.weight,
      input.dy,
      output[0],
      scratch(4 * D),
      D,
      eps,
      offset,
    );
    launch('rmsNormBackwardWeight', Math.ceil(D / 4), input.x, input.dy, output[1], rows, D, eps);
  },
  reference: rmsNormBackwardReference,
});

function rowsOf(shape: Shape) {
  const D = shape.at(-1)!;
  return { rows: shape.slice(0, -1).reduce((n, size) => n * size, 1), D };
}

/**
 * Root mean square normalisation over the last axis: `y = x / sqrt(mean(x^2) + eps) * (weightOffset + weight)`.
 *
 * @param x `[..., D]`
 * @param weight `[D]`, or undefined for none
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Zhang and Sennrich, "Root Mean Square Layer Normalization", equation 4
 */
export function rmsNorm(x: Tensor, weight?: Tensor, options: RmsNormOptions = {}): Tensor {
  const { eps = 1e-6, weightOffset = 0 } = options;
  const axes = Array.from({ length: Math.max(1, x.shape.length) - 1 }, (_, i) => `N${i}`);
  checkShapes('rmsNorm', [
    ['x', x, [...axes, 'D'].join(' ')],
    ['weight', weight, 'D'],
  ]);
  return op.run({ x, weight }, { eps, offset: weightOffset })[0];
}
