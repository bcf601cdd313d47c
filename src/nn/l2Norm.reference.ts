import type { NdArray } from '../op/define';
import type { L2NormAttrs } from './l2Norm';

function reciprocalNorm(x: Float64Array, row: number, D: number, eps: number): number {
  let sum = 0;
  for (let i = 0; i < D; i++) sum += x[row + i] ** 2;
  return 1 / Math.sqrt(sum + eps);
}

/** y_i = x_i / sqrt(sum(x^2) + eps), row by row. */
export function l2NormReference({ x }: { x?: NdArray }, { eps }: L2NormAttrs): [y: Float64Array] {
  const { data, shape } = x!;
  const D = shape.at(-1)!;
  const y = new Float64Array(data.length);
  for (let row = 0; row < data.length; row += D) {
    const scale = reciprocalNorm(data, row, D, eps);
    for (let i = 0; i < D; i++) y[row + i] = data[row + i] * scale;
  }
  return [y];
}

/** With y = x / n: dx = (dy - y sum(dy y)) / n. */
export function l2NormBackwardReference(
  { x, dy }: { x?: NdArray; dy?: NdArray },
  { eps }: L2NormAttrs,
): [dx: Float64Array] {
  const { data, shape } = x!;
  const D = shape.at(-1)!;
  const dx = new Float64Array(data.length);
  for (let row = 0; row < data.length; row += D) {
    const scale = reciprocalNorm(data, row, D, eps);
    let along = 0;
    for (let i = 0; i < D; i++) along += dy!.data[row + i] * data[row + i] * scale;
    for (let i = 0; i < D; i++) dx[row + i] = scale * (dy!.data[row + i] - data[row + i] * scale * along);
  }
  return [dx];
}
