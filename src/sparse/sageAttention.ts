import type { Tensor } from '@tensorflow/tfjs-core';
import { checkFinite, checkMultiple, checkShapes } from '../tensor/shape';
import { checkPositive } from './attendOver';
import { defineSparseOp } from './family';
import type { FlexAttentionResult } from './flexAttention';
import { sageAttentionReference } from './sageAttention.reference';

export interface SageAttentionOptions {
  /** Query i sees keys up to its own position, the last query standing at the last key; default false. */
  isCausal?: boolean;
  /** Default `D ** -0.5`. */
  scale?: number;
  /** Take the mean over tokens from the keys before they are rounded, which leaves the softmax as it is; default true. */
  smoothK?: boolean;
  /** Tokens of a head that share a scale, of queries and of keys; default 1, the most exact and no slower. */
  blockSize?: number;
  /** Return `{ output, lse }`. */
  returnLse?: boolean;
}

export interface SageAttrs {
  isCausal: boolean;
  scale: number;
  smoothK: boolean;
  blockSize: number;
}

/** Rows (query, head) that share the packing of a block of values, and its keys. */
const ROWS_PER_ITEM = 256;
const KEYS = 64;

const ceil8 = (n: number) => 8 * Math.ceil(n / 8);

const op = defineSparseOp<'q' | 'k' | 'v', SageAttrs>({
  name: 'sageAttention',
  outputs: ({ q, v }) => [[q![0], q![1], q![2], v![3]], q!.slice(0, 3)],
  kernel: ({ input, shape, output, attrs, scratch, workspace, buffer, launch }) => {
    const { isCausal, scale, smoothK, blockSize } = attrs;
    const [B, Tq, Hq, D] = shape.q!;
    const [, Tk, Hkv] = shape.k!;
    const Dv = shape.v![3];
    const pairs = Math.ceil(D / 2);
    const row = workspace(4 * D);
    const quantize = (x: number, means: number, T: number, H: number) => {
      // the tiles of four keys at the end read up to three more
      const [values, scales] = [scratch(4 * pairs * (B * H * T + 3)), scratch(4 * (B * H * T + 3))];
      const items = B * H * Math.ceil(T / blockSize);
      launch('quantizeBlocks', items, x, means, values, scales, T, H, D, 2 * pairs, blockSize, row);
      return [values, scales] as const;
    };
    let means = 0;
    if (smoothK && Tk > 0) {
      const bounds = scratch(8);
      means = scratch(4 * B * Hkv * D);
      new Int32Array(buffer(), bounds, 2).set([0, Tk]);
      launch('blockMeans', B, input.k, bounds, means, Tk, 1, Hkv * D);
    }
    const [queries, queryScales] = quantize(input.q, 0, Tq, Hq);
    const [keys, keyScales] = quantize(input.k, means, Tk, Hkv);
    const rows = Math.min(ROWS_PER_ITEM, ceil8((Tq * Hq) / Hkv));
    const floats = rows * (pairs + ceil8(Dv) + 4) + KEYS * (ceil8(Dv) + 8);
    // biome-ignore format: one argument list per line of the entry point
    launch('sageForward', B * Hkv * Math.ceil((Tq * Hq) / Hkv / rows),
      input.q, queries, queryScales, keys, keyScales, input.v, means, output[0], output[1],
      Tq, Tk, Hq, Hkv, D, Dv, pairs, scale, isCausal ? Tk - Tq : Tk, rows, workspace(4 * floats));
  },
  reference: sageAttentionReference,
});

/**
 * Softmax attention with queries and keys in int8:
 * `output = softmax(scale sq sk (q / sq) (k' / sk)^T) v`, where `k'` is k less its mean over tokens, the quotients are rounded
 * to integers, half to even, and the steps `sq` and `sk` are `max |x| / 127` over each block of tokens of a head. Products
 * of q and k are exact integers; v and the weights stay in float32.
 *
 * For inference: it has no gradient. A NaN or an infinity in k reaches every query of its head, one in q every query of
 * its block.
 *
 * @param q `[B, Tq, Hq, D]`
 * @param k `[B, Tk, Hkv, D]`
 * @param v `[B, Tk, Hkv, Dv]`
 * @returns `[B, Tq, Hq, Dv]`, or `{ output, lse }` with `returnLse: true`, lse `[B, Tq, Hq]` the log sum exp of the scores
 *   without smoothing; a query that sees no key gives zeros and -Infinity
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see Zhang et al., "SageAttention: Accurate 8-Bit Attention for Plug-and-Play Inference Acceleration", sections 4.2, 4.3
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { ready, sageAttention } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 128, 4, 32]);
 * const k = randomNormal([1, 128, 2, 32]);
 * const v = randomNormal([1, 128, 2, 32]);
 * const output = sageAttention(q, k, v, { isCausal: true }); // [1, 128, 4, 32]
 * ```
 */
export function sageAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: SageAttentionOptions & { returnLse: true },
): FlexAttentionResult;
export function sageAttention(q: Tensor, k: Tensor, v: Tensor, options?: SageAttentionOptions): Tensor;
export function sageAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: SageAttentionOptions = {},
): Tensor | FlexAttentionResult {
  const name = 'sageAttention';
  const { Tq, Tk, Hq, D, Hkv } = checkShapes(name, [
    ['q', q, 'B Tq Hq D'],
    ['k', k, 'B Tk Hkv D'],
    ['v', v, 'B Tk Hkv Dv'],
  ]);
  checkMultiple(name, 'Hq', Hq, 'Hkv', Hkv);
  const { isCausal = false, scale = D ** -0.5, smoothK = true, blockSize = 1 } = options;
  checkFinite(name, 'scale', scale);
  checkPositive(name, { blockSize });
  const [output, lse] = op.run(
    { q, k, v },
    { isCausal, scale, smoothK, blockSize: Math.min(blockSize, Math.max(1, Tq, Tk)) },
  );
  if (options.returnLse) return { output, lse };
  lse.dispose();
  return output;
}
