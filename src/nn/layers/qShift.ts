import { concat, customGrad, pad, reshape, slice, type Tensor, tidy } from '@tensorflow/tfjs-core';
import { checkShapes } from '../../tensor/shape';
import { checkCount, checkGrid, type Grid } from './order';

export interface QShiftOptions extends Grid {
  /** Tokens to shift by; default 1. */
  shift?: number;
}

/** `[B, H, W, C]` moved along an axis by a number of tokens, zeros behind it. */
function moved(x: Tensor, axis: number, by: number): Tensor {
  const steps = Math.max(-x.shape[axis], Math.min(x.shape[axis], by));
  const begin = [0, 0, 0, 0];
  const size = [...x.shape];
  begin[axis] = Math.max(0, -steps);
  size[axis] -= Math.abs(steps);
  const paddings: [number, number][] = [0, 1, 2, 3].map(() => [0, 0]);
  paddings[axis] = [Math.max(0, steps), Math.max(0, -steps)];
  return pad(slice(x, begin, size), paddings);
}

function shifted(x: Tensor, { H, W, shift }: Required<QShiftOptions>): Tensor {
  const [B, T, C] = x.shape;
  const moves = [
    [2, shift],
    [2, -shift],
    [1, shift],
    [1, -shift],
  ];
  return customGrad((given) => ({
    value: tidy(() => {
      if (x.size === 0) return (given as Tensor).clone();
      const grid = reshape(given as Tensor, [B, H, W, C]);
      const quarters = moves.flatMap(([axis, by], i) => {
        const [from, to] = [Math.floor((C * i) / 4), Math.floor((C * (i + 1)) / 4)];
        return from === to ? [] : [moved(slice(grid, [0, 0, 0, from], [B, H, W, to - from]), axis, by)];
      });
      return reshape(concat(quarters, 3), [B, T, C]);
    }),
    gradFunc: (dy: Tensor) => shifted(dy, { H, W, shift: -shift }),
  }))(x);
}

/**
 * The token shift of images: the first quarter of the channels comes from the token at the left, the second from the right,
 * the third from above, the fourth from below, zeros from outside the grid. Vision-RWKV mixes it with x by channel,
 * `mu x + (1 - mu) qShift(x)`.
 *
 * @param x `[B, H W, C]`, row after row
 * @returns `[B, H W, C]`
 * @throws TypeError, RangeError for a wrong dtype or shape, H W other than the tokens, or a shift that is no natural number
 * @see Duan et al., "Vision-RWKV: Efficient and Scalable Visual Perception with RWKV-Like Architectures", equation 3
 */
export function qShift(x: Tensor, { H, W, shift = 1 }: QShiftOptions): Tensor {
  const { T } = checkShapes('qShift', [['x', x, 'B T C']]);
  checkGrid('qShift', 'x', T, { H, W });
  checkCount('qShift', 'shift', shift);
  return shifted(x, { H, W, shift });
}
