import type { Tensor } from '@tensorflow/tfjs-core';
import { scaledDotProductAttention } from '../attention/scaledDotProductAttention';
import { tidied } from '../op/tidied';
import { checkFinite, checkMultiple, checkShapes } from '../tensor/shape';
import { attendOver } from './attendOver';
import { blockAttention } from './blockAttention';
import { blockMeans } from './blockMeans';
import { tableFromIntervals } from './blockTable';
import { checkChoices, chooseBlocks } from './choose';
import { chosenTable } from './chosenTable';
import type { FlexAttentionResult } from './flexAttention';
import { gatedSum } from './gatedSum';
import { checkAscending } from './kvCache';

/** Bounds of the blocks [first, end). */
export function boundsOf(first: number, end: number, blockSize: number): Int32Array {
  return Int32Array.from({ length: 2 * (end - first) }, (_, i) => (first + Math.ceil(i / 2)) * blockSize);
}

/** Where the first query stands among the keys, which may go on behind the last one. */
interface At {
  blockSize: number;
  scale: number;
  queryOffset: number;
}

function compress(q: Tensor, kCmp: Tensor, vCmp: Tensor, { blockSize, scale, queryOffset }: At): Tensor[] {
  const sizes = { B: 1, H: 1, Tq: q.shape[1]!, Tkv: kCmp.shape[1]! };
  const geometry = { ...sizes, blockQ: Math.min(blockSize, 64), blockKv: 32 };
  const table = tableFromIntervals(geometry, (_b, _h, i, emit) =>
    emit(0, Math.floor((queryOffset + i + 1) / blockSize)),
  );
  return blockAttention.run({ q, k: kCmp, v: vCmp }, { table, scale, softcap: 0 });
}

function topK(q: Tensor, kCmp: Tensor, options: At & { blockCounts: number }): Tensor {
  const { blockSize, blockCounts, scale, queryOffset } = options;
  const [T, sets] = [q.shape[1]!, kCmp.shape[2]!];
  const plan = new Int32Array(3 * T);
  for (let i = 0; i < T; i++) {
    const position = queryOffset + i;
    plan.set([0, Math.floor((position + 1) / blockSize), Math.floor(position / blockSize)], 3 * i);
  }
  return chooseBlocks.run({ q, k: kCmp }, { by: 'probability', scale, sets, count: blockCounts, plan })[0];
}

function select(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  indices: Tensor,
  { blockSize, scale, queryOffset }: At,
): Tensor {
  const [B, T, H, S] = indices.shape as [number, number, number, number];
  const blocks = Math.ceil((queryOffset + T) / blockSize);
  const sizes = { B, T, H, S, Tkv: k.shape[1]!, queryOffset };
  const table = chosenTable(indices.dataSync() as Int32Array, sizes, boundsOf(0, blocks, blockSize));
  return attendOver(q, k, v, table, scale);
}

/**
 * Native sparse attention of the queries from a position on over keys and values `[B, Tkv, Hkv, D]` and the means of their
 * complete blocks, all of which may go on behind the last query, with what the window gives: `[B, T, Hq, Dv]`.
 */
export function nsaOver(
  q: Tensor,
  { k, v, kCmp, vCmp }: Readonly<Record<'k' | 'v' | 'kCmp' | 'vCmp', Tensor>>,
  window: Tensor,
  [gCmp, gSlc, gSwa]: readonly Tensor[],
  options: At & { blockCounts: number },
): Tensor {
  return tidied(() =>
    gatedSum([
      { x: compress(q, kCmp, vCmp, options)[0], gate: gCmp },
      { x: select(q, k, v, topK(q, kCmp, options), options), gate: gSlc },
      { x: window, gate: gSwa },
    ]),
  );
}

interface BlockOptions {
  /** Keys of a block; default 64. */
  blockSize?: number;
  /** Default `D ** -0.5`. */
  scale?: number;
}

export interface NsaCompressOptions extends BlockOptions {
  /** Return `{ output, lse }`. */
  returnLse?: boolean;
}

export interface NsaTopKOptions extends BlockOptions {
  /** Blocks chosen per query, own, previous and first included; default 16. */
  blockCounts?: number;
}

export interface NativeSparseAttentionOptions extends NsaTopKOptions {
  /** Keys of the sliding window, the query's own included; default 512. Of no effect without `gSwa`. */
  windowSize?: number;
  /** int32 `[B, T, Hkv, S]`: the blocks to select, in place of `nsaTopK`. */
  blockIndices?: Tensor;
}

function checkCount(op: string, name: string, value: number): void {
  if (!Number.isInteger(value) || value < 1)
    throw new RangeError(`${op}: ${name} must be a positive integer; got ${value}`);
}

function resolve(op: string, D: number, { blockSize = 64, scale = D ** -0.5 }: BlockOptions) {
  checkCount(op, 'blockSize', blockSize);
  checkFinite(op, 'scale', scale);
  return { blockSize, scale };
}

/**
 * Compression branch of native sparse attention: each query over the summaries of the blocks that end at or before it,
 * block c being visible to query t when `(c + 1) * blockSize - 1 <= t`. A query that sees none gives zeros and lse
 * -Infinity. Differentiable in q, kCmp and vCmp.
 *
 * @param q `[B, T, Hq, D]`
 * @param kCmp `[B, C, Hkv, D]`, a key for each block
 * @param vCmp `[B, C, Hkv, Dv]`
 * @returns `[B, T, Hq, Dv]`, or `{ output, lse }` with `returnLse: true`
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see Yuan et al., "Native Sparse Attention: Hardware-Aligned and Natively Trainable Sparse Attention", section 3.3.1
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { nsaCompress, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 128, 4, 32]);
 * const kCmp = randomNormal([1, 8, 2, 32]);
 * const vCmp = randomNormal([1, 8, 2, 32]);
 * const output = nsaCompress(q, kCmp, vCmp, { blockSize: 16 }); // [1, 128, 4, 32]
 * ```
 */
export function nsaCompress(
  q: Tensor,
  kCmp: Tensor,
  vCmp: Tensor,
  options: NsaCompressOptions & { returnLse: true },
): FlexAttentionResult;
export function nsaCompress(q: Tensor, kCmp: Tensor, vCmp: Tensor, options?: NsaCompressOptions): Tensor;
export function nsaCompress(
  q: Tensor,
  kCmp: Tensor,
  vCmp: Tensor,
  options: NsaCompressOptions = {},
): Tensor | FlexAttentionResult {
  const op = 'nsaCompress';
  const { Hq, D, Hkv } = checkShapes(op, [
    ['q', q, 'B T Hq D'],
    ['kCmp', kCmp, 'B C Hkv D'],
    ['vCmp', vCmp, 'B C Hkv Dv'],
  ]);
  checkMultiple(op, 'Hq', Hq, 'Hkv', Hkv);
  const { blockSize, scale } = resolve(op, D, options);
  const [output, lse] = compress(q, kCmp, vCmp, { blockSize, scale, queryOffset: 0 });
  if (options.returnLse) return { output, lse };
  lse.dispose();
  return output;
}

/**
 * The blocks each query selects: its own, the one before and the first, and those with the greatest
 * `sum over the query heads h of a key head of softmax(scale q_h kCmp^T)`, over the blocks finished by then. No gradient.
 *
 * @param q `[B, T, Hq, D]`
 * @param kCmp `[B, C, Hkv, D]`, keys of the blocks; at least the `T / blockSize` complete ones
 * @returns int32 `[B, T, Hkv, blockCounts]`, ascending, -1 last; of equal blocks the lower one
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see Yuan et al., "Native Sparse Attention", equations 8 to 12
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { nsaTopK, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 128, 4, 32]);
 * const kCmp = randomNormal([1, 8, 2, 32]);
 * const blockIndices = nsaTopK(q, kCmp, { blockSize: 16, blockCounts: 4 }); // [1, 128, 2, 4]
 * ```
 */
export function nsaTopK(q: Tensor, kCmp: Tensor, options: NsaTopKOptions = {}): Tensor {
  const op = 'nsaTopK';
  const { B, T, Hq, D, C, Hkv } = checkShapes(op, [
    ['q', q, 'B T Hq D'],
    ['kCmp', kCmp, 'B C Hkv D'],
  ]);
  checkMultiple(op, 'Hq', Hq, 'Hkv', Hkv);
  const { blockSize, scale } = resolve(op, D, options);
  const { blockCounts = 16 } = options;
  checkCount(op, 'blockCounts', blockCounts);
  checkChoices(op, 'blockCounts', blockCounts, B * T * Hkv, `${Math.floor(T / blockSize) + 1} blocks`);
  if (C < Math.floor(T / blockSize)) {
    throw new RangeError(
      `${op}: kCmp has C = ${C} blocks; expected the ${Math.floor(T / blockSize)} complete ones of T = ${T} in blocks of ${blockSize}`,
    );
  }
  return topK(q, kCmp, { blockSize, blockCounts, scale, queryOffset: 0 });
}

/**
 * Selection branch: `output = softmax(scale q k^T) v`, each query causally over the keys of the blocks listed for it and its
 * key head; query heads of one key head share the list. Differentiable in q, k and v.
 *
 * @param q `[B, T, Hq, D]`
 * @param k `[B, T, Hkv, D]`
 * @param v `[B, T, Hkv, Dv]`
 * @param blockIndices int32 `[B, T, Hkv, S]`, ascending, each block once, -1 last; blocks after the query hold nothing
 * @returns `[B, T, Hq, Dv]`
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see Yuan et al., "Native Sparse Attention", section 3.3.2
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { nsaSelect, nsaTopK, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 128, 4, 32]);
 * const k = randomNormal([1, 128, 2, 32]);
 * const v = randomNormal([1, 128, 2, 32]);
 * const kCmp = randomNormal([1, 8, 2, 32]);
 * const blockIndices = nsaTopK(q, kCmp, { blockSize: 16, blockCounts: 4 });
 * const output = nsaSelect(q, k, v, blockIndices, { blockSize: 16 }); // [1, 128, 4, 32]
 * ```
 */
export function nsaSelect(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  blockIndices: Tensor,
  options: BlockOptions = {},
): Tensor {
  const op = 'nsaSelect';
  const { T, Hq, D, Hkv, S } = checkShapes(op, [
    ['q', q, 'B T Hq D'],
    ['k', k, 'B T Hkv D'],
    ['v', v, 'B T Hkv Dv'],
    ['blockIndices', blockIndices, 'B T Hkv S', 'int32'],
  ] as never) as Record<'T' | 'Hq' | 'D' | 'Hkv' | 'S', number>;
  checkMultiple(op, 'Hq', Hq, 'Hkv', Hkv);
  const { blockSize, scale } = resolve(op, D, options);
  const chosen = blockIndices.dataSync() as Int32Array;
  const blocks = Math.ceil(T / blockSize);
  for (let row = 0; row < chosen.length; row += S) {
    let end = row + S;
    while (end > row && chosen[end - 1] === -1) end--;
    checkAscending(op, 'blockIndices', chosen, blocks, row, end);
  }
  return select(q, k, v, blockIndices, { blockSize, scale, queryOffset: 0 });
}

/**
 * Native sparse attention: the gated sum of attention over block means, over the blocks that score highest there, and
 * over a sliding window,
 * `output = gCmp nsaCompress(q, means) + gSlc nsaSelect(q, k, v, nsaTopK(q, means)) + gSwa window(q, k, v)`.
 *
 * Compressed keys and values are means of blocks. Differentiable in q, k, v and the gates; the choice of blocks carries
 * no gradient. With every block selected the selection branch is causal attention.
 *
 * @param q `[B, T, Hq, D]`
 * @param k `[B, T, Hkv, D]`
 * @param v `[B, T, Hkv, Dv]`
 * @param gCmp `[B, T, Hq]`, gate of the compression branch, after its sigmoid
 * @param gSlc `[B, T, Hq]`, gate of the selection branch
 * @param gSwa `[B, T, Hq]`, gate of the window, or undefined for no window
 * @returns `[B, T, Hq, Dv]`
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see Yuan et al., "Native Sparse Attention: Hardware-Aligned and Natively Trainable Sparse Attention"
 * @example
 * ```ts
 * import { randomNormal, randomUniform } from '@tensorflow/tfjs-core';
 * import { nativeSparseAttention, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 128, 4, 32]);
 * const k = randomNormal([1, 128, 2, 32]);
 * const v = randomNormal([1, 128, 2, 32]);
 * const gCmp = randomUniform([1, 128, 4]);
 * const gSlc = randomUniform([1, 128, 4]);
 * const gSwa = randomUniform([1, 128, 4]);
 * const options = { blockSize: 16, blockCounts: 4, windowSize: 32 };
 * const output = nativeSparseAttention(q, k, v, gCmp, gSlc, gSwa, options); // [1, 128, 4, 32]
 * ```
 */
export function nativeSparseAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  gCmp: Tensor,
  gSlc: Tensor,
  gSwa?: Tensor,
  options: NativeSparseAttentionOptions = {},
): Tensor {
  const op = 'nativeSparseAttention';
  const { T, Hq, D, Hkv } = checkShapes(op, [
    ['q', q, 'B T Hq D'],
    ['k', k, 'B T Hkv D'],
    ['v', v, 'B T Hkv Dv'],
    ['gCmp', gCmp, 'B T Hq'],
    ['gSlc', gSlc, 'B T Hq'],
    ['gSwa?', gSwa, 'B T Hq'],
  ]);
  checkMultiple(op, 'Hq', Hq, 'Hkv', Hkv);
  const { blockSize, scale } = resolve(op, D, options);
  const { blockCounts = 16, windowSize = 512 } = options;
  checkCount(op, 'blockCounts', blockCounts);
  if (gSwa !== undefined) checkCount(op, 'windowSize', windowSize);
  const bounds = boundsOf(0, Math.floor(T / blockSize), blockSize);

  return tidied(() => {
    const [kCmp, vCmp] = [blockMeans(k, bounds), blockMeans(v, bounds)];
    const choice = { blockSize, blockCounts: Math.min(blockCounts, Math.floor(T / blockSize) + 1), scale };
    const indices = options.blockIndices ?? nsaTopK(q, kCmp, choice);
    const branches = [
      { x: nsaCompress(q, kCmp, vCmp, { blockSize, scale }), gate: gCmp },
      { x: nsaSelect(q, k, v, indices, { blockSize, scale }), gate: gSlc },
    ];
    if (gSwa !== undefined) {
      const x = scaledDotProductAttention(q, k, v, { isCausal: true, window: windowSize, scale });
      branches.push({ x, gate: gSwa });
    }
    return gatedSum(branches);
  });
}
