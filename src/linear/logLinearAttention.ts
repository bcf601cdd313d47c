import type { Tensor } from '@tensorflow/tfjs-core';
import { checkFinite, checkMultiple, checkShapes } from '../tensor/shape';
import { logLinearAttentionReference } from './logLinearAttention.reference';
import { sequenceOffsets } from './recurrent';
import { defineTaped } from './taped';
import { heapOffsets, longestOf, padded } from './workspace';

export interface LogLinearAttentionOptions {
  /** Multiplies the output; default 1. */
  scale?: number;
  /** Bounds `[N + 1]` of sequences packed one after another along T, from 0 to T; B must be 1. */
  cuSeqlens?: Tensor | readonly number[];
}

export type LogLinearInput = 'q' | 'k' | 'v' | 'g' | 'levelScales';
export interface LogLinearAttrs {
  scale: number;
  offsets: readonly number[];
}

const NAME = 'logLinearAttention';
const BLOCK = 16;

function bytesOf(K: number, V: number): number {
  const [Kp, Vp] = [padded(K), padded(V)];
  return 128 + 1024 + 64 + 4 * (BLOCK * (4 * Kp + 3 * Vp) + 3 * Kp * Vp);
}

const op = defineTaped<LogLinearInput, LogLinearAttrs>({
  name: NAME,
  inputs: ['q', 'k', 'v', 'g', 'levelScales'],
  outputs: ({ v }) => [v!],
  kernel: (call) => {
    const { input, output, shape, attrs, launch, workspace } = call;
    const [, , H, K] = shape.k!;
    const [, , HV, V] = shape.v!;
    const work = workspace(bytesOf(K, V));
    const offsets = heapOffsets(call, attrs.offsets);
    const { q, k, v, g, levelScales } = input;
    const L = shape.levelScales![3];
    const items = (attrs.offsets.length - 1) * HV;
    launch(NAME, items, q, k, v, g, levelScales, output[0], offsets, work, H, HV, K, V, L, attrs.scale);
  },
  backward: (call, gradient) => {
    const { input, shape, attrs, launch, workspace } = call;
    const [, , H, K] = shape.k!;
    const [, , HV, V] = shape.v!;
    const work = workspace(bytesOf(K, V) + 4 * longestOf(attrs.offsets));
    const offsets = heapOffsets(call, attrs.offsets);
    const { q, k, v, g, levelScales, d0 } = input;
    const L = shape.levelScales![3];
    launch(
      'logLinearAttentionBackward',
      (attrs.offsets.length - 1) * H,
      ...[q, k, v, g, levelScales, d0],
      ...[gradient.q, gradient.k, gradient.v, gradient.g, gradient.levelScales],
      ...[offsets, work, H, HV, K, V, L, attrs.scale],
    );
  },
  reference: logLinearAttentionReference,
});

/**
 * Log-linear attention: linear attention whose past is cut into pieces of growing size, each with a weight of its own,
 * `o_t = scale sum over s <= t of levelScales[t, l(t, s)] exp(g_{s+1} + ... + g_t) (q_t . k_s) v_s`, where the level
 * `l(t, s)` is the bit length of `t xor s`: 0 for the token itself. Time is T log T.
 *
 * @param q `[B, T, H, K]`
 * @param k `[B, T, H, K]`
 * @param v `[B, T, HV, V]`, HV a multiple of H: value head h has key head `h / (HV / H)`, rounded down
 * @param g `[B, T, HV]`, log decay
 * @param levelScales `[B, T, HV, L]`, at least as many levels as the longest sequence has: `1 + ceil(log2 T)`
 * @param options.scale multiplies the output; default 1
 * @param options.cuSeqlens bounds of sequences packed along T, with B = 1
 * @returns `[B, T, HV, V]`
 * @throws TypeError, RangeError for a wrong dtype or shape, or too few levels
 * @see Guo et al., "Log-Linear Attention"
 * @example
 * ```ts
 * import { randomNormal, randomUniform } from '@tensorflow/tfjs-core';
 * import { logLinearAttention, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 64, 2, 16]);
 * const k = randomNormal([1, 64, 2, 16]);
 * const v = randomNormal([1, 64, 4, 32]);
 * const g = randomUniform([1, 64, 4], -0.1, 0);
 * const levelScales = randomUniform([1, 64, 4, 7]);
 * const output = logLinearAttention(q, k, v, g, levelScales); // [1, 64, 4, 32]
 * ```
 */
export function logLinearAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  g: Tensor,
  levelScales: Tensor,
  options: LogLinearAttentionOptions = {},
): Tensor {
  const { scale = 1 } = options;
  const { B, T, H, HV, L } = checkShapes(NAME, [
    ['q', q, 'B T H K'],
    ['k', k, 'B T H K'],
    ['v', v, 'B T HV V'],
    ['g', g, 'B T HV'],
    ['levelScales', levelScales, 'B T HV L'],
  ]);
  checkMultiple(NAME, 'HV', HV, 'H', H);
  checkFinite(NAME, 'scale', scale);
  const offsets = sequenceOffsets(NAME, options.cuSeqlens, B, T);
  const longest = longestOf(offsets);
  const needed = 33 - Math.clz32(longest - 1);
  if (L < needed)
    throw new RangeError(`${NAME}: levelScales has ${L} levels; ${longest} tokens need ${needed}`);
  return op.run({ q, k, v, g, levelScales }, { scale, offsets })[0];
}
