import type { Tensor } from '@tensorflow/tfjs-core';
import type { NnKernels } from '../generated/nn';
import type { KernelCall, Shape } from '../op/define';
import { checkFinite, checkShapes } from '../tensor/shape';

export interface NormAttrs {
  eps: number;
  /** Added to the weight. */
  offset: number;
}

/** Rows that share a partial sum of the weight's gradient, which is then 1/64 of the size of x. */
const BLOCK_ROWS = 64;
const BLOCK_COLUMNS = 64;

function rowsOf(shape: Shape) {
  const D = shape.at(-1)!;
  return { rows: shape.slice(0, -1).reduce((n, size) => n * size, 1), D };
}

/** Checks what a norm over the last axis is given. */
export function checkRows(op: string, x: Tensor, weight: Tensor | undefined, eps: number): void {
  const axes = Array.from({ length: Math.max(1, x?.shape?.length ?? 1) - 1 }, (_, i) => `N${i}`);
  checkShapes(op, [
    ['x', x, [...axes, 'D'].join(' ')],
    ['weight?', weight, 'D'],
  ]);
  checkFinite(op, 'eps', eps);
}

/** `y = x / sqrt(share * sum(x^2) + eps) * (offset + weight)` by rows. */
export function launchNorm<I extends 'x' | 'weight'>(
  { input, shape, output, launch }: KernelCall<I, unknown, NnKernels>,
  share: number,
  { eps, offset }: NormAttrs,
): void {
  const { x, weight } = input as Record<'x' | 'weight', number>;
  const { rows, D } = rowsOf((shape as { x: Shape }).x);
  launch('rmsNorm', rows, x, weight, output[0], D, share, eps, offset);
}

/** The gradients of `launchNorm` in x and, if there is one, weight. */
export function launchNormBackward<I extends 'x' | 'weight' | 'dy'>(
  { input, shape, output, scratch, launch }: KernelCall<I, unknown, NnKernels>,
  share: number,
  { eps, offset }: NormAttrs,
): void {
  const { x, weight, dy } = input as Record<'x' | 'weight' | 'dy', number>;
  const { rows, D } = rowsOf((shape as { x: Shape }).x);
  const blocks = Math.ceil(rows / BLOCK_ROWS);
  const hasWeight = output.length > 1;
  const partial = hasWeight ? scratch(4 * blocks * D) : 0;
  // biome-ignore format: one argument list per line of the entry point
  launch('rmsNormBackward', blocks,
    x, weight, dy, output[0], partial, rows, BLOCK_ROWS, D, share, eps, offset);
  if (hasWeight) launch('sumRows', Math.ceil(D / BLOCK_COLUMNS), partial, output[1], blocks, D);
}
