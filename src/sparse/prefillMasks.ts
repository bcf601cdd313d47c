import { slice, type Tensor } from '@tensorflow/tfjs-core';
import { checkFinite, checkMultiple, checkShapes } from '../tensor/shape';
import { attentionMass } from './attentionMass';
import { BlockMask } from './blockMask';
import { tableFromIntervals } from './blockTable';
import { greatest } from './cachePolicies';
import { globalWindow } from './masks';

// Block masks for `flexAttention` over a long prompt, chosen by a cheap look at q and k. All are causal, of one sequence
// and keep, for every query block of every query head, at least its own block and the first.

interface PatternOptions {
  /** Queries and keys of a block; default 64. */
  blockSize?: number;
  /** Default `D ** -0.5`. */
  scale?: number;
}
/** How many blocks of a query block are kept: so many, or the fewest whose scores make up this share. */
type Budget = { blocks: number; share?: undefined } | { blocks?: undefined; share: number };

function sizesOf(op: string, q: Tensor, k: Tensor, { blockSize = 64, scale }: PatternOptions) {
  const { T, Hq, D, Hkv } = checkShapes(op, [
    ['q', q, '1 T Hq D'],
    ['k', k, '1 T Hkv D'],
  ]);
  checkMultiple(op, 'Hq', Hq, 'Hkv', Hkv);
  if (!Number.isInteger(blockSize) || blockSize < 1)
    throw new RangeError(`${op}: blockSize must be a positive integer; got ${blockSize}`);
  checkFinite(op, 'scale', scale ?? 1);
  return {
    T,
    Hq,
    D,
    Hkv,
    group: Hq / Hkv,
    blockSize,
    blocks: Math.ceil(T / blockSize),
    scale: scale ?? D ** -0.5,
  };
}

function checkBudget(op: string, { blocks, share }: Budget): void {
  if (blocks !== undefined ? !(Number.isInteger(blocks) && blocks > 0) : !(share > 0 && share <= 1)) {
    throw new RangeError(
      `${op}: expected a positive number of blocks or a share up to 1; got ${blocks ?? share}`,
    );
  }
}

/** A causal mask of whole key blocks: `blocksOf` lists those of a query block, in any order. */
function maskOf(
  T: number,
  H: number,
  blockSize: number,
  blocksOf: (h: number, block: number) => number[],
): BlockMask {
  const geometry = { B: 1, H, Tq: T, Tkv: T, blockQ: blockSize, blockKv: blockSize };
  let at = '';
  let chosen: number[] = [];
  const table = tableFromIntervals(geometry, (_b, h, i, emit) => {
    const block = Math.floor(i / blockSize);
    if (at !== `${h},${block}`) {
      at = `${h},${block}`;
      chosen = [...new Set([0, block, ...blocksOf(h, block).filter((c) => c <= block)])];
    }
    for (const c of chosen) emit(c * blockSize, Math.min((c + 1) * blockSize, i + 1));
  });
  return new BlockMask(table, 0);
}

/** The best blocks by scores that are shares of 1. */
function withinBudget(scores: readonly number[], { blocks, share }: Budget): number[] {
  if (blocks !== undefined) return greatest(scores, blocks);
  const order = scores.map((_, c) => c).sort((a, b) => scores[b] - scores[a] || a - b);
  const total = scores.reduce((sum, score) => sum + score, 0);
  let sum = 0;
  return order.filter((c) => {
    const before = sum;
    sum += scores[c];
    return before < share * total;
  });
}

function softmaxOf(scores: readonly number[]): number[] {
  const max = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - max));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

/** Rows [h][block][D] pooled over the tokens of each block. */
function pooled(x: Tensor, blockSize: number, pool: (rows: Float32Array[]) => number[]): number[][][] {
  const [, T, H, D] = x.shape;
  const values = x.dataSync() as Float32Array;
  return Array.from({ length: H }, (_, h) =>
    Array.from({ length: Math.ceil(T / blockSize) }, (_, block) => {
      const first = block * blockSize;
      const rows = Array.from({ length: Math.min(blockSize, T - first) }, (_, t) => {
        const at = ((first + t) * H + h) * D;
        return values.subarray(at, at + D);
      });
      return pool(rows);
    }),
  );
}

const meanOf = (rows: Float32Array[]) =>
  Array.from(rows[0], (_, d) => rows.reduce((sum, row) => sum + row[d], 0) / rows.length);
const dotOf = (a: ArrayLike<number>, b: ArrayLike<number>) => {
  let sum = 0;
  for (let d = 0; d < a.length; d++) sum += a[d] * b[d];
  return sum;
};

/**
 * MInference, A-shape: the first `sinks` keys and a window, the same for every head.
 *
 * @see Jiang et al., "MInference 1.0: Accelerating Pre-filling for Long-Context LLMs via Dynamic Sparse Attention"
 */
export function aShapeMask(options: {
  T: number;
  sinks: number;
  window: number;
  blockSize?: number;
}): BlockMask {
  const { T, sinks, window, blockSize = 64 } = options;
  return globalWindow({ Tq: T, blockSize, window: [window, 0], globalTokens: sinks, isCausal: true });
}

/**
 * MInference, vertical-slash: the `vertical` keys and the `slash` distances that draw most attention from the last
 * `lastQueries` queries, as whole blocks, for each key head.
 *
 * @param q `[1, T, Hq, D]`
 * @param k `[1, T, Hkv, D]`
 * @see Jiang et al., "MInference 1.0", algorithm 1
 */
export function verticalSlashMask(
  q: Tensor,
  k: Tensor,
  options: PatternOptions & { vertical: number; slash: number; lastQueries?: number },
): BlockMask {
  const op = 'verticalSlashMask';
  const { T, Hq, D, Hkv, blockSize, scale } = sizesOf(op, q, k, options);
  const { vertical, slash, lastQueries = 64 } = options;
  for (const [name, count] of Object.entries({ vertical, slash, lastQueries })) {
    if (!Number.isInteger(count) || count < 0)
      throw new RangeError(`${op}: ${name} must be an integer of at least 0; got ${count}`);
  }
  const votes = Math.min(lastQueries, T);
  const last = slice(q, [0, T - votes, 0, 0], [1, votes, Hq, D]);
  const [keys, distances] = [false, true].map((byDistance) => {
    const mass = attentionMass(last, k, { scale, byDistance });
    const values = mass.dataSync() as Float32Array;
    mass.dispose();
    return Array.from({ length: Hkv }, (_, h) =>
      greatest(values.subarray(h * T, (h + 1) * T), byDistance ? slash : vertical),
    );
  });
  last.dispose();
  return maskOf(T, Hkv, blockSize, (h, block) => [
    ...keys[h].map((j) => Math.floor(j / blockSize)),
    ...distances[h].flatMap((distance) => {
      const lowest = block * blockSize - distance;
      const highest = lowest + blockSize - 1;
      return [lowest, highest].filter((j) => j >= 0).map((j) => Math.floor(j / blockSize));
    }),
  ]);
}

/**
 * MInference, block-sparse: the key blocks whose mean key scores highest with the mean query of a block.
 *
 * @param q `[1, T, Hq, D]`
 * @param k `[1, T, Hkv, D]`
 * @see Jiang et al., "MInference 1.0", algorithm 2
 */
export function blockSparseMask(q: Tensor, k: Tensor, options: PatternOptions & Budget): BlockMask {
  const op = 'blockSparseMask';
  const { T, Hq, group, blockSize, scale } = sizesOf(op, q, k, options);
  checkBudget(op, options);
  const queries = pooled(q, blockSize, meanOf);
  const keys = pooled(k, blockSize, meanOf);
  return maskOf(T, Hq, blockSize, (h, block) => {
    const candidates = keys[Math.floor(h / group)].slice(0, block + 1);
    return withinBudget(softmaxOf(candidates.map((key) => scale * dotOf(queries[h][block], key))), options);
  });
}

/**
 * XAttention: a key block is scored by the antidiagonals of its scores, every `stride`-th one, which meet every vertical
 * and slash line of the block; the fewest blocks that make up `share` of their softmax are kept.
 *
 * @param q `[1, T, Hq, D]`
 * @param k `[1, T, Hkv, D]`
 * @see Xu et al., "XAttention: Block Sparse Attention with Antidiagonal Scoring", algorithm 1
 */
export function antidiagonalMask(
  q: Tensor,
  k: Tensor,
  options: PatternOptions & Budget & { stride?: number },
): BlockMask {
  const op = 'antidiagonalMask';
  const { T, Hq, Hkv, D, group, blockSize, scale } = sizesOf(op, q, k, options);
  const { stride = 8 } = options;
  checkBudget(op, options);
  if (!Number.isInteger(stride) || stride < 1 || blockSize % stride !== 0) {
    throw new RangeError(`${op}: stride is ${stride}; expected a divisor of blockSize = ${blockSize}`);
  }
  const strides = Math.ceil(T / stride);
  // a row per stride: queries turned around, so that a dot product runs along an antidiagonal
  const rowsOf = (x: Tensor, H: number, turn: boolean) => {
    const values = x.dataSync() as Float32Array;
    const rows = new Float32Array(H * strides * stride * D);
    for (let t = 0; t < T; t++) {
      const [at, within] = [Math.floor(t / stride), turn ? stride - 1 - (t % stride) : t % stride];
      for (let h = 0; h < H; h++) {
        const from = (t * H + h) * D;
        rows.set(values.subarray(from, from + D), ((h * strides + at) * stride + within) * D);
      }
    }
    return (h: number, at: number) =>
      rows.subarray((h * strides + at) * stride * D, (h * strides + at + 1) * stride * D);
  };
  const [query, key] = [rowsOf(q, Hq, true), rowsOf(k, Hkv, false)];
  const perBlock = blockSize / stride;
  return maskOf(T, Hq, blockSize, (h, block) => {
    const sums: number[] = Array(block + 1).fill(0);
    for (let i = block * perBlock; i < Math.min((block + 1) * perBlock, strides); i++) {
      const row = query(h, i);
      const scores = Array.from(
        { length: i + 1 },
        (_, j) => (scale / stride) * dotOf(row, key(Math.floor(h / group), j)),
      );
      softmaxOf(scores).forEach((p, j) => {
        sums[Math.floor(j / perBlock)] += p;
      });
    }
    return withinBudget(sums, options);
  });
}

/**
 * SeerAttention: a learned gate scores key blocks, `softmax((mean(q) wq) . ([max(k), min(k), mean(k)] wk))` per query
 * block.
 *
 * @param q `[1, T, Hq, D]`
 * @param k `[1, T, Hkv, D]`
 * @param gate.wq `[Hq, D, G]`, weights of the pooled queries
 * @param gate.wk `[Hkv, 3 D, G]`, weights of the pooled keys
 * @see Gao et al., "SeerAttention: Learning Intrinsic Sparse Attention in Your LLMs"
 */
export function seerMask(
  q: Tensor,
  k: Tensor,
  gate: { wq: Tensor; wk: Tensor },
  options: PatternOptions & Budget,
): BlockMask {
  const op = 'seerMask';
  const { T, Hq, Hkv, D, group, blockSize } = sizesOf(op, q, k, options);
  checkBudget(op, options);
  const { G } = checkShapes(op, [
    ['gate.wq', gate.wq, `${Hq} ${D} G`],
    ['gate.wk', gate.wk, `${Hkv} ${3 * D} G`],
  ]) as { G: number };
  const scale = options.scale ?? G ** -0.5;
  const extreme = (rows: Float32Array[], most: (...values: number[]) => number) =>
    Array.from(rows[0], (_, d) => most(...rows.map((row) => row[d])));
  const project = (x: number[][][], weights: Tensor) => {
    const values = weights.dataSync();
    const inner = weights.shape[1]!;
    return x.map((blocks, h) =>
      blocks.map((row) =>
        Array.from({ length: G }, (_, g) =>
          row.reduce((sum, value, d) => sum + value * values[(h * inner + d) * G + g], 0),
        ),
      ),
    );
  };
  const queries = project(pooled(q, blockSize, meanOf), gate.wq);
  const keys = project(
    pooled(k, blockSize, (rows) => [...extreme(rows, Math.max), ...extreme(rows, Math.min), ...meanOf(rows)]),
    gate.wk,
  );
  return maskOf(T, Hq, blockSize, (h, block) => {
    const candidates = keys[Math.floor(h / group)].slice(0, block + 1);
    return withinBudget(softmaxOf(candidates.map((key) => scale * dotOf(queries[h][block], key))), options);
  });
}
