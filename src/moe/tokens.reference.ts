import type { NdArray } from '../op/define';

interface Inputs {
  x?: NdArray;
  y?: NdArray;
  weights?: NdArray;
  indices?: NdArray;
  residual?: NdArray;
  dy?: NdArray;
}

/** y_i = x[index_i], 0 for -1 */
export function gatherRowsReference(
  { x, indices }: Inputs,
  { scalars }: { scalars: boolean },
): [y: Float64Array] {
  const D = scalars ? 1 : x!.shape.at(-1)!;
  const y = new Float64Array(indices!.data.length * D);
  indices!.data.forEach((from, i) => {
    if (from >= 0) y.set(x!.data.subarray(from * D, (from + 1) * D), i * D);
  });
  return [y];
}

/** out = residual, plus weight_i y_i at row index_i */
export function scatterRowsReference(
  { y, weights, indices, residual }: Inputs,
  { rows, shape }: { rows: number; shape: readonly number[] },
): [out: Float64Array] {
  const D = shape.reduce((n, size) => n * size, 1) / rows;
  const out = residual ? Float64Array.from(residual.data) : new Float64Array(rows * D);
  indices!.data.forEach((to, i) => {
    if (to < 0) return;
    for (let d = 0; d < D; d++) out[to * D + d] += (weights ? weights.data[i] : 1) * y!.data[i * D + d];
  });
  return [out];
}

/** dy_i = weight_i dout[index_i], dweight_i = y_i . dout[index_i] */
export function scatterRowsBackwardReference({
  y,
  weights,
  indices,
  dy: dout,
}: Inputs): [dy: Float64Array, dweights: Float64Array] {
  const D = y!.shape.at(-1)!;
  const dy = new Float64Array(y!.data.length);
  const dweights = new Float64Array(weights!.data.length);
  indices!.data.forEach((to, i) => {
    if (to < 0) return;
    for (let d = 0; d < D; d++) {
      dy[i * D + d] = weights!.data[i] * dout!.data[to * D + d];
      dweights[i] += y!.data[i * D + d] * dout!.data[to * D + d];
    }
  });
  return [dy, dweights];
}
