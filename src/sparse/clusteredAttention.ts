import type { Tensor } from '@tensorflow/tfjs-core';
import { l2Norm } from '../nn/l2Norm';
import { tidied } from '../op/tidied';
import { normal, uniform } from '../random';
import { checkFinite, checkMultiple, checkShapes } from '../tensor/shape';
import { attendOver, checkPositive, pairTable } from './attendOver';
import { tableFromIntervals } from './blockTable';
import { greatest } from './cachePolicies';

/** Rotations are made before anything else, D numbers each. */
const MOST_ROTATIONS = 2 ** 16;

interface ScaleOption {
  /** Default `D ** -0.5`. */
  scale?: number;
}

export interface LshAttentionOptions extends ScaleOption {
  /** Even number of buckets; default 8. */
  buckets?: number;
  /** Rounds of hashing, whose keys are taken together; default 2. */
  hashes?: number;
  /** Tokens of a chunk, in the order of the buckets; default 64. */
  chunkSize?: number;
  /** Of the random rotations; default 0. */
  seed?: number;
}

export interface RoutingAttentionOptions extends ScaleOption {
  /** Queries and keys each cluster takes; default `T / C`. */
  topk?: number;
}

export interface SinkhornAttentionOptions extends ScaleOption {
  /** Keys of a block; default 64. */
  blockSize?: number;
  /** Rounds of normalising rows and columns; default 8. */
  iterations?: number;
}

/** Row [b, t, h] of x. */
function rowsOf(x: Tensor) {
  const [, T, H, D] = x.shape;
  const values = x.dataSync() as Float32Array;
  return (b: number, t: number, h: number) =>
    values.subarray(((b * T + t) * H + h) * D, ((b * T + t) * H + h + 1) * D);
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let d = 0; d < a.length; d++) sum += a[d] * b[d];
  return sum;
}

/**
 * Reformer attention: queries, which are also the keys once normalised, are hashed by random rotations,
 * `bucket = argmax [x R, -x R]`; in the order of (bucket, token) each chunk attends causally to tokens of the same bucket
 * in itself and the chunk before. Rounds are taken together, a key that several of them find counts once; a token sees
 * itself only if it sees nothing else.
 *
 * Deterministic for a seed. Differentiable in qk and v. One bucket pair is not the full budget; see the paper for rounds.
 *
 * @param qk `[B, T, H, D]`
 * @param v `[B, T, H, Dv]`
 * @returns `[B, T, H, Dv]`
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see Kitaev et al., "Reformer: The Efficient Transformer", section 2
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { lshAttention, ready } from 'linnet';
 *
 * await ready();
 * const qk = randomNormal([1, 128, 2, 32]);
 * const v = randomNormal([1, 128, 2, 32]);
 * const output = lshAttention(qk, v, { buckets: 8, hashes: 2, chunkSize: 32 }); // [1, 128, 2, 32]
 * ```
 */
export function lshAttention(qk: Tensor, v: Tensor, options: LshAttentionOptions = {}): Tensor {
  const op = 'lshAttention';
  const { B, T, H, D } = checkShapes(op, [
    ['qk', qk, 'B T H D'],
    ['v', v, 'B T H Dv'],
  ]);
  const { buckets = 8, hashes = 2, chunkSize = 64, seed = 0, scale = D ** -0.5 } = options;
  checkPositive(op, { buckets, hashes, chunkSize });
  if (buckets % 2 !== 0) throw new RangeError(`${op}: buckets must be even; got ${buckets}`);
  checkFinite(op, 'scale', scale);
  if (buckets * hashes > MOST_ROTATIONS)
    throw new RangeError(
      `${op}: buckets * hashes is ${buckets * hashes}; expected at most ${MOST_ROTATIONS}`,
    );
  const half = buckets / 2;
  const rotations = Array.from({ length: hashes * half }, (_, n) =>
    Array.from({ length: D }, normal(uniform(seed * 65537 + n))),
  );
  const row = rowsOf(qk);
  const turned = new Float64Array(buckets);
  const bucketOf = (x: Float32Array, round: number) => {
    for (let n = 0; n < half; n++) {
      turned[n] = dot(x, rotations[round * half + n]);
      turned[half + n] = -turned[n];
    }
    return turned.indexOf(Math.max(...turned));
  };
  const table = pairTable({ B, H, Tq: T, Tkv: T }, (b, h, see) => {
    const alone = new Uint8Array(T).fill(1);
    for (let round = 0; round < hashes; round++) {
      const bucket = Int32Array.from({ length: T }, (_, t) => bucketOf(row(b, t, h), round));
      const order = new Int32Array(bucket.keys()).sort((x, y) => bucket[x] - bucket[y] || x - y);
      order.forEach((i, at) => {
        const first = Math.max(0, (Math.floor(at / chunkSize) - 1) * chunkSize);
        // tokens of a bucket stand side by side
        for (let before = at - 1; before >= first && bucket[order[before]] === bucket[i]; before--) {
          see(i, order[before]);
          alone[i] = 0;
        }
      });
    }
    for (let i = 0; i < T; i++) if (alone[i]) see(i, i);
  });
  return tidied(() => attendOver(qk, l2Norm(qk), v, table, scale));
}

/**
 * Routing attention: each cluster takes the `topk` queries and the `topk` keys whose directions lie nearest to its
 * centroid; a query attends causally to the keys of its clusters. A query of no cluster gives zeros.
 *
 * Differentiable in q, k and v; centroids follow by their moving mean outside of the gradient, as in the paper. With
 * topk >= T it is causal attention.
 *
 * @param q `[B, T, Hq, D]`
 * @param k `[B, T, Hkv, D]`
 * @param v `[B, T, Hkv, Dv]`
 * @param centroids `[Hq, C, D]`
 * @returns `[B, T, Hq, Dv]`
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see Roy et al., "Efficient Content-Based Sparse Attention with Routing Transformers", section 4.1
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { ready, routingAttention } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 128, 4, 32]);
 * const k = randomNormal([1, 128, 2, 32]);
 * const v = randomNormal([1, 128, 2, 32]);
 * const centroids = randomNormal([4, 8, 32]);
 * const output = routingAttention(q, k, v, centroids, { topk: 16 }); // [1, 128, 4, 32]
 * ```
 */
export function routingAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  centroids: Tensor,
  options: RoutingAttentionOptions = {},
): Tensor {
  const op = 'routingAttention';
  const { B, T, Hq, D, Hkv, C } = checkShapes(op, [
    ['q', q, 'B T Hq D'],
    ['k', k, 'B T Hkv D'],
    ['v', v, 'B T Hkv Dv'],
    ['centroids', centroids, 'Hq C D'],
  ]);
  checkMultiple(op, 'Hq', Hq, 'Hkv', Hkv);
  const { topk = Math.max(1, Math.ceil(T / Math.max(C, 1))), scale = D ** -0.5 } = options;
  checkPositive(op, { topk });
  checkFinite(op, 'scale', scale);
  const [query, key, means] = [rowsOf(q), rowsOf(k), centroids.dataSync() as Float32Array];
  const directions = (rows: typeof query, b: number, h: number) =>
    Array.from({ length: T }, (_, t) => {
      const row = rows(b, t, h);
      const length = Math.sqrt(dot(row, row)) || 1;
      return (mean: Float32Array) => dot(row, mean) / length;
    });
  const table = pairTable({ B, H: Hq, Tq: T, Tkv: T }, (b, h, see) => {
    const queries = directions(query, b, h);
    const keys = directions(key, b, Math.floor(h / (Hq / Hkv)));
    for (let c = 0; c < C; c++) {
      const mean = means.subarray((h * C + c) * D, (h * C + c + 1) * D);
      const nearest = (rows: typeof queries) =>
        greatest(
          rows.map((along) => along(mean)),
          topk,
        );
      const members = nearest(keys);
      for (const i of nearest(queries)) for (const j of members) if (j <= i) see(i, j);
    }
  });
  return attendOver(q, k, v, table, scale);
}

/**
 * Sparse Sinkhorn attention: each block of queries attends causally to its own block and to one block that it is matched
 * with. Logits of earlier blocks, `sortLogits`, are made doubly stochastic by `iterations` rounds over rows and columns;
 * the match is the greatest of its row, and block 0 has none.
 *
 * Differentiable in q, k and v; the match is hard and carries no gradient.
 *
 * @param q `[B, T, Hq, D]`
 * @param k `[B, T, Hkv, D]`
 * @param v `[B, T, Hkv, Dv]`
 * @param sortLogits `[B, Hq, N, N]`, N = ceil(T / blockSize), of query blocks for key blocks
 * @returns `[B, T, Hq, Dv]`
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see Tay et al., "Sparse Sinkhorn Attention", sections 3.1 and 3.3
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { ready, sinkhornAttention } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 128, 4, 32]);
 * const k = randomNormal([1, 128, 2, 32]);
 * const v = randomNormal([1, 128, 2, 32]);
 * const sortLogits = randomNormal([1, 4, 4, 4]);
 * const output = sinkhornAttention(q, k, v, sortLogits, { blockSize: 32 }); // [1, 128, 4, 32]
 * ```
 */
export function sinkhornAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  sortLogits: Tensor,
  options: SinkhornAttentionOptions = {},
): Tensor {
  const op = 'sinkhornAttention';
  const { blockSize = 64, iterations = 8 } = options;
  checkPositive(op, { blockSize, iterations });
  const { B, T, Hq, D, Hkv } = checkShapes(op, [
    ['q', q, 'B T Hq D'],
    ['k', k, 'B T Hkv D'],
    ['v', v, 'B T Hkv Dv'],
  ]);
  checkMultiple(op, 'Hq', Hq, 'Hkv', Hkv);
  const N = Math.ceil(T / blockSize);
  checkShapes(op, [['sortLogits', sortLogits, `${B} ${Hq} ${N} ${N}`]]);
  const { scale = D ** -0.5 } = options;
  checkFinite(op, 'scale', scale);
  const logits = sortLogits.dataSync();
  const matches = Array.from({ length: B * Hq }, (_, bh) => {
    const shares = Array.from({ length: N }, (_, i) =>
      Array.from({ length: N }, (_, j) => (j < i ? Math.exp(logits[(bh * N + i) * N + j]) : 0)),
    );
    for (let round = 0; round < iterations; round++) {
      for (const row of shares) {
        const sum = row.reduce((total, share) => total + share, 0) || 1;
        for (let j = 0; j < N; j++) row[j] /= sum;
      }
      for (let j = 0; j < N; j++) {
        const sum = shares.reduce((total, row) => total + row[j], 0) || 1;
        for (const row of shares) row[j] /= sum;
      }
    }
    return shares.map((row) => row.indexOf(Math.max(...row)));
  });
  const geometry = {
    B,
    H: Hq,
    Tq: T,
    Tkv: T,
    blockQ: Math.min(blockSize, 128),
    blockKv: Math.min(blockSize, 128),
  };
  const table = tableFromIntervals(geometry, (b, h, i, emit) => {
    const block = Math.floor(i / blockSize);
    emit(block * blockSize, i + 1);
    if (block === 0) return;
    const match = matches[b * Hq + h][block];
    emit(match * blockSize, (match + 1) * blockSize);
  });
  return attendOver(q, k, v, table, scale);
}
