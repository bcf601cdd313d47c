import { customGrad, engine, grads, scalar, type Tensor, tensor, tidy } from '@tensorflow/tfjs-core';
import { exactValues, type ReadWrite } from '../op/exact';
import { normal, uniform } from '../random';
import type { Case, InputSpec, Tensors } from './types';

export { uniform };

function draw(spec: InputSpec, random: () => number): number[] {
  if (spec.values !== undefined) return [...spec.values];
  const { scale = 1, shift = 0 } = spec;
  const next = normal(random);
  const size = spec.shape.reduce((n, d) => n * d, 1);
  const values = Array.from({ length: size }, () => next() * scale + shift);
  switch (spec.draw) {
    case 'bool':
      return values.map((x) => (x > 0 ? 1 : 0));
    case 'sigmoid':
      return values.map((x) => 1 / (1 + Math.exp(-x)));
    case 'logSigmoid':
      return values.map((x) => -Math.log1p(Math.exp(-x)));
    case 'unit': {
      const width = spec.shape.at(-1)!;
      for (let row = 0; row < size; row += width) {
        const norm = Math.hypot(...values.slice(row, row + width));
        for (let i = row; i < row + width; i++) values[i] /= norm;
      }
      return values;
    }
    default:
      return values;
  }
}

/** Draws the inputs of a case; the same seed gives the same tensors on every machine. */
export function drawInputs(inputs: Readonly<Record<string, InputSpec>>, seed = 42): Tensors {
  const random = uniform(seed);
  return Object.fromEntries(
    Object.entries(inputs).map(([name, spec]) => [
      name,
      tensor(draw(spec, random), [...spec.shape], spec.dtype ?? (spec.draw === 'bool' ? 'bool' : 'float32')),
    ]),
  );
}

export function float64(t: Tensor): Float64Array {
  return exactValues(t, engine().backend as unknown as ReadWrite);
}

export interface Deviation {
  /** RMSE(err) / RMSE(ref) */
  r: number;
  /** max |err| / max |ref| */
  m: number;
}

/** Deviation of `actual` from `expected`; Infinity when shapes, NaNs or infinities differ. */
export function deviation(actual: ArrayLike<number>, expected: ArrayLike<number>): Deviation {
  if (actual.length !== expected.length) return { r: Number.POSITIVE_INFINITY, m: Number.POSITIVE_INFINITY };
  let squares = 0;
  let refSquares = 0;
  let max = 0;
  let refMax = 0;
  for (let i = 0; i < actual.length; i++) {
    if (Object.is(actual[i], expected[i])) {
      if (Number.isFinite(expected[i])) {
        refSquares += expected[i] ** 2;
        refMax = Math.max(refMax, Math.abs(expected[i]));
      }
      continue;
    }
    const error = Math.abs(actual[i] - expected[i]);
    if (!Number.isFinite(error)) return { r: Number.POSITIVE_INFINITY, m: Number.POSITIVE_INFINITY };
    squares += error ** 2;
    refSquares += expected[i] ** 2;
    max = Math.max(max, error);
    refMax = Math.max(refMax, Math.abs(expected[i]));
  }
  if (max === 0) return { r: 0, m: 0 };
  return { r: Math.sqrt(squares / refSquares), m: max / refMax };
}

function listOf(result: Tensor | Tensor[]): Tensor[] {
  return Array.isArray(result) ? result : [result];
}

export function outputsOf(result: () => Tensor | Tensor[]): Float64Array[] {
  let outputs: Float64Array[] = [];
  tidy(() => {
    outputs = listOf(result()).map(float64);
  });
  return outputs;
}

export function differentiableInputs(c: Case): readonly string[] {
  return (
    c.differentiable ??
    Object.keys(c.inputs).filter(
      (name) => (c.inputs[name].dtype ?? c.inputs[name].draw) !== 'bool' && c.inputs[name].dtype !== 'int32',
    )
  );
}

/** Gradients of sum over outputs of sum(output * weight), weights drawn from the seed, by input name. */
export function gradientsOf(
  c: Case,
  tensors: Tensors,
  run: (tensors: Tensors) => Tensor | Tensor[],
  seed = 7,
): Record<string, Float64Array> {
  const names = differentiableInputs(c);
  const result: Record<string, Float64Array> = {};
  tidy(() => {
    const loss = (...values: Tensor[]) =>
      weightedSum(
        listOf(run({ ...tensors, ...Object.fromEntries(names.map((name, i) => [name, values[i]])) })),
        seed,
      );
    const gradients = grads(loss)(names.map((name) => tensors[name]));
    names.forEach((name, i) => {
      result[name] = float64(gradients[i]);
    });
  });
  return result;
}

/** A scalar whose gradient with respect to each output is its weights; tfjs-core alone has no gradient for its own ops. */
function weightedSum(outputs: Tensor[], seed: number): Tensor {
  const weights = lossWeights(
    outputs.map((y) => y.shape),
    seed,
  );
  return customGrad(() => ({
    value: scalar(0),
    gradFunc: () => weights.map((values, i) => tensor(values, outputs[i].shape)),
  }))(...outputs);
}

function lossWeights(shapes: readonly (readonly number[])[], seed: number): Float32Array[] {
  const random = uniform(seed);
  return shapes.map((shape) => Float32Array.from(draw({ shape }, random)));
}

/** The loss `gradientsOf` differentiates, from outputs computed outside of tfjs. */
export function lossOf(
  outputs: readonly Float64Array[],
  shapes: readonly (readonly number[])[],
  seed = 7,
): number {
  return lossWeights(shapes, seed).reduce(
    (loss, weights, i) => loss + weights.reduce((sum, weight, j) => sum + weight * outputs[i][j], 0),
    0,
  );
}
