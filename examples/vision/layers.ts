// What a model that learns needs beside linnet's ops, with gradients of its own: tfjs-core registers none.
import {
  add,
  customGrad,
  div,
  mean,
  reshape,
  scalar,
  type Tensor,
  tensor,
  tile,
} from '@tensorflow/tfjs-core';
import { groupedMatMul } from 'linnet';

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

/** `x weight` over the last axis, weight `[1, in, out]`. */
export function project(x: Tensor, weight: Tensor): Tensor {
  const [, into, out] = weight.shape;
  const rows = x.size / into;
  return reshaped(groupedMatMul(reshaped(x, [rows, into]), weight, [rows]), [...x.shape.slice(0, -1), out]);
}

/** The mean of the tokens: `[B, T, C]` to `[B, C]`. */
export function meanToken(x: Tensor): Tensor {
  const [B, T, C] = x.shape;
  return customGrad((y) => ({
    value: mean(y as Tensor, 1),
    gradFunc: (dy: Tensor) => tile(reshape(div(dy, T), [B, 1, C]), [1, T, 1]),
  }))(x);
}

/** The mean over a batch of `-log softmax(logits)[label]`. */
export function crossEntropy(logits: Tensor, labels: readonly number[]): Tensor {
  return customGrad((given) => {
    const values = (given as Tensor).dataSync();
    const [B, V] = logits.shape;
    const gradient = new Float32Array(values.length);
    let total = 0;
    labels.forEach((label, b) => {
      const row = values.subarray(b * V, (b + 1) * V);
      const max = Math.max(...row);
      const exps = Array.from(row, (x) => Math.exp(x - max));
      const norm = exps.reduce((x, y) => x + y);
      total += Math.log(norm) - (row[label] - max);
      exps.forEach((x, v) => {
        gradient[b * V + v] = (x / norm - Number(v === label)) / B;
      });
    });
    return {
      value: scalar(total / B),
      gradFunc: (dy: Tensor) =>
        tensor(
          gradient.map((x) => x * dy.dataSync()[0]),
          logits.shape,
        ),
    };
  })(logits);
}
