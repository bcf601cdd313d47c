import {
  addN,
  customGrad,
  gather,
  reshape,
  type Tensor,
  tensor1d,
  tidy,
  unstack,
} from '@tensorflow/tfjs-core';
import { checkShapes } from '../../tensor/shape';

/** Rows and columns of tokens that lie row after row. */
export interface Grid {
  H: number;
  W: number;
}

export function checkCount(op: string, name: string, value: number, least = 0): void {
  if (Number.isInteger(value) && value >= least) return;
  throw new RangeError(`${op}: ${name} is ${value}; expected an integer of at least ${least}`);
}

/** Checks that the tokens of x fill the grid. */
export function checkGrid(op: string, name: string, tokens: number, { H, W }: Grid): void {
  checkCount(op, 'H', H);
  checkCount(op, 'W', W);
  if (tokens !== H * W)
    throw new RangeError(`${op}: ${name} has ${tokens} tokens; expected H W = ${H} * ${W} = ${H * W}`);
}

/** The given places of the second axis, as `[B, places, ...]`. */
function pick(x: Tensor, places: Int32Array): Tensor {
  const [B, , ...rest] = x.shape;
  const shape = [B, places.length, ...rest];
  if (shape.includes(0)) return reshape(x, shape);
  return tidy(() => gather(x, tensor1d(places, 'int32'), 1));
}

/**
 * Where each token went: `inverseOrder(order)[order[i]] = i`.
 *
 * @throws RangeError unless `order` names each of 0 to T - 1 once
 */
export function inverseOrder(order: ArrayLike<number>): Int32Array {
  const T = order.length;
  const inverse = new Int32Array(T).fill(-1);
  for (let i = 0; i < T; i++) {
    const place = order[i];
    if (!Number.isInteger(place) || place < 0 || place >= T || inverse[place] >= 0)
      throw new RangeError(`inverseOrder: order[${i}] is ${place}; expected each of 0 to ${T - 1} once`);
    inverse[place] = i;
  }
  return inverse;
}

/**
 * Tokens in another order: token i of the result is token `order[i]` of x. `inverseOrder(order)` brings them back, and is
 * the gradient.
 *
 * @param x `[B, T, ...]`
 * @param order each of 0 to T - 1 once, as of `zigzagOrder`
 * @returns as x
 * @throws RangeError for an order that is no permutation of T tokens
 */
export function permuteTokens(x: Tensor, order: ArrayLike<number>): Tensor {
  if (x.rank < 2 || x.shape[1] !== order.length) {
    throw new RangeError(
      `permuteTokens: x has shape [${x.shape}]; expected [B, T, ...] with T = ${order.length}, as order has`,
    );
  }
  const inverse = inverseOrder(order);
  return customGrad((given) => ({
    value: pick(given as Tensor, Int32Array.from(order)),
    gradFunc: (dy: Tensor) => permuteTokens(dy, inverse),
  }))(x);
}

export interface ZigzagOptions {
  /**
   * Which of eight paths, as ZigMa's layers take them in turn; default 0, from the first token along its row. Add 1 to begin
   * at the right, 2 to begin at the bottom, 4 to go along columns.
   */
  scheme?: number;
}

/**
 * The path through a grid of H by W tokens that turns round at the end of each row (or column), so that every token lies
 * beside the one before it: places for `permuteTokens`.
 *
 * @returns H W places `row W + column`
 * @throws RangeError for sizes that are no natural numbers, or a scheme that is not 0 to 7
 * @see Hu et al., "ZigMa: A DiT-style Zigzag Mamba Diffusion Model", section 3.3
 */
export function zigzagOrder(H: number, W: number, { scheme = 0 }: ZigzagOptions = {}): Int32Array {
  checkCount('zigzagOrder', 'H', H);
  checkCount('zigzagOrder', 'W', W);
  if (!Number.isInteger(scheme) || scheme < 0 || scheme > 7)
    throw new RangeError(`zigzagOrder: scheme is ${scheme}; expected 0 to 7`);
  const length = scheme & 4 ? H : W;
  return Int32Array.from({ length: H * W }, (_, i) => {
    const line = Math.floor(i / length);
    const along = line % 2 === 0 ? i % length : length - 1 - (i % length);
    const [row, column] = scheme & 4 ? [along, line] : [line, along];
    return (scheme & 2 ? H - 1 - row : row) * W + (scheme & 1 ? W - 1 - column : column);
  });
}

/** The four paths of `crossScan`: rows, columns, and both from their end. */
function crossPaths(H: number, W: number): Int32Array[] {
  const rows = Int32Array.from({ length: H * W }, (_, i) => i);
  const columns = rows.map((i) => (i % H) * W + Math.floor(i / H));
  return [rows, columns, rows.slice().reverse(), columns.slice().reverse()];
}

/**
 * A grid as four sequences: row after row, column after column, and both from their end. A causal mixer over each sees, all
 * in all, the whole grid from every token; `crossMerge` adds what comes out.
 *
 * @param x `[B, H, W, C]`
 * @returns `[B, 4, H W, C]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Liu et al., "VMamba: Visual State Space Model", section 4.3
 */
export function crossScan(x: Tensor): Tensor {
  const { B, H, W, C } = checkShapes('crossScan', [['x', x, 'B H W C']]);
  const places = Int32Array.from(crossPaths(H, W).flatMap((path) => Array.from(path)));
  return customGrad((given) => ({
    value: reshape(pick(reshape(given as Tensor, [B, H * W, C]), places), [B, 4, H * W, C]),
    gradFunc: (dy: Tensor) => reshape(crossMerge(dy, { H, W }), x.shape),
  }))(x);
}

/**
 * The sum of the four sequences of `crossScan`, each token back in its place; either is the gradient of the other.
 *
 * @param y `[B, 4, H W, C]`
 * @returns `[B, H W, C]`, row after row
 * @throws TypeError, RangeError for a wrong dtype or shape, or H W other than the tokens
 * @see Liu et al., "VMamba: Visual State Space Model", section 4.3
 */
export function crossMerge(y: Tensor, { H, W }: Grid): Tensor {
  const { B, L, C } = checkShapes('crossMerge', [['y', y, 'B 4 L C']]);
  checkGrid('crossMerge', 'y', L, { H, W });
  const paths = crossPaths(H, W);
  return customGrad((given) => ({
    value: tidy(() => {
      if (y.size === 0) return reshape(given as Tensor, [B, L, C]);
      return addN(unstack(given as Tensor, 1).map((one, i) => pick(one, inverseOrder(paths[i]))));
    }),
    gradFunc: (dy: Tensor) => crossScan(reshape(dy, [B, H, W, C])),
  }))(y);
}
