import type { NdArray } from '../op/define';
import type { NormAttrs } from './norm';

interface Inputs {
  x?: NdArray;
  weight?: NdArray;
  dy?: NdArray;
}

function reciprocalRms(x: Float64Array, row: number, D: number, eps: number): number {
  let sum = 0;
  for (let i = 0; i < D; i++) sum += x[row + i] ** 2;
  return 1 / Math.sqrt(sum / D + eps);
}

/** y_i = x_i / sqrt(mean(x^2) + eps) * (offset + weight_i), row by row. */
export function rmsNormReference({ x, weight }: Inputs, { eps, offset }: NormAttrs): [y: Float64Array] {
  const { data, shape } = x!;
  const D = shape.at(-1)!;
  const y = new Float64Array(data.length);
  for (let row = 0; row < data.length; row += D) {
    const rstd = reciprocalRms(data, row, D, eps);
    for (let i = 0; i < D; i++) y[row + i] = data[row + i] * rstd * (weight ? offset + weight.data[i] : 1);
  }
  return [y];
}

/** x + update, and its norm. */
export function addRmsNormReference(
  { x, update, weight }: Inputs & { update?: NdArray },
  attrs: NormAttrs,
): [sum: Float64Array, y: Float64Array] {
  const sum = x!.data.map((value, i) => value + update!.data[i]);
  return [sum, ...rmsNormReference({ x: { data: sum, shape: x!.shape }, weight }, attrs)];
}

/** With g = dy (offset + weight): dx = rstd (g - x rstd^2 mean(g x)), dweight = sum over rows of dy x rstd. */
export function rmsNormBackwardReference(
  { x, weight, dy }: Inputs,
  { eps, offset }: NormAttrs,
): [dx: Float64Array, dweight: Float64Array] {
  const { data, shape } = x!;
  const D = shape.at(-1)!;
  const dx = new Float64Array(data.length);
  const dweight = new Float64Array(D);
  const g = new Float64Array(D);
  for (let row = 0; row < data.length; row += D) {
    const rstd = reciprocalRms(data, row, D, eps);
    let mean = 0;
    for (let i = 0; i < D; i++) {
      g[i] = dy!.data[row + i] * (weight ? offset + weight.data[i] : 1);
      mean += (g[i] * data[row + i]) / D;
      dweight[i] += dy!.data[row + i] * data[row + i] * rstd;
    }
    for (let i = 0; i < D; i++) dx[row + i] = rstd * (g[i] - data[row + i] * rstd ** 2 * mean);
  }
  return [dx, dweight];
}
