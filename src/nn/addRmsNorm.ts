import { add, type Tensor } from '@tensorflow/tfjs-core';
import { leadingAxes } from '../moe/routerLogits';
import { isRecording } from '../op/define';
import { checkShapes } from '../tensor/shape';
import { defineNnOp } from './family';
import type { NormAttrs } from './norm';
import { type RmsNormOptions, rmsNorm } from './rmsNorm';
import { addRmsNormReference } from './rmsNorm.reference';

const op = defineNnOp<'x' | 'update' | 'weight', NormAttrs>({
  name: 'addRmsNorm',
  outputs: ({ x }) => [x!, x!],
  kernel: ({ input, shape, output, attrs: { eps, offset }, launch }) => {
    const D = shape.x!.at(-1)!;
    const rows = shape.x!.slice(0, -1).reduce((n, size) => n * size, 1);
    const { x, update, weight } = input;
    launch('addRmsNorm', rows, x, update, weight, output[0], output[1], D, 1 / D, eps, offset);
  },
  reference: addRmsNormReference,
});

/**
 * `x + update` and its root mean square norm, which a residual stream needs both; where a gradient is recorded, from ops that
 * have one.
 */
export function addRmsNorm(
  x: Tensor,
  update: Tensor,
  weight: Tensor,
  { eps = 1e-6, weightOffset = 0 }: RmsNormOptions = {},
): [sum: Tensor, normed: Tensor] {
  if (isRecording()) {
    const sum = add(x, update);
    return [sum, rmsNorm(sum, weight, { eps, weightOffset })];
  }
  checkShapes('addRmsNorm', [
    ['x', x, `${leadingAxes(x)} D`.trim()],
    ['update', update, x.shape.join(' ')],
    ['weight', weight, 'D'],
  ]);
  return op.run({ x, update, weight }, { eps, offset: weightOffset }) as [Tensor, Tensor];
}
