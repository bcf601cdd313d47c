import type { Tensor } from '@tensorflow/tfjs-core';
import type { NdArray } from '../op/define';
import { defineSparseOp } from './family';

type Input = 'x0' | 'gate0' | 'x1' | 'gate1' | 'x2' | 'gate2';
type Inputs = { readonly [name in Input | 'dy']?: NdArray };

const BRANCHES = [
  ['x0', 'gate0'],
  ['x1', 'gate1'],
  ['x2', 'gate2'],
] as const;

const op = defineSparseOp<Input, undefined>({
  name: 'gatedSum',
  outputs: ({ x0 }) => [x0!],
  kernel: ({ input, shape, output, launch }) => {
    const [B, T, H, D] = shape.x0!;
    BRANCHES.forEach(([x, gate], i) => {
      if (shape[x]) launch('addGated', B * T * H, input[x], input[gate], output[0], D, i === 0 ? 1 : 0);
    });
  },
  reference: (x) => [gatedSumReference(x)],
  gradient: ({ inputs, dy }) => {
    const [x0, gate0, x1, gate1, x2, gate2] = backward.run({ ...inputs, dy: dy[0] }, undefined);
    return { x0, gate0, x1, gate1, x2, gate2 };
  },
});

const backward = defineSparseOp<Input | 'dy', undefined>({
  name: 'gatedSumBackward',
  outputs: (shape) => BRANCHES.flatMap(([x, gate]) => [shape[x] ?? [0], shape[gate] ?? [0]]),
  kernel: ({ input, shape, output, launch }) => {
    const [B, T, H, D] = shape.x0!;
    BRANCHES.forEach(([x, gate], i) => {
      if (!shape[x]) return;
      launch(
        'addGatedBackward',
        B * T * H,
        input[x],
        input[gate],
        input.dy,
        output[2 * i],
        output[2 * i + 1],
        D,
      );
    });
  },
  reference: gatedSumBackwardReference,
});

function gatedSumReference(inputs: Inputs): Float64Array {
  const sum = new Float64Array(inputs.x0!.data.length);
  const D = inputs.x0!.shape[3];
  for (const [x, gate] of BRANCHES) {
    inputs[x]?.data.forEach((value, i) => {
      sum[i] += inputs[gate]!.data[Math.floor(i / D)] * value;
    });
  }
  return sum;
}

function gatedSumBackwardReference(inputs: Inputs): Float64Array[] {
  const D = inputs.x0!.shape[3];
  return BRANCHES.flatMap(([x, gate]) => {
    const dx = new Float64Array(inputs[x]?.data.length ?? 0);
    const dgate = new Float64Array(inputs[gate]?.data.length ?? 0);
    for (let i = 0; i < dx.length; i++) {
      const row = Math.floor(i / D);
      dx[i] = inputs[gate]!.data[row] * inputs.dy!.data[i];
      dgate[row] += inputs[x]!.data[i] * inputs.dy!.data[i];
    }
    return [dx, dgate];
  });
}

/** Sum over up to three branches of gate `[B, T, H]` times x `[B, T, H, D]`, differentiable. */
export function gatedSum(branches: readonly { x: Tensor; gate: Tensor }[]): Tensor {
  const inputs = Object.fromEntries(
    branches.flatMap(({ x, gate }, i) => [
      [BRANCHES[i][0], x],
      [BRANCHES[i][1], gate],
    ]),
  );
  return op.run(inputs, undefined)[0];
}
