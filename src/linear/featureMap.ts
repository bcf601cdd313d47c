import type { Tensor } from '@tensorflow/tfjs-core';
import { util } from '@tensorflow/tfjs-core';
import type { NdArray } from '../op/define';
import { defineLinearOp } from './family';

/** `elu` is elu(x) + 1, `relu` max(x, 0); or any function of tensors, applied to q and to k. */
export type FeatureMap = 'identity' | 'elu' | 'relu' | ((x: Tensor) => Tensor);

interface Attrs {
  kind: 'elu' | 'relu';
}

const argsOf = (shape: readonly number[], { kind }: Attrs) => {
  const size = util.sizeFromShape([...shape]);
  return { items: Math.ceil(size / 64), args: [size, kind === 'elu' ? 0 : 1] as const };
};

const op = defineLinearOp<'x', Attrs>({
  name: 'featureMap',
  outputs: ({ x }) => [x!],
  kernel: ({ input, output, shape, attrs, launch }) => {
    const { items, args } = argsOf(shape.x!, attrs);
    launch('featureMap', items, input.x, output[0], ...args);
  },
  reference: ({ x }, { kind }) => [
    x!.data.map((a) => (kind === 'relu' ? Math.max(a, 0) : a > 0 ? a + 1 : Math.exp(a))),
  ],
  gradient: ({ inputs, dy, attrs }) => ({ x: () => backward.run({ x: inputs.x, dy: dy[0] }, attrs)[0] }),
});

const backward = defineLinearOp<'x' | 'dy', Attrs>({
  name: 'featureMapBackward',
  outputs: ({ x }) => [x!],
  kernel: ({ input, output, shape, attrs, launch }) => {
    const { items, args } = argsOf(shape.x!, attrs);
    launch('featureMapBackward', items, input.x, input.dy, output[0], ...args);
  },
  reference: ({ x, dy }: { x?: NdArray; dy?: NdArray }, { kind }) => [
    x!.data.map((a, i) => dy!.data[i] * (a > 0 ? 1 : kind === 'elu' ? Math.exp(a) : 0)),
  ],
});

/** The features of x; x itself for `identity`. */
export function featuresOf(featureMap: FeatureMap, x: Tensor): Tensor {
  if (typeof featureMap === 'function') return featureMap(x);
  return featureMap === 'identity' ? x : op.run({ x }, { kind: featureMap })[0];
}
