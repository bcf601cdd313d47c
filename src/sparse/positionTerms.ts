import type { Tensor } from '@tensorflow/tfjs-core';
import type { NdArray, Shape } from '../op/define';
import { defineSparseOp } from './family';

export interface PositionTermsAttrs {
  heads: number;
  /** For each distance the parameter that counts, and what it is multiplied by. */
  columns: Int32Array;
  weights: Float32Array;
}
type Input = 'parameters' | 'added' | 'dTerms';
type Inputs<T> = { readonly [name in Input]?: T };

/** Parameters are `[heads]`, `[heads, columns]`, or transposed `[columns, heads]` where `transposed` says so. */
function strides(shape: Shape, heads: number, transposed: boolean): [head: number, column: number] {
  if (shape.length === 1) return [1, 0];
  return transposed ? [1, heads] : [shape[1], 1];
}

type Attrs = PositionTermsAttrs & { transposed: boolean };

const forward = defineSparseOp<'parameters' | 'added', Attrs>({
  name: 'positionTerms',
  outputs: (_shape, { heads, columns }) => [[heads, columns.length]],
  kernel: ({ input, shape, output, attrs, scratch, buffer, launch }) => {
    const { heads, columns, weights, transposed } = attrs;
    const [head, column] = strides(shape.parameters!, heads, transposed);
    const [at, weight] = [scratch(columns.byteLength), scratch(weights.byteLength)];
    new Int32Array(buffer(), at, columns.length).set(columns);
    new Float32Array(buffer(), weight, weights.length).set(weights);
    launch(
      'positionTerms',
      heads,
      input.parameters,
      input.added,
      output[0],
      at,
      weight,
      columns.length,
      head,
      column,
    );
  },
  reference: (inputs, attrs) => [termsReference(inputs, attrs)],
  gradient: ({ inputs, dy, attrs }) => ({
    parameters: () => backward.run({ parameters: inputs.parameters, dTerms: dy[0] }, attrs)[0],
    added: dy[0],
  }),
});

const backward = defineSparseOp<'parameters' | 'dTerms', Attrs>({
  name: 'positionTermsBackward',
  outputs: ({ parameters }) => [parameters!],
  kernel: ({ input, shape, output, attrs, scratch, workspace, buffer, launch }) => {
    const { heads, columns, weights, transposed } = attrs;
    const [head, column] = strides(shape.parameters!, heads, transposed);
    const count = shape.parameters!.reduce((n, d) => n * d, 1) / heads;
    const [at, weight] = [scratch(columns.byteLength), scratch(weights.byteLength)];
    new Int32Array(buffer(), at, columns.length).set(columns);
    new Float32Array(buffer(), weight, weights.length).set(weights);
    // biome-ignore format: one argument list per line of the entry point
    launch('positionTermsBackward', heads,
      input.dTerms, output[0], at, weight, columns.length, count, head, column, workspace(8 * count));
  },
  reference: (inputs, attrs) => [termsBackwardReference(inputs, attrs)],
});

/** terms[h][i] = added[h][i] + weights[i] * parameters[h, columns[i]] */
function termsReference({ parameters, added }: Inputs<NdArray>, attrs: Attrs): Float64Array {
  const { heads, columns, weights, transposed } = attrs;
  const [head, column] = strides(parameters!.shape, heads, transposed);
  const terms = Float64Array.from(added?.data ?? new Float64Array(heads * columns.length));
  for (let h = 0; h < heads; h++) {
    for (let i = 0; i < columns.length; i++) {
      terms[h * columns.length + i] += weights[i] * parameters!.data[h * head + columns[i] * column];
    }
  }
  return terms;
}

function termsBackwardReference({ parameters, dTerms }: Inputs<NdArray>, attrs: Attrs): Float64Array {
  const { heads, columns, weights, transposed } = attrs;
  const [head, column] = strides(parameters!.shape, heads, transposed);
  const gradient = new Float64Array(parameters!.data.length);
  for (let h = 0; h < heads; h++) {
    for (let i = 0; i < columns.length; i++) {
      gradient[h * head + columns[i] * column] += weights[i] * dTerms!.data[h * columns.length + i];
    }
  }
  return gradient;
}

/** Terms [heads, distances] of scores that depend on head and distance only, linear in their parameters, on top of `added`. */
export function positionTerms(parameters: Tensor, added: Tensor | undefined, attrs: Attrs): Tensor {
  return forward.run({ parameters, added }, attrs)[0];
}
