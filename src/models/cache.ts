import { keep, type Tensor, zeros } from '@tensorflow/tfjs-core';
import { reshaped, tokens } from '../nn/layers/shape';
import { moveElements } from '../runtime/inPlace';
import { type CacheAttentionOptions, KvCache } from '../sparse/kvCache';

/** Keys and values of the tokens one mixer has seen. */
export interface KeyValues {
  /** Puts keys `[B, T, Hkv, D]` and values `[B, T, Hkv, Dv]` behind those held. */
  append(k: Tensor, v: Tensor): void;
  /** Causal attention of the queries of the last tokens over all tokens held. */
  attend(q: Tensor, options?: CacheAttentionOptions): Tensor;
  /** `[B, capacity, Hkv, D]`, of which those appended are in use, for linnet's ops only. */
  readonly keys: Tensor;
  /** `[B, capacity, Hkv, Dv]` */
  readonly values: Tensor;
}

/** Rows that grow along their second axis, in place. */
export interface Rows {
  readonly length: number;
  /** Puts rows `[B, n, ...]` behind those held. */
  append(rows: Tensor): void;
  /** `[B, capacity, ...]`, of which the first `length` are in use, for linnet's ops only. */
  readonly all: Tensor;
}

/** What one mixer remembers of the tokens it has seen. */
export interface MixerState {
  get(name: string): Tensor | undefined;
  /** Keeps a tensor for the next call, in place of the one of that name. */
  set(name: string, tensor: Tensor): void;
  /** Keys and values, of which no query sees more than the last `window`; undefined if nothing is remembered. */
  keyValues(window?: number): KeyValues | undefined;
  /** Rows of that name, one for `tokens` tokens (default 1); undefined if nothing is remembered. */
  rows(name: string, tokens?: number): Rows | undefined;
}

/** Remembers nothing. */
export const forgetful: MixerState = {
  get: () => undefined,
  set: () => {},
  keyValues: () => undefined,
  rows: () => undefined,
};

const FIRST_CAPACITY = 64;

/** A `KvCache` that doubles when it is full, or forgets what no window reaches any more. */
class GrowingKeyValues implements KeyValues {
  private held?: KvCache;
  constructor(
    private readonly window: number,
    private readonly capacity: number,
  ) {}

  append(k: Tensor, v: Tensor): void {
    this.room(k, v).append(k, v);
  }

  attend(q: Tensor, options: CacheAttentionOptions = {}): Tensor {
    return this.held!.attend(q, options);
  }

  get keys(): Tensor {
    return this.held!.keys;
  }

  get values(): Tensor {
    return this.held!.values;
  }

  private room(k: Tensor, v: Tensor): KvCache {
    const [batch, n, heads, headDim] = k.shape as [number, number, number, number];
    const held = this.held;
    const most = this.window - 1;
    if (held !== undefined && held.length + n > held.capacity && held.length > most) {
      held.keep(Array.from({ length: most }, (_, i) => held.length - most + i));
    }
    const length = held?.length ?? 0;
    if (held !== undefined && length + n <= held.capacity) return held;
    const wanted = length + n > this.capacity ? 2 * (length + n) : this.capacity;
    const capacity = Math.max(length + n, Math.min(wanted, 2 * this.window + n));
    this.held = new KvCache({ batch, heads, headDim, valueDim: v.shape[3]!, capacity });
    if (held !== undefined) {
      const [keys, values] = [held.keys, held.values].map((all) => tokens(all, 0, length));
      this.held.append(keys, values);
      keys.dispose();
      values.dispose();
      held.dispose();
    }
    return this.held;
  }

  get bytes(): number {
    return this.held === undefined ? 0 : 4 * (this.held.keys.size + this.held.values.size);
  }

  dispose(): void {
    this.held?.dispose();
    this.held = undefined;
  }
}

/** Rows that move to twice the room when they fill it. */
class GrowingRows implements Rows {
  length = 0;
  private held?: Tensor;
  constructor(private readonly capacity: number) {}

  get all(): Tensor {
    return this.held!;
  }

  append(rows: Tensor): void {
    const [batch, count, ...rest] = rows.shape as [number, number, ...number[]];
    const length = this.length + count;
    if (this.held === undefined || length > this.held.shape[1]!) {
      const room = this.held === undefined ? Math.max(length, this.capacity) : 2 * length;
      const before = this.held;
      this.held = keep(zeros([batch, room, ...rest]));
      if (before !== undefined) this.write(before, 0, this.length);
      before?.dispose();
    }
    this.write(rows, this.length, count);
    this.length = length;
  }

  private write(rows: Tensor, at: number, count: number): void {
    const [batch, room, ...rest] = this.held!.shape as [number, number, ...number[]];
    const row = rest.reduce((n, size) => n * size, 1);
    const given = rows.shape[1]!;
    const moves = Array.from({ length: batch }, (_, b) => ({
      to: (b * room + at) * row,
      from: b * given * row,
      count: count * row,
    }));
    moveElements('Cache', this.held!, rows, moves);
  }

  get bytes(): number {
    return 4 * (this.held?.size ?? 0);
  }

  dispose(): void {
    this.held?.dispose();
  }
}

class Kept implements MixerState {
  private readonly tensors = new Map<string, Tensor>();
  private readonly grownRows = new Map<string, GrowingRows>();
  private grown?: GrowingKeyValues;
  constructor(private readonly capacity: number) {}

  get(name: string): Tensor | undefined {
    return this.tensors.get(name);
  }

  set(name: string, tensor: Tensor): void {
    // a reshape shares the data, a clone copies it
    const kept = keep(reshaped(tensor, tensor.shape));
    this.tensors.get(name)?.dispose();
    this.tensors.set(name, kept);
  }

  keyValues(window = Number.POSITIVE_INFINITY): KeyValues {
    this.grown ??= new GrowingKeyValues(window, this.capacity);
    return this.grown;
  }

  rows(name: string, tokensOfRow = 1): Rows {
    let rows = this.grownRows.get(name);
    if (rows === undefined) {
      rows = new GrowingRows(Math.ceil(this.capacity / tokensOfRow));
      this.grownRows.set(name, rows);
    }
    return rows;
  }

  get bytes(): number {
    let bytes = this.grown?.bytes ?? 0;
    for (const rows of this.grownRows.values()) bytes += rows.bytes;
    for (const { size } of this.tensors.values()) bytes += 4 * size;
    return bytes;
  }

  dispose(): void {
    for (const tensor of this.tensors.values()) tensor.dispose();
    this.tensors.clear();
    for (const rows of this.grownRows.values()) rows.dispose();
    this.grownRows.clear();
    this.grown?.dispose();
    this.grown = undefined;
  }
}

export interface CacheOptions {
  /** Tokens that keys and values have room for before they move; default 64, doubled when they are more. */
  capacity?: number;
}

/** What a model remembers of the tokens it has seen, mixer by mixer, each in its own kind of state. */
export class Cache {
  /** Tokens seen. */
  position = 0;
  private readonly states = new Map<string, Kept>();
  constructor(private readonly options: CacheOptions = {}) {}

  /** The state of the mixer of that name. */
  of(mixer: string): MixerState {
    let state = this.states.get(mixer);
    if (state === undefined) {
      state = new Kept(this.options.capacity ?? FIRST_CAPACITY);
      this.states.set(mixer, state);
    }
    return state;
  }

  /** What it takes on the heap. */
  get bytes(): number {
    let bytes = 0;
    for (const state of this.states.values()) bytes += state.bytes;
    return bytes;
  }

  dispose(): void {
    for (const state of this.states.values()) state.dispose();
    this.states.clear();
    this.position = 0;
  }
}
