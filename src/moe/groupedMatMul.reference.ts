import type { NdArray } from '../op/define';
import type { GroupedMatMulAttrs } from './groupedMatMul';

interface Inputs {
  x?: NdArray;
  weights?: NdArray;
  bias?: NdArray;
  dy?: NdArray;
}

/** Sizes, the expert of every row, and the place of W_e[n, k] (from input k to output n). */
function sizes({ x }: Inputs, { groupSizes, width: N, transposed }: GroupedMatMulAttrs) {
  const K = x!.shape.at(-1)!;
  const expertOf = groupSizes.flatMap((size, e) => Array<number>(size).fill(e));
  const at = (e: number, n: number, k: number) => e * K * N + (transposed ? n * K + k : k * N + n);
  return { K, N, expertOf, at };
}

/** y_i = W_e x_i + b_e for the rows i of group e. */
export function groupedMatMulReference(inputs: Inputs, attrs: GroupedMatMulAttrs): [y: Float64Array] {
  const { x, weights, bias } = inputs;
  const { K, N, expertOf, at } = sizes(inputs, attrs);
  const y = new Float64Array(expertOf.length * N);
  expertOf.forEach((e, i) => {
    for (let n = 0; n < N; n++) {
      let sum = bias ? bias.data[e * N + n] : 0;
      for (let k = 0; k < K; k++) sum += weights!.data[at(e, n, k)] * x!.data[i * K + k];
      y[i * N + n] = sum;
    }
  });
  return [y];
}

/** dx_i = W_e^T dy_i, dW_e = sum over the group's rows of dy_i x_i^T, db_e of dy_i. */
export function groupedMatMulBackwardReference(
  inputs: Inputs,
  attrs: GroupedMatMulAttrs,
): [dx: Float64Array, dweights: Float64Array, dbias: Float64Array] {
  const { x, weights, bias, dy } = inputs;
  const { K, N, expertOf, at } = sizes(inputs, attrs);
  const dx = new Float64Array(x!.data.length);
  const dweights = new Float64Array(weights!.data.length);
  const dbias = new Float64Array(bias ? bias.data.length : 0);
  expertOf.forEach((e, i) => {
    for (let n = 0; n < N; n++) {
      const d = dy!.data[i * N + n];
      if (bias) dbias[e * N + n] += d;
      for (let k = 0; k < K; k++) {
        dx[i * K + k] += weights!.data[at(e, n, k)] * d;
        dweights[at(e, n, k)] += d * x!.data[i * K + k];
      }
    }
  });
  return [dx, dweights, dbias];
}
