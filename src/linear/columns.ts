import type { Tensor } from '@tensorflow/tfjs-core';
import type { Op, Shape } from '../op/define';
import { defineLinearOp } from './family';

// A normaliser is one more column of the values: ones among the values, sums of keys in the state, the divisor in the
// output.

const rowsOf = (shape: Shape) => shape.slice(0, -1).reduce((n, size) => n * size, 1);
const widened = (shape: Shape, by: number): Shape => [...shape.slice(0, -1), shape.at(-1)! + by];

/** [..., V + 1] from [..., V] and a column, of ones where none is given. */
const join: Op<'x' | 'column', null> = defineLinearOp<'x' | 'column', null>({
  name: 'joinColumn',
  outputs: ({ x }) => [widened(x!, 1)],
  kernel: ({ input, output, shape, launch }) =>
    launch('joinColumn', rowsOf(shape.x!), input.x, input.column, output[0], shape.x!.at(-1)!),
  reference: ({ x, column }) => {
    const V = x!.shape.at(-1)!;
    const joined = new Float64Array(rowsOf(x!.shape) * (V + 1));
    for (let row = 0; row < joined.length / (V + 1); row++) {
      joined.set(x!.data.subarray(row * V, (row + 1) * V), row * (V + 1));
      joined[row * (V + 1) + V] = column ? column.data[row] : 1;
    }
    return [joined];
  },
  gradient: ({ inputs, dy }) => {
    const [x, column] = split.run({ joined: dy[0] }, { column: inputs.column?.shape });
    return { x, column };
  },
});

/** The reverse; the column has the shape asked for, or is left out. */
const split: Op<'joined', { column?: Shape }> = defineLinearOp<'joined', { column?: Shape }>({
  name: 'splitColumn',
  outputs: ({ joined }, { column }) => [widened(joined!, -1), ...(column ? [column] : [])],
  kernel: ({ input, output, shape, launch }) => {
    const V = shape.joined!.at(-1)! - 1;
    launch('splitColumn', rowsOf(shape.joined!), input.joined, output[0], output[1] ?? 0, V);
  },
  reference: ({ joined }, { column }) => {
    const V = joined!.shape.at(-1)! - 1;
    const isColumn = (_: number, i: number) => i % (V + 1) === V;
    const x = joined!.data.filter((a, i) => !isColumn(a, i));
    return column ? [x, joined!.data.filter(isColumn)] : [x];
  },
  gradient: ({ dy: [x, column] }) => ({ joined: () => join.run({ x, column }, null)[0] }),
});

const divide = defineLinearOp<'x', { eps: number }>({
  name: 'divideByColumn',
  outputs: ({ x }) => [widened(x!, -1)],
  kernel: ({ input, output, shape, attrs, launch }) =>
    launch('divideByColumn', rowsOf(shape.x!), input.x, output[0], shape.x!.at(-1)! - 1, attrs.eps),
  reference: ({ x }, { eps }) => {
    const V = x!.shape.at(-1)! - 1;
    const y = new Float64Array(rowsOf(x!.shape) * V);
    for (let i = 0; i < y.length; i++) {
      const row = Math.floor(i / V) * (V + 1);
      y[i] = x!.data[row + (i % V)] / (x!.data[row + V] + eps);
    }
    return [y];
  },
  gradient: ({ inputs, dy, attrs }) => ({
    x: () => divideBackward.run({ x: inputs.x, dy: dy[0] }, attrs)[0],
  }),
});

const divideBackward = defineLinearOp<'x' | 'dy', { eps: number }>({
  name: 'divideByColumnBackward',
  outputs: ({ x }) => [x!],
  kernel: ({ input, output, shape, attrs, launch }) => {
    const V = shape.x!.at(-1)! - 1;
    launch('divideByColumnBackward', rowsOf(shape.x!), input.x, input.dy, output[0], V, attrs.eps);
  },
  reference: ({ x, dy }, { eps }) => {
    const V = x!.shape.at(-1)! - 1;
    const dx = new Float64Array(x!.data.length);
    for (let i = 0; i < dy!.data.length; i++) {
      const row = Math.floor(i / V) * (V + 1);
      const at = row + (i % V);
      const d = dy!.data[i] / (x!.data[row + V] + eps);
      dx[at] = d;
      dx[row + V] -= (d * x!.data[at]) / (x!.data[row + V] + eps);
    }
    return [dx];
  },
});

export function joinColumn(x: Tensor, column?: Tensor): Tensor {
  return join.run({ x, column }, null)[0];
}

export function splitColumn(joined: Tensor, column: Shape): Tensor[] {
  return split.run({ joined }, { column });
}

/** The first columns over the last plus eps. */
export function divideByColumn(x: Tensor, eps: number): Tensor {
  return divide.run({ x }, { eps })[0];
}
