import type { Tensor } from '@tensorflow/tfjs-core';
import type { NdArray, Shape } from '../op/define';
import { heapOffsets } from './delta';
import { defineLinearOp } from './family';

interface Attrs {
  /** For each head of the result, the head it is a copy of. */
  which: readonly number[];
  /** Heads there are, and the axis they lie along. */
  heads: number;
  axis: number;
}

const product = (shape: Shape) => shape.reduce((a, b) => a * b, 1);
const withHeads = (shape: Shape, axis: number, heads: number) => [
  ...shape.slice(0, axis),
  heads,
  ...shape.slice(axis + 1),
];

function sizesOf(shape: Shape, axis: number) {
  return { rows: product(shape.slice(0, axis)), D: product(shape.slice(axis + 1)) };
}

/** For every row, head of the result and element: where it lies in the result and in what it is a copy of. */
function forEachCopy(
  { shape }: NdArray,
  { which, heads, axis }: Attrs,
  visit: (to: number, from: number) => void,
) {
  const { rows, D } = sizesOf(shape, axis);
  for (let row = 0; row < rows; row++) {
    which.forEach((head, i) => {
      for (let d = 0; d < D; d++) visit((row * which.length + i) * D + d, (row * heads + head) * D + d);
    });
  }
}

const take = defineLinearOp<'x', Attrs>({
  name: 'takeHeads',
  outputs: ({ x }, { which, axis }) => [withHeads(x!, axis, which.length)],
  kernel: (call) => {
    const { input, output, shape, attrs, launch } = call;
    const { rows, D } = sizesOf(shape.x!, attrs.axis);
    const which = heapOffsets(call, attrs.which);
    launch('takeHeads', rows, input.x, output[0], which, attrs.which.length, attrs.heads, D);
  },
  reference: ({ x }, attrs) => {
    const y = new Float64Array((x!.data.length / attrs.heads) * attrs.which.length);
    forEachCopy(x!, attrs, (to, from) => {
      y[to] = x!.data[from];
    });
    return [y];
  },
  gradient: ({ dy: [dy], attrs }) => ({ x: () => takeBackward.run({ dy }, attrs)[0] }),
});

const takeBackward = defineLinearOp<'dy', Attrs>({
  name: 'takeHeadsBackward',
  outputs: ({ dy }, { heads, axis }) => [withHeads(dy!, axis, heads)],
  kernel: (call) => {
    const { input, output, shape, attrs, launch } = call;
    const { rows, D } = sizesOf(shape.dy!, attrs.axis);
    const which = heapOffsets(call, attrs.which);
    launch('takeHeadsBackward', rows, input.dy, output[0], which, attrs.which.length, attrs.heads, D);
  },
  reference: ({ dy }, attrs) => {
    const dx = new Float64Array((dy!.data.length / attrs.which.length) * attrs.heads);
    forEachCopy(dy!, attrs, (to, from) => {
      dx[from] += dy!.data[to];
    });
    return [dx];
  },
});

/** Every head `times` times, one after another: head h of the result is head `h / times`, rounded down. */
export function repeatHeads(x: Tensor, times: number, axis: number): Tensor {
  const heads = x.shape[axis];
  const which = Array.from({ length: heads * times }, (_, i) => Math.floor(i / times));
  return times === 1 ? x : take.run({ x }, { which, heads, axis })[0];
}

/** The first of every `times` heads: what was repeated, again. */
export function firstHeads(x: Tensor, times: number, axis: number): Tensor {
  const heads = x.shape[axis];
  const which = Array.from({ length: heads / times }, (_, i) => i * times);
  return times === 1 ? x : take.run({ x }, { which, heads, axis })[0];
}
