import { add, customGrad, type Tensor, tidy } from '@tensorflow/tfjs-core';
import { permuteTokens } from './order';

/** A causal mixer, `[B, T, C]` to `[B, T, D]`. */
export type Scan = (x: Tensor) => Tensor;

const reversed = (x: Tensor) =>
  permuteTokens(
    x,
    Int32Array.from({ length: x.shape[1]! }, (_, i) => x.shape[1]! - 1 - i),
  );

const sum = (a: Tensor, b: Tensor) =>
  customGrad((x, y) => ({
    value: add(x as Tensor, y as Tensor),
    gradFunc: (dy: Tensor) => [dy.clone(), dy.clone()],
  }))(a, b);

/**
 * A causal mixer run both ways, so that every token sees all: `forward(x) + reverse(backward(reverse(x)))`, as the blocks of
 * Vision Mamba do it. A token sees itself in both.
 *
 * @param x `[B, T, C]`
 * @param forward a causal mixer
 * @param backward the one that runs from the last token to the first; default `forward`
 * @returns `[B, T, D]`, as the mixers give it
 * @throws RangeError for an x without an axis of tokens
 * @see Zhu et al., "Vision Mamba: Efficient Visual Representation Learning with Bidirectional State Space Model", algorithm 1
 */
export function bidirectionalScan(x: Tensor, forward: Scan, backward: Scan = forward): Tensor {
  return tidy(() => sum(forward(x), reversed(backward(reversed(x)))));
}
