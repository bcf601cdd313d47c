import type { Tensor } from '@tensorflow/tfjs-core';
import type { Shape } from '../op/define';
import { checkShapes } from '../tensor/shape';
import { defineLinearOp } from './family';
import { kdaGateBackwardReference, kdaGateReference } from './kdaGate.reference';

export interface KdaGateOptions {
  /** Below 0: the gate is `lowerBound * sigmoid(...)` instead, bounded by it. */
  lowerBound?: number;
}
export interface KdaGateAttrs {
  /** 0 for none */
  lowerBound: number;
}

const op = defineLinearOp<'g' | 'aLog' | 'dtBias', KdaGateAttrs>({
  name: 'kdaGate',
  outputs: ({ g }) => [g!],
  kernel: ({ input, shape, output, attrs, launch }) => {
    const { rows, H, K } = sizesOf(shape.g!);
    launch('kdaGate', H, input.g, input.aLog, input.dtBias, output[0], rows, H, K, attrs.lowerBound);
  },
  reference: kdaGateReference,
  gradient: ({ inputs, dy, attrs }) => {
    const [g, aLog, dtBias] = backward.run({ ...inputs, dy: dy[0] }, attrs);
    return { g, aLog, dtBias };
  },
});

const backward = defineLinearOp<'g' | 'aLog' | 'dtBias' | 'dy', KdaGateAttrs>({
  name: 'kdaGateBackward',
  outputs: ({ g, aLog, dtBias }) => (dtBias ? [g!, aLog!, dtBias] : [g!, aLog!]),
  kernel: ({ input, shape, output: [dg, dA, dBias], attrs, launch }) => {
    const { rows, H, K } = sizesOf(shape.g!);
    const { g, aLog, dtBias, dy } = input;
    launch('kdaGateBackward', H, g, aLog, dtBias, dy, dg, dA, dBias, rows, H, K, attrs.lowerBound);
  },
  reference: kdaGateBackwardReference,
});

function sizesOf([B, T, H, K]: Shape) {
  return { rows: B * T, H, K };
}

/**
 * The log decay of Kimi delta attention from its projection: `-exp(aLog) * softplus(g + dtBias)`, or with a lower bound
 * `lowerBound * sigmoid(exp(aLog) * (g + dtBias))`.
 *
 * @param g `[B, T, H, K]`
 * @param aLog `[H]`, log of the rate of each head
 * @param dtBias `[H * K]`, or undefined for none
 * @param options.lowerBound a negative number that bounds the gate from below; default none
 * @returns `[B, T, H, K]`, the natural logarithm of the decay
 * @throws TypeError, RangeError for a wrong dtype, shape or bound
 * @see Kimi Team, "Kimi Linear: An Expressive, Efficient Attention Architecture"
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { kdaGate, ready } from 'linnet';
 *
 * await ready();
 * const g = randomNormal([1, 64, 4, 16]);
 * const aLog = randomNormal([4]);
 * const dtBias = randomNormal([64]);
 * const logDecay = kdaGate(g, aLog, dtBias); // [1, 64, 4, 16]
 * ```
 */
export function kdaGate(g: Tensor, aLog: Tensor, dtBias?: Tensor, options: KdaGateOptions = {}): Tensor {
  const { lowerBound } = options;
  const { H, K } = checkShapes('kdaGate', [
    ['g', g, 'B T H K'],
    ['aLog', aLog, 'H'],
  ]);
  checkShapes('kdaGate', [['dtBias?', dtBias, `${H * K}`]]);
  if (lowerBound !== undefined && !(lowerBound < 0 && Number.isFinite(lowerBound))) {
    throw new RangeError(`kdaGate: lowerBound must be a negative number; got ${lowerBound}`);
  }
  return op.run({ g, aLog, dtBias }, { lowerBound: lowerBound ?? 0 })[0];
}
