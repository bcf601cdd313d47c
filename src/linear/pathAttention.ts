import type { Tensor } from '@tensorflow/tfjs-core';
import { checkMultiple, checkShapes } from '../tensor/shape';
import { pathAttentionReference } from './pathAttention.reference';
import { scaleOf, sequenceOffsets } from './recurrent';
import { defineTaped } from './taped';
import { heapOffsets, longestOf, padded } from './workspace';

export interface PathAttentionOptions {
  /** `[B, T, HQ]`: natural logarithms of forget gates, one per head of q; default none. */
  g?: Tensor;
  /** Multiplies scores and gates; default `D ** -0.5`. */
  scale?: number;
  /** Bounds `[N + 1]` of sequences packed one after another along T, from 0 to T; B must be 1. */
  cuSeqlens?: Tensor | readonly number[];
}

export type PathInput = 'q' | 'k' | 'v' | 'w' | 'beta' | 'g';
export interface PathAttrs {
  scale: number;
  offsets: readonly number[];
}

const NAME = 'pathAttention';
const BLOCK = 16;

/** Bytes of a workspace that keeps scores of so many blocks, as `layOut` of the kernels carves it. */
function bytesOf(D: number, V: number, blocks: number): number {
  return 128 + 64 * (8 + 2 * 16 + 2 * 16 * blocks + 2 * D + padded(V) + V + 16 * D);
}

const op = defineTaped<PathInput, PathAttrs>({
  name: NAME,
  inputs: ['q', 'k', 'v', 'w', 'beta', 'g'],
  outputs: ({ q, v }) => [[...q!.slice(0, 3), v![3]]],
  kernel: (call) => {
    const { input, output, shape, attrs, launch, workspace } = call;
    const [, , HQ, D] = shape.q!;
    const [, , H, V] = shape.v!;
    const work = workspace(bytesOf(D, V, 1));
    const offsets = heapOffsets(call, attrs.offsets);
    const { q, k, v, w, beta, g } = input;
    const blocks = Math.ceil(longestOf(attrs.offsets) / BLOCK);
    const items = (attrs.offsets.length - 1) * HQ * blocks;
    launch(NAME, items, q, k, v, w, beta, g, output[0], offsets, work, H, HQ, D, V, blocks, attrs.scale);
  },
  backward: (call, gradient) => {
    const { input, shape, attrs, launch, workspace } = call;
    const [, , HQ, D] = shape.q!;
    const [, , H, V] = shape.v!;
    const blocks = Math.ceil(longestOf(attrs.offsets) / BLOCK);
    const work = workspace(bytesOf(D, V, blocks) + 64 * D * blocks);
    const offsets = heapOffsets(call, attrs.offsets);
    const { q, k, v, w, beta, g, d0 } = input;
    launch(
      'pathAttentionBackward',
      (attrs.offsets.length - 1) * H,
      ...[q, k, v, w, beta, g, d0],
      ...[gradient.q, gradient.k, gradient.v, gradient.w, gradient.beta, gradient.g],
      ...[offsets, work, H, HQ, D, V, blocks, attrs.scale],
    );
  },
  reference: pathAttentionReference,
});

/**
 * PaTH attention: causal softmax attention in which the matrices `H_t = I - beta_t w_t w_t^T` of the tokens between them
 * stand between a query and a key, `output_i = sum over j <= i of softmax_j(scale (q_i^T H_i H_{i-1} ... H_{j+1} k_j +
 * g_{j+1} + ... + g_i)) v_j`.
 *
 * With beta = 0 it is causal `scaledDotProductAttention`, and with g as well `forgettingAttention` with gates `scale g`.
 * With w of norm 1 and beta in (0, 2) the products do not grow. Memory is linear in T. Differentiable in all tensors.
 *
 * @param q `[B, T, HQ, D]`
 * @param k `[B, T, H, D]`, HQ a multiple of H: head h of q has head `h / (HQ / H)`, rounded down, of k, v, w and beta
 * @param v `[B, T, H, V]`
 * @param w `[B, T, H, D]`, of unit norm
 * @param beta `[B, T, H]`
 * @param options.g `[B, T, HQ]`: natural logarithms of forget gates, multiplied by `scale` like the scores; default none
 * @param options.scale default `D ** -0.5`
 * @param options.cuSeqlens bounds of sequences packed along T, with B = 1
 * @returns `[B, T, HQ, V]`
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see Yang et al., "PaTH Attention: Position Encoding via Accumulating Householder Transformations" (2025)
 * @example
 * ```ts
 * import { randomNormal, randomUniform } from '@tensorflow/tfjs-core';
 * import { l2Norm, pathAttention, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 64, 4, 16]);
 * const k = randomNormal([1, 64, 2, 16]);
 * const v = randomNormal([1, 64, 2, 32]);
 * const w = l2Norm(randomNormal([1, 64, 2, 16]));
 * const beta = randomUniform([1, 64, 2]);
 * const output = pathAttention(q, k, v, w, beta); // [1, 64, 4, 32]
 * ```
 */
export function pathAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  w: Tensor,
  beta: Tensor,
  options: PathAttentionOptions = {},
): Tensor {
  const { g } = options;
  const { B, T, HQ, H, D } = checkShapes(NAME, [
    ['q', q, 'B T HQ D'],
    ['k', k, 'B T H D'],
    ['v', v, 'B T H V'],
    ['w', w, 'B T H D'],
    ['beta', beta, 'B T H'],
    ['g?', g, 'B T HQ'],
  ]);
  checkMultiple(NAME, 'HQ', HQ, 'H', H);
  const scale = scaleOf(NAME, options.scale, D);
  const offsets = sequenceOffsets(NAME, options.cuSeqlens, B, T);
  return op.run({ q, k, v, w, beta, g }, { scale, offsets })[0];
}
