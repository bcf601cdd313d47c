import { dispose, keep, reshape, type Tensor, zeros } from '@tensorflow/tfjs-core';
import { type AttentionOptions, scaledDotProductAttention } from '../attention/scaledDotProductAttention';
import { type Move, moveElements } from '../runtime/inPlace';
import { checkFinite, checkMultiple, checkShapes } from '../tensor/shape';
import { attendOver } from './attendOver';
import { type BlockTable, FULL, TableBuilder } from './blockTable';
import { int8Attention, type QuantizedRows, quantizeInt8, wordsOf } from './int8Attention';

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
  /** `'int8'` holds a scale per token and head and a quarter of the bytes; default `'float32'`. */
  storage?: 'float32' | 'int8';
}

/** Pages of `pageSize` tokens, token t in page `floor(t / pageSize)`: those a query reads, ascending. */
export interface PageSelection {
  pageSize: number;
  /** One list for all key heads, or one for each. */
  pages: ArrayLike<number> | readonly ArrayLike<number>[];
}

export interface CacheAttentionOptions
  extends Omit<
    AttentionOptions,
    'isCausal' | 'causalAlign' | 'queryOffset' | 'kvLengths' | 'cuSeqlens' | 'returnLse'
  > {
  /** Read only some pages. Goes together with `scale` alone, and with float32 storage. */
  selection?: PageSelection;
}

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
  readonly storage: 'float32' | 'int8';
  /** What is held, rows of all heads token by token: keys and values, or their int8 and scales. */
  private readonly parts: readonly Tensor[];
  private tokens = 0;

  /** @throws RangeError for a size that is no positive integer, or that the heap has no room for */
  constructor(options: KvCacheOptions) {
    const { batch = 1, heads, headDim, valueDim = headDim, capacity, storage = 'float32' } = options;
    for (const [name, size] of Object.entries({ batch, heads, headDim, valueDim, capacity })) {
      if (!Number.isInteger(size) || size < 1)
        throw new RangeError(`KvCache: ${name} must be a positive integer; got ${size}`);
    }
    this.batch = batch;
    this.heads = heads;
    this.headDim = headDim;
    this.valueDim = valueDim;
    this.capacity = capacity;
    this.storage = storage;
    const rows = [batch, capacity, heads];
    this.parts =
      storage === 'float32'
        ? [headDim, valueDim].map((D) => keep(zeros([...rows, D])))
        : [headDim, valueDim].flatMap((D) => [
            keep(zeros([...rows, wordsOf(D)], 'int32')),
            keep(zeros([...rows, 1])),
          ]);
  }

  /** `[B, capacity, Hkv, D]`, of which the first `length` tokens are in use. Only with float32 storage. */
  get keys(): Tensor {
    return this.floats('keys', 0);
  }

  /** `[B, capacity, Hkv, Dv]` */
  get values(): Tensor {
    return this.floats('values', 1);
  }

  private floats(name: string, part: number): Tensor {
    if (this.storage === 'int8')
      throw new Error(`KvCache: ${name} are held in int8; read them with attend or storage: 'float32'`);
    return this.parts[part];
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
    const quantized = this.storage === 'int8' ? [k, v].map(quantizeInt8) : [];
    const sources =
      quantized.length === 0 ? [k, v] : quantized.flatMap(({ values, scales }) => [values, scales]);
    this.parts.forEach((target, part) => {
      const row = heads * target.shape[3]!;
      const moves = Array.from({ length: batch }, (_, b) => ({
        to: (b * capacity + this.tokens) * row,
        from: b * n * row,
        count: n * row,
      }));
      moveElements(op, target, sources[part], moves);
    });
    for (const { values, scales } of quantized) dispose([values, scales]);
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
    const lists = this.listsOf(op, 'tokens', tokens, this.tokens);
    const perHead = lists.length > 1;
    const { batch, heads, capacity } = this;
    for (const [h, list] of lists.entries()) {
      if (list.length !== lists[0].length) {
        throw new RangeError(
          `${op}: tokens of head ${h} are ${list.length}; expected ${lists[0].length} as of head 0`,
        );
      }
    }
    for (const target of this.parts) {
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

  /** One list, or one for each key head, of ascending indices below `end`. */
  private listsOf(
    op: string,
    name: string,
    given: ArrayLike<number> | readonly ArrayLike<number>[],
    end: number,
  ): readonly ArrayLike<number>[] {
    const perHead = typeof given[0] === 'object';
    const lists = perHead ? (given as readonly ArrayLike<number>[]) : [given as ArrayLike<number>];
    if (perHead && lists.length !== this.heads) {
      throw new RangeError(`${op}: ${name} has ${lists.length} lists; expected one or Hkv = ${this.heads}`);
    }
    lists.forEach((list, h) => {
      checkAscending(op, `${name}${perHead ? ` of head ${h}` : ''}`, list, end);
    });
    return lists;
  }

  /**
   * Causal softmax attention of the last Tq tokens held over all of them, or over the selected pages. With int8 storage
   * it takes `scale` and `window` only.
   *
   * @param q `[B, Tq, Hq, D]`, the queries of the tokens appended last
   * @returns `[B, Tq, Hq, Dv]`
   * @throws TypeError, RangeError naming the argument, what came and what was expected
   */
  attend(q: Tensor, options: CacheAttentionOptions = {}): Tensor {
    const op = 'KvCache.attend';
    const { batch, heads, headDim, valueDim, tokens, parts, storage } = this;
    const { Tq, Hq } = checkShapes(op, [['q', q, `${batch} Tq Hq ${headDim}`]]) as { Tq: number; Hq: number };
    if (Tq > tokens) {
      throw new RangeError(`${op}: q has Tq = ${Tq} tokens; expected at most the ${tokens} held`);
    }
    checkMultiple(op, 'Hq', Hq, 'Hkv', heads);
    const { selection, scale = headDim ** -0.5, window, ...others } = options;
    const unsupported = Object.keys(others).find((name) => others[name as keyof typeof others] !== undefined);
    if (storage === 'int8') {
      if (unsupported !== undefined || selection !== undefined || typeof window === 'object') {
        throw new RangeError(
          `${op}: int8 storage takes a scale and a window to the left; got ${unsupported ?? (selection ? 'selection' : 'two windows')}`,
        );
      }
      const rows = ([values, scales]: readonly Tensor[]): QuantizedRows => ({
        values,
        scales: reshape(scales, scales.shape.slice(0, 3)),
      });
      const [k, v] = [rows(parts), rows(parts.slice(2))];
      const output = int8Attention(q, k, v, { valueDim, kvLength: tokens, window, scale });
      dispose([k.scales, v.scales]);
      return output;
    }
    if (selection === undefined) {
      return scaledDotProductAttention(q, parts[0], parts[1], {
        ...options,
        isCausal: true,
        queryOffset: tokens - Tq,
        kvLengths: Array(batch).fill(tokens),
      });
    }
    if (unsupported !== undefined || window !== undefined) {
      throw new RangeError(`${op}: selection goes together with scale alone; got ${unsupported ?? 'window'}`);
    }
    checkFinite(op, 'scale', scale);
    const table = this.tableOf(op, selection, Tq);
    return attendOver(q, parts[0], parts[1], table, scale);
  }

  private tableOf(op: string, { pageSize, pages }: PageSelection, Tq: number): BlockTable {
    if (!Number.isInteger(pageSize) || pageSize < 1)
      throw new RangeError(`${op}: pageSize must be a positive integer; got ${pageSize}`);
    const { tokens, capacity } = this;
    const lists = this.listsOf(op, 'pages', pages, Math.ceil(tokens / pageSize));
    const geometry = { B: 1, H: lists.length, Tq, Tkv: capacity, blockQ: 1, blockKv: 1 };
    const builder = new TableBuilder(geometry);
    for (const list of lists) {
      for (let end = tokens - Tq + 1; end <= tokens; end++) {
        for (let n = 0; n < list.length; n++) {
          builder.add(list[n] * pageSize, Math.min((list[n] + 1) * pageSize, end), FULL);
        }
        builder.endRow();
      }
    }
    return builder.table();
  }

  dispose(): void {
    dispose([...this.parts]);
  }
}

/** @throws RangeError unless the values, or those in [from, to), ascend and lie in [0, end) */
export function checkAscending(
  op: string,
  name: string,
  values: ArrayLike<number>,
  end: number,
  from = 0,
  to = values.length,
): void {
  for (let i = from, last = -1; i < to; last = values[i++]) {
    const value = values[i];
    if (!Number.isInteger(value) || value < 0 || value >= end) {
      throw new RangeError(`${op}: ${name} hold ${value}; expected indices from 0 to ${end - 1}`);
    }
    if (value <= last) {
      throw new RangeError(`${op}: ${name} hold ${value} after ${last}; expected them ascending, each once`);
    }
  }
}
