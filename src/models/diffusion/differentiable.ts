import { add, customGrad, reshape, scalar, type Tensor, tensor } from '@tensorflow/tfjs-core';
import { groupedMatMul } from '../../moe/groupedMatMul';

// Functions with gradients of their own, since tfjs-core registers none for its ops. Sums are float64.

/** A function of one tensor by its values and the gradient of its input by that of its output. */
function valuesOf(
  x: Tensor,
  shape: number[],
  forward: (values: Float32Array) => Float32Array,
  backward: (dy: Float32Array) => Float32Array,
): Tensor {
  return customGrad((given) => ({
    value: tensor(forward((given as Tensor).dataSync() as Float32Array), shape),
    gradFunc: (dy: Tensor) => tensor(backward(dy.dataSync() as Float32Array), x.shape),
  }))(x);
}

export const reshaped = (x: Tensor, shape: number[]): Tensor =>
  customGrad((y) => ({
    value: reshape(y as Tensor, shape),
    gradFunc: (dy: Tensor) => reshape(dy, x.shape),
  }))(x);

export const sum = (a: Tensor, b: Tensor): Tensor =>
  customGrad((x, y) => ({
    value: add(x as Tensor, y as Tensor),
    gradFunc: (dy: Tensor) => [dy.clone(), dy.clone()],
  }))(a, b);

/** `x weight` over the last axis; weight `[1, in, out]`, or `[1, out, in]` with `transposed`. */
export function project(x: Tensor, weight: Tensor, transposed = false): Tensor {
  const [into, out] = transposed
    ? [weight.shape[2]!, weight.shape[1]!]
    : [weight.shape[1]!, weight.shape[2]!];
  const rows = x.size / into;
  const y = groupedMatMul(reshaped(x, [rows, into]), weight, [rows], { transposeWeights: transposed });
  return reshaped(y, [...x.shape.slice(0, -1), out]);
}

/** The rows of `table` `[V, C]` that rows of tokens name: `[B, T, C]`. */
export function lookup(rows: readonly Int32Array[], table: Tensor): Tensor {
  const C = table.shape[1]!;
  const ids = rows.flatMap((row) => Array.from(row));
  return valuesOf(
    table,
    [rows.length, rows[0].length, C],
    (values) => {
      const output = new Float32Array(ids.length * C);
      ids.forEach((id, i) => {
        output.set(values.subarray(id * C, (id + 1) * C), i * C);
      });
      return output;
    },
    (dy) => {
      const gradient = new Float64Array(table.size);
      ids.forEach((id, i) => {
        for (let c = 0; c < C; c++) gradient[id * C + c] += dy[i * C + c];
      });
      return Float32Array.from(gradient);
    },
  );
}

/** `scale_i x_i + shift_i`, scale one number per row of the last axis, shift one per element. */
export function affine(x: Tensor, scale: ArrayLike<number>, shift: ArrayLike<number>): Tensor {
  const C = x.shape.at(-1)!;
  return valuesOf(
    x,
    x.shape,
    (values) => values.map((value, i) => scale[Math.floor(i / C)] * value + shift[i]),
    (dy) => dy.map((value, i) => scale[Math.floor(i / C)] * value),
  );
}

/** `sum of weight_i |a_i - b_i|^2`, weight one number per row of the last axis; b default 0. */
export function weightedSquares(a: Tensor, b: Tensor | undefined, weight: ArrayLike<number>): Tensor {
  const C = a.shape.at(-1)!;
  const run = (x: Tensor, y?: Tensor) => {
    const [first, second] = [x.dataSync(), y?.dataSync()];
    const gradient = new Float32Array(first.length);
    let total = 0;
    for (let i = 0; i < first.length; i++) {
      const difference = first[i] - (second?.[i] ?? 0);
      const w = weight[Math.floor(i / C)];
      total += w * difference * difference;
      gradient[i] = 2 * w * difference;
    }
    return {
      value: scalar(total),
      gradFunc: (dy: Tensor) => {
        const [factor] = dy.dataSync();
        const da = tensor(
          gradient.map((g) => factor * g),
          x.shape,
        );
        return y === undefined
          ? da
          : [
              da,
              tensor(
                gradient.map((g) => -factor * g),
                x.shape,
              ),
            ];
      },
    };
  };
  return b === undefined
    ? customGrad((x) => run(x as Tensor))(a)
    : customGrad((x, y) => run(x as Tensor, y as Tensor))(a, b);
}

/** Softmax over the last axis. */
export function softmaxed(x: Tensor): Tensor {
  const V = x.shape.at(-1)!;
  let output = new Float32Array(0);
  return valuesOf(
    x,
    x.shape,
    (values) => {
      output = new Float32Array(values.length);
      for (let begin = 0; begin < values.length; begin += V) {
        const row = values.subarray(begin, begin + V);
        const max = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
        let total = 0;
        for (let v = 0; v < V; v++) total += Math.exp(row[v] - max);
        for (let v = 0; v < V; v++) output[begin + v] = Math.exp(row[v] - max) / total;
      }
      return output;
    },
    (dy) => {
      const gradient = new Float32Array(dy.length);
      for (let begin = 0; begin < dy.length; begin += V) {
        let dot = 0;
        for (let v = 0; v < V; v++) dot += dy[begin + v] * output[begin + v];
        for (let v = 0; v < V; v++) gradient[begin + v] = output[begin + v] * (dy[begin + v] - dot);
      }
      return gradient;
    },
  );
}
