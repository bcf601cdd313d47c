import type { Tensor } from '@tensorflow/tfjs-core';
import type { Op } from '../op/define';
import { checkShapes } from '../tensor/shape';
import { defineLinearOp } from './family';
import { sequenceOffsets } from './recurrent';
import { tokenShiftReference } from './tokenShift.reference';
import { heapOffsets } from './workspace';

export interface TokenShiftOptions {
  /** `[N, D]`, the token before each of the N sequences; default zeros. */
  cache?: Tensor;
  /** Whether to return `{ output, cache }` instead of the output alone. */
  outputCache?: boolean;
  /** Bounds `[N + 1]` of sequences packed one after another along T, from 0 to T; B must be 1. */
  cuSeqlens?: Tensor | readonly number[];
}

export interface TokenShiftResult {
  /** `[B, T, D]` */
  output: Tensor;
  /** `[N, D]`, the last token of each sequence. */
  cache: Tensor;
}

export interface TokenShiftAttrs {
  /** Bounds of the sequences in the flattened [B T] axis. */
  offsets: readonly number[];
  outputCache: boolean;
  /** Each token looks at the one after it. */
  reverse: boolean;
}

const NAME = 'tokenShift';

/** Its own gradient, in reverse: that of the last token takes the place of the cache, and the other way round. */
const op: Op<'x' | 'cache', TokenShiftAttrs> = defineLinearOp<'x' | 'cache', TokenShiftAttrs>({
  name: NAME,
  outputs: ({ x }, { offsets, outputCache }) => (outputCache ? [x!, [offsets.length - 1, x![2]]] : [x!]),
  kernel: (call) => {
    const { input, shape, output, attrs, launch } = call;
    const [B, T, D] = shape.x!;
    const offsets = heapOffsets(call, attrs.offsets);
    const step = attrs.reverse ? 1 : -1;
    launch('tokenShift', B * T, input.x, input.cache, output[0], offsets, D, step);
    if (!attrs.outputCache) return;
    launch('edgeTokens', attrs.offsets.length - 1, input.x, input.cache, output[1], offsets, D, step);
  },
  reference: tokenShiftReference,
  gradient: ({ inputs, dy, attrs }) => {
    const [x, cache] = op.run(
      { x: dy[0], cache: dy[1] },
      { ...attrs, reverse: !attrs.reverse, outputCache: inputs.cache !== undefined },
    );
    return { x, cache };
  },
});

/**
 * Difference of each token to the one before it, `o_t = x_{t-1} - x_t`: the token shift of RWKV, whose mixtures are
 * `x_t + mu * o_t`.
 *
 * @param x `[B, T, D]`
 * @returns `[B, T, D]`, or `{ output, cache }` with `outputCache: true`, whose cache a later call continues from
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Peng et al., "RWKV: Reinventing RNNs for the Transformer Era", section 3.1
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { ready, tokenShift } from 'linnet';
 *
 * await ready();
 * const x = randomNormal([1, 64, 128]);
 * const { output, cache } = tokenShift(x, { outputCache: true });
 * console.log(output.shape, cache.shape); // [1, 64, 128] [1, 128]
 * ```
 */
export function tokenShift(x: Tensor, options: TokenShiftOptions & { outputCache: true }): TokenShiftResult;
export function tokenShift(x: Tensor, options?: TokenShiftOptions): Tensor;
export function tokenShift(x: Tensor, options: TokenShiftOptions = {}): Tensor | TokenShiftResult {
  const { cache: before, outputCache = false, cuSeqlens } = options;
  const { B, T, D } = checkShapes(NAME, [['x', x, 'B T D']]);
  const offsets = sequenceOffsets(NAME, cuSeqlens, B, T);
  checkShapes(NAME, [['cache?', before, `${offsets.length - 1} ${D}`]]);
  const [output, cache] = op.run({ x, cache: before }, { offsets, outputCache, reverse: false });
  return outputCache ? { output, cache } : output;
}
