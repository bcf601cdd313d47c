import type { Tensor } from '@tensorflow/tfjs-core';
import type { NdArray, Op, Shape } from '../op/define';
import { defineLinearOp } from './family';

/** [N, H, R, C] with the last two axes exchanged. */
const op: Op<'x', null> = defineLinearOp<'x', null>({
  name: 'turnStates',
  outputs: ({ x }) => [turned(x!)],
  kernel: ({ input, output, shape, launch }) => {
    const [N, H, R, C] = shape.x!;
    launch('turnStates', N * H, input.x, output[0], R, C);
  },
  reference: ({ x }) => [turnedArray(x!).data],
  gradient: ({ dy }) => ({ x: () => op.run({ x: dy[0] }, null)[0] }),
});

const turned = ([N, H, R, C]: Shape): Shape => [N, H, C, R];

/** States with keys and values exchanged, if there are any. */
export const turnOver = (x: Tensor | undefined) => x && op.run({ x }, null)[0];

/** The same of values. */
export function turnedArray({ data, shape }: NdArray): NdArray {
  const [, , R, C] = shape;
  const values = data.map((_, i) => {
    const [item, at] = [Math.floor(i / (R * C)) * R * C, i % (R * C)];
    return data[item + (at % R) * C + Math.floor(at / R)];
  });
  return { data: values, shape: turned(shape) };
}
