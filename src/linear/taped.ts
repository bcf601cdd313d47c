import type { Tensor } from '@tensorflow/tfjs-core';
import type { LinearKernels } from '../generated/linear';
import type { KernelCall, NdArray, Op, Shape } from '../op/define';
import { Tape, type Var } from '../op/tape';
import { defineLinearOp } from './family';

/** An input as a taped reference sees it. */
export interface Vars {
  data: readonly Var[];
  shape: readonly number[];
}
type Given<I extends string, T> = { readonly [name in I]?: T };
/** Gradients of the outputs, in order. */
export type Cotangent = 'd0' | 'd1' | 'd2' | 'd3';
const COTANGENTS: readonly Cotangent[] = ['d0', 'd1', 'd2', 'd3'];

export interface TapedDefinition<I extends string, A> {
  name: string;
  /** All inputs, in order; each has a gradient. */
  inputs: readonly I[];
  outputs(shape: Given<I, Shape>, attrs: A): readonly Shape[];
  kernel(call: KernelCall<I, A, LinearKernels>): void;
  /** Writes the gradient of every input that is there; those of absent ones are pointer 0. */
  backward(call: KernelCall<I | Cotangent, A, LinearKernels>, gradient: Readonly<Record<I, number>>): void;
  /** The textbook formula on a tape, from which the reference's gradient follows. */
  reference(tape: Tape, x: Given<I, Vars>, attrs: A): readonly (readonly Var[])[];
}

/** An op whose float64 reference, written once, gives outputs and gradients; its kernels are two. */
export function defineTaped<I extends string, A>(definition: TapedDefinition<I, A>): Op<I, A> {
  const { name, inputs } = definition;
  const present = (given: Given<I, unknown>) => inputs.filter((input) => given[input] !== undefined);

  function onTape(given: Given<I, NdArray>, attrs: A, recording: boolean) {
    const tape = new Tape(recording);
    const x = Object.fromEntries(
      present(given).map((input) => {
        const { data, shape } = given[input]!;
        return [input, { data: tape.variables(data), shape }];
      }),
    ) as unknown as Given<I, Vars>;
    return { tape, x, outputs: definition.reference(tape, x, attrs) };
  }

  const backward = defineLinearOp<I | Cotangent, A>({
    name: `${name}Backward`,
    outputs: (shape) => present(shape).map((input) => shape[input]!),
    kernel: (call) => {
      const names = present(call.shape);
      const gradient = Object.fromEntries(inputs.map((input) => [input, 0])) as Record<I, number>;
      names.forEach((input, i) => {
        gradient[input] = call.output[i];
      });
      definition.backward(call, gradient);
    },
    reference: (given, attrs) => {
      const { tape, x, outputs } = onTape(given, attrs, true);
      const weights = outputs.flatMap((_, i) => Array.from((given[COTANGENTS[i]] as NdArray).data));
      const gradient = tape.gradients(outputs.flat(), weights);
      return present(x).map((input) => x[input]!.data.map((at) => gradient[at]));
    },
  });

  return defineLinearOp<I, A>({
    name,
    outputs: definition.outputs,
    kernel: definition.kernel,
    reference: (given, attrs) => {
      const { tape, outputs } = onTape(given, attrs, false);
      return outputs.map((output) => output.map((at) => tape.value(at)));
    },
    gradient: (call) => {
      const cotangents = Object.fromEntries(call.dy.map((dy, i) => [COTANGENTS[i], dy]));
      const results = backward.run(
        { ...call.inputs, ...cotangents } as Given<I | Cotangent, Tensor>,
        call.attrs,
      );
      return Object.fromEntries(present(call.inputs).map((input, i) => [input, results[i]])) as Given<
        I,
        Tensor
      >;
    },
  });
}

/** Row `index` of an input whose last axis is `width`. */
export function rowOf({ data }: Vars, index: number, width: number): Var[] {
  return data.slice(index * width, (index + 1) * width);
}

/** M^T x for M [x.length, columns] in rows. */
export function readOut(tape: Tape, x: readonly Var[], M: readonly Var[], columns: number): Var[] {
  return Array.from({ length: columns }, (_, j) =>
    tape.dot(
      x,
      x.map((_, i) => M[i * columns + j]),
    ),
  );
}

/** Row `index` of an output takes `values`. */
export function place(output: Var[], index: number, values: readonly Var[]): void {
  values.forEach((value, i) => {
    output[index * values.length + i] = value;
  });
}
