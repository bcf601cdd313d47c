import {
  add,
  customGrad,
  type GradSaveFunc,
  matMul,
  mul,
  relu,
  reshape,
  step,
  sum,
  type Tensor,
  transpose,
} from '@tensorflow/tfjs-core';
import { hedgehogFeatures, performerFeatures } from '../../ops';
import type { Weights } from '../parameters';
import { perHead } from './perHead';

/**
 * What stands for the exponential of softmax, a map per head with the weight W `[H, m, D]`: `relu(W x + b)` (T2R),
 * `softmax([W x, -W x])` (Hedgehog), or `exp(W x' - |x'|^2 / 2)` (Performer).
 */
export type LearnedMap = 't2r' | 'hedgehog' | 'performer';

/** `relu(W x + b)` of `x` `[B, T, H, D]` by head, `[B, T, H, m]`; differentiable in all three. */
export const reluFeatures = customGrad(((x: Tensor, weight: Tensor, bias: Tensor, save: GradSaveFunc) => {
  const value = relu(add(perHead(x, weight, true), bias));
  save([x, weight, value]);
  return {
    value,
    gradFunc: (dy: Tensor, [x, weight, value]: Tensor[]) => {
      const dz = mul(dy, step(value));
      const rows = (t: Tensor) => {
        const [B, T, H, C] = t.shape;
        return reshape(transpose(t, [2, 0, 1, 3]), [H, B * T, C]);
      };
      return [perHead(dz, weight, false), matMul(rows(dz), rows(x), true), sum(dz, [0, 1])];
    },
  };
}) as never) as (x: Tensor, weight: Tensor, bias: Tensor) => Tensor;

/** The map of `[B, T, H, D]` whose weights have a name; `scale` is that of the products of queries and keys. */
export function learnedMap(
  weights: Weights,
  kind: LearnedMap,
  [H, m, D]: readonly [H: number, m: number, D: number],
  scale: number,
): (x: Tensor) => Tensor {
  const weight = weights.tensor('weight', [H, m, D]);
  switch (kind) {
    case 't2r': {
      const bias = weights.tensor('bias', [H, m]);
      return (x) => reluFeatures(x, weight.value, bias.value);
    }
    case 'hedgehog':
      return (x) => hedgehogFeatures(x, weight.value);
    case 'performer':
      return (x) => performerFeatures(x, weight.value, { scale });
  }
}
