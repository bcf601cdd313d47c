import { keep, type Tensor, zeros } from '@tensorflow/tfjs-core';
import { type AttentionOptions, scaledDotProductAttention } from '../attention/scaledDotProductAttention';
import { type Move, moveElements } from '../runtime/inPlace';
import { checkShapes } from '../tensor/shape';

export interface KvCacheOptions {
  /** Sequences decoded together; default 1. They grow by the same tokens at a time. */
  batch?: number;
  /** Key heads, Hkv. */
  heads: number;
  /** D of a key. */
  headDim: number;
  /** D of a value; default that of a key. */
  valueDim?: number;
  /** Tokens there is room for. */
  capacity: number;
}

export type CacheAttentionOptions = Omit<
  AttentionOptions,
  'isCausal' | 'causalAlign' | 'queryOffset' | 'kvLengths' | 'cuSeqlens' | 'returnLse'
>;

/**
 * Keys and values of one layer, allocated once and written in place: a token costs the copy of its own rows, however
 * many there are. Attention reads `keys` and `values` where they lie.
 *
 * `keys` and `values` are tensors of the whole capacity that stay the same objects and change under `append`, `truncate`
 * and `keep`. Give them to linnet's ops only: tfjs's own `matMul` remembers an operand it has seen and would go on with
 * the old content. Works on the wasm and cpu backends; not differentiable.
 */
export class KvCache {
  readonly batch: number;
  readonly heads: number;
  readonly headDim: number;
  readonly valueDim: number;
  readonly capacity: number;
  /** `[B, capacity, Hkv, D]`, of which the first `length` tokens are in use. */
  readonly keys: Tensor;
  /** `[B, capacity, Hkv, Dv]` */
  readonly values: Tensor;
  private tokens = 0;

  /** @throws RangeError for a size that is no positive integer, or that the heap has no room for */
  constructor(options: KvCacheOptions) {
    const { batch = 1, heads, headDim, valueDim = headDim, capacity } = options;
    for (const [name, size] of Object.entries({ batch, heads, headDim, valueDim, capacity })) {
      if (!Number.isInteger(size) || size < 1)
        throw new RangeError(`KvCache: ${name} must be a positive integer; got ${size}`);
    }
    this.batch = batch;
    this.heads = heads;
    this.headDim = headDim;
    this.valueDim = valueDim;
    this.capacity = capacity;
    this.keys = keep(zeros([batch, capacity, heads, headDim]));
    this.values = keep(zeros([batch, capacity, heads, valueDim]));
  }

  /** Tokens held. */
  get length(): number {
    return this.tokens;
  }

  /**
   * Writes the keys and values of n tokens behind those held.
   *
   * @param k `[B, n, Hkv, D]`
   * @param v `[B, n, Hkv, Dv]`
   * @throws TypeError, RangeError for another shape or dtype, or when there is no room for n more
   */
  append(k: Tensor, v: Tensor): void {
    const op = 'KvCache.append';
    const { batch, heads, headDim, valueDim, capacity } = this;
    const { n } = checkShapes(op, [
      ['k', k, `${batch} n ${heads} ${headDim}`],
      ['v', v, `${batch} n ${heads} ${valueDim}`],
    ]) as { n: number };
    if (this.tokens + n > capacity) {
      throw new RangeError(
        `${op}: ${n} tokens behind ${this.tokens} do not fit; expected at most capacity = ${capacity} in all`,
      );
    }
    for (const [target, source] of [
      [this.keys, k],
      [this.values, v],
    ]) {
      const row = heads * target.shape[3]!;
      const moves = Array.from({ length: batch }, (_, b) => ({
        to: (b * capacity + this.tokens) * row,
        from: b * n * row,
        count: n * row,
      }));
      moveElements(op, target, source, moves);
    }
    this.tokens += n;
  }

  /** Forgets the tokens from `length` on, as after a rejected draft. */
  truncate(length: number): void {
    if (!Number.isInteger(length) || length < 0 || length > this.tokens) {
      throw new RangeError(
        `KvCache.truncate: length is ${length}; expected an integer from 0 to ${this.tokens}`,
      );
    }
    this.tokens = length;
  }

  /**
   * Keeps only the given tokens, which move together; the others are gone.
   *
   * @param tokens indices that ascend, for all heads, or one list for each key head, all of one length
   * @throws RangeError for an index out of range, unsorted or repeated, or lists that do not fit the heads
   */
  keep(tokens: ArrayLike<number> | readonly ArrayLike<number>[]): void {
    const op = 'KvCache.keep';
    const perHead = typeof tokens[0] === 'object';
    const lists = perHead ? (tokens as readonly ArrayLike<number>[]) : [tokens as ArrayLike<number>];
    const { batch, heads, capacity } = this;
    if (perHead && lists.length !== heads) {
      throw new RangeError(`${op}: tokens has ${lists.length} lists; expected one or Hkv = ${heads}`);
    }
    for (const [h, list] of lists.entries()) {
      if (list.length !== lists[0].length) {
        throw new RangeError(
          `${op}: tokens of head ${h} are ${list.length}; expected ${lists[0].length} as of head 0`,
        );
      }
      checkAscending(op, `tokens${perHead ? ` of head ${h}` : ''}`, list, this.tokens);
    }
    for (const target of [this.keys, this.values]) {
      const row = target.shape[3]!;
      const moves: Move[] = [];
      for (let b = 0; b < batch; b++) {
        for (const [h, list] of lists.entries()) {
          const count = perHead ? row : heads * row;
          for (let i = 0; i < list.length; i++) {
            if (list[i] === i) continue;
            const at = (token: number) => ((b * capacity + token) * heads + h) * row;
            moves.push({ to: at(i), from: at(list[i]), count });
          }
        }
      }
      moveElements(op, target, target, moves);
    }
    this.tokens = lists[0].length;
  }

  /**
   * Causal softmax attention of the last Tq tokens held over all of them.
   *
   * @param q `[B, Tq, Hq, D]`, the queries of the tokens appended last
   * @returns `[B, Tq, Hq, Dv]`
   */
  attend(q: Tensor, options: CacheAttentionOptions = {}): Tensor {
    const op = 'KvCache.attend';
    const { batch, headDim, tokens, keys, values } = this;
    const { Tq } = checkShapes(op, [['q', q, `${batch} Tq Hq ${headDim}`]]) as { Tq: number };
    if (Tq > tokens) {
      throw new RangeError(`${op}: q has Tq = ${Tq} tokens; expected at most the ${tokens} held`);
    }
    return scaledDotProductAttention(q, keys, values, {
      ...options,
      isCausal: true,
      queryOffset: tokens - Tq,
      kvLengths: Array(batch).fill(tokens),
    });
  }

  dispose(): void {
    this.keys.dispose();
    this.values.dispose();
  }
}

/** @throws RangeError unless the values ascend and lie in [0, end) */
export function checkAscending(op: string, name: string, values: ArrayLike<number>, end: number): void {
  for (let i = 0, last = -1; i < values.length; last = values[i++]) {
    const value = values[i];
    if (!Number.isInteger(value) || value < 0 || value >= end) {
      throw new RangeError(`${op}: ${name} hold ${value}; expected indices from 0 to ${end - 1}`);
    }
    if (value <= last) {
      throw new RangeError(`${op}: ${name} hold ${value} after ${last}; expected them ascending, each once`);
    }
  }
}
