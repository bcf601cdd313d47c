import type { Tensor } from '@tensorflow/tfjs-core';
import { type ActivationKind, KIND_NUMBER } from '../moe/activation';
import { activationReference } from '../moe/activation.reference';
import { defineMoeOp } from '../moe/family';
import type { NdArray } from '../op/define';

export type Elementwise = Exclude<ActivationKind, 'clamped'>;
interface Attrs {
  kind: Elementwise;
}
type Input = 'gate' | 'up';

/** Elements of a work item, as the kernels have them. */
const BLOCK = 4096;
const sizeOf = (shape: readonly number[]) => shape.reduce((n, size) => n * size, 1);

const op = defineMoeOp<Input, Attrs>({
  name: 'activated',
  outputs: ({ gate }) => [gate!],
  kernel: ({ input: { gate, up }, shape, output, attrs, launch }) => {
    const count = sizeOf(shape.gate!);
    launch('activated', Math.ceil(count / BLOCK), KIND_NUMBER[attrs.kind], gate, up, output[0], count);
  },
  reference: ({ gate, up }, attrs) => [
    gate!.data.map((value, i) => activationReference(formOf(up, attrs), value, up?.data[i] ?? 0).h),
  ],
  gradient: ({ inputs, dy, attrs }) => {
    const [gate, up] = backward.run({ ...inputs, dy: dy[0] }, attrs);
    return { gate, up };
  },
});

const backward = defineMoeOp<Input | 'dy', Attrs>({
  name: 'activatedBackward',
  outputs: ({ gate, up }) => (up === undefined ? [gate!] : [gate!, up]),
  kernel: ({ input: { gate, up, dy }, shape, output, attrs, launch }) => {
    const count = sizeOf(shape.gate!);
    // biome-ignore format: one argument list per line of the entry point
    launch('activatedBackward', Math.ceil(count / BLOCK),
      KIND_NUMBER[attrs.kind], gate, up, dy, output[0], output[1], count);
  },
  reference: ({ gate, up, dy }, attrs) => {
    const slopes = Array.from(gate!.data, (value, i) =>
      activationReference(formOf(up, attrs), value, up?.data[i] ?? 0),
    );
    const times = (slope: 'dGate' | 'dUp') => dy!.data.map((d, i) => d * slopes[i][slope]);
    return up === undefined ? [times('dGate')] : [times('dGate'), times('dUp')];
  },
});

const formOf = (up: NdArray | undefined, { kind }: Attrs) =>
  ({ kind, gated: up !== undefined, alpha: 0, limit: 0 }) as const;

/** `f(gate)`, times `up` of the same shape if it is given. Its gradient needs nothing but linnet. */
export function activated(kind: Elementwise, gate: Tensor, up?: Tensor): Tensor {
  return op.run({ gate, up }, { kind })[0];
}
