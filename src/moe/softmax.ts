import type { Tensor } from '@tensorflow/tfjs-core';
import type { NdArray, Shape } from '../op/define';
import { defineMoeOp } from './family';
import { softmaxReference } from './routingWeights.reference';

interface Attrs {
  /** Over the last axis or over the one before it. */
  over: 'columns' | 'rows';
}

function sizes(shape: Shape) {
  const [T, J] = shape.slice(-2);
  return { T, J, batches: shape.slice(0, -2).reduce((n, size) => n * size, 1) };
}

/** The places of each set of numbers that sum to one. */
function linesOf(shape: Shape, { over }: Attrs): number[][] {
  const { T, J, batches } = sizes(shape);
  if (over === 'columns') {
    return Array.from({ length: batches * T }, (_, row) => Array.from({ length: J }, (_, j) => row * J + j));
  }
  return Array.from({ length: batches * J }, (_, line) => {
    const first = Math.floor(line / J) * T * J + (line % J);
    return Array.from({ length: T }, (_, t) => first + t * J);
  });
}

const op = defineMoeOp<'logits', Attrs>({
  name: 'routingSoftmax',
  outputs: ({ logits }) => [logits!],
  kernel: ({ input, output, shape, attrs, launch }) => {
    const { T, J, batches } = sizes(shape.logits!);
    if (attrs.over === 'columns') launch('softmaxRows', batches * T, input.logits, output[0], J);
    else launch('softmaxColumns', batches, input.logits, output[0], T, J);
  },
  reference: ({ logits }, attrs) => {
    const p = new Float64Array(logits!.data.length);
    for (const line of linesOf(logits!.shape, attrs)) {
      softmaxReference(line.map((at) => logits!.data[at])).forEach((value, i) => {
        p[line[i]] = value;
      });
    }
    return [p];
  },
  saveOutputs: [true],
  gradient: ({ outputs, dy, attrs }) => ({
    logits: () => backward.run({ p: outputs[0], dp: dy[0] }, attrs)[0],
  }),
});

const backward = defineMoeOp<'p' | 'dp', Attrs>({
  name: 'routingSoftmaxBackward',
  outputs: ({ p }) => [p!],
  kernel: ({ input, output, shape, attrs, launch }) => {
    const { T, J, batches } = sizes(shape.p!);
    if (attrs.over === 'columns') launch('softmaxRowsBackward', batches * T, input.p, input.dp, output[0], J);
    else launch('softmaxColumnsBackward', batches, input.p, input.dp, output[0], T, J);
  },
  reference: ({ p, dp }: { p?: NdArray; dp?: NdArray }, attrs) => {
    const dlogits = new Float64Array(p!.data.length);
    for (const line of linesOf(p!.shape, attrs)) {
      const mean = line.reduce((sum, at) => sum + p!.data[at] * dp!.data[at], 0);
      for (const at of line) dlogits[at] = p!.data[at] * (dp!.data[at] - mean);
    }
    return [dlogits];
  },
});

/** Softmax of `[..., T, J]` over its columns (the last axis) or its rows. */
export function routingSoftmax(logits: Tensor, over: Attrs['over']): Tensor {
  return op.run({ logits }, { over })[0];
}
