import { customGrad, mul, scalar, type Tensor, tensor } from '@tensorflow/tfjs-core';

/** A token to be predicted: which row of the logits does it, and how much it counts. */
export interface Prediction {
  row: number;
  target: number;
  weight: number;
}

/**
 * `sum of weight * -log softmax(logits[row])[target]` in float64, differentiable in the logits.
 *
 * @param logits `[..., V]`, read as rows of V
 * @param excluded a token that has probability zero whatever its logit
 */
export function weightedCrossEntropy(
  logits: Tensor,
  predictions: readonly Prediction[],
  excluded = -1,
): Tensor {
  return customGrad((x) => {
    const { shape } = x as Tensor;
    const V = shape.at(-1)!;
    const values = (x as Tensor).dataSync();
    const gradient = new Float32Array(values.length);
    let loss = 0;
    for (const { row, target, weight } of predictions) {
      const [begin, end] = [row * V, (row + 1) * V];
      const logZ = logSumExp(values, begin, end, begin + excluded);
      loss += weight * (logZ - values[begin + target]);
      for (let i = begin; i < end; i++) {
        if (i !== begin + excluded) gradient[i] += weight * Math.exp(values[i] - logZ);
      }
      gradient[begin + target] -= weight;
    }
    return { value: scalar(loss), gradFunc: (dy: Tensor) => mul(dy, tensor(gradient, shape)) };
  })(logits);
}

/** `log(sum of exp(values[i]))` over [begin, end) but for `excluded`. */
export function logSumExp(values: ArrayLike<number>, begin: number, end: number, excluded = -1): number {
  let max = Number.NEGATIVE_INFINITY;
  for (let i = begin; i < end; i++) if (i !== excluded && values[i] > max) max = values[i];
  if (max === Number.NEGATIVE_INFINITY) return max;
  let sum = 0;
  for (let i = begin; i < end; i++) if (i !== excluded) sum += Math.exp(values[i] - max);
  return max + Math.log(sum);
}
