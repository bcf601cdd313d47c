import type { Tensor } from '@tensorflow/tfjs-core';
import { type Integers, isTensor } from '../tensor/integers';
import { checkShapes } from '../tensor/shape';
import { BlockMask } from './blockMask';
import {
  type BlockTable,
  combineTables,
  EMPTY,
  FULL,
  type Geometry,
  keyBlocks,
  queryBlocks,
  TableBuilder,
  tableFromPairs,
} from './blockTable';

/** Sizes of a mask. */
export interface BlockMaskOptions {
  /** Batch entries with a mask of their own; default 1, shared by all. */
  B?: number;
  /** Heads with a mask of their own; default 1, shared by all. */
  H?: number;
  /** Queries. */
  Tq: number;
  /** Keys; default Tq. */
  Tkv?: number;
  /** Queries and keys of a block, or both in one number; default 128. */
  blockSize?: number | readonly [queries: number, keys: number];
  /**
   * Position of query 0 among the keys, for patterns and score modifications that look at positions; default Tkv - Tq,
   * which puts the last query at the last key as a cache needs. Predicates get plain indices.
   */
  queryOffset?: number;
}

/** Whether query q of head h sees key kv, as indices. */
export type MaskMod = (b: number, h: number, q: number, kv: number) => boolean;

function checkSize(op: string, name: string, size: number, least: number): void {
  if (!Number.isInteger(size) || size < least || size > 2 ** 30) {
    throw new RangeError(`${op}: ${name} must be an integer of at least ${least}; got ${size}`);
  }
}

/** Checks the sizes of a mask and fills in what was left out. */
export function resolveGeometry(op: string, options: BlockMaskOptions): Geometry & { queryOffset: number } {
  const { B = 1, H = 1, Tq, Tkv = Tq, blockSize = 128 } = options;
  const [blockQ, blockKv] = typeof blockSize === 'number' ? [blockSize, blockSize] : blockSize;
  for (const [name, size, least] of [
    ['B', B, 0],
    ['H', H, 0],
    ['Tq', Tq, 0],
    ['Tkv', Tkv, 0],
    ['blockSize', blockQ, 1],
    ['blockSize', blockKv, 1],
  ] as const) {
    checkSize(op, name, size, least);
  }
  const queryOffset = options.queryOffset ?? Tkv - Tq;
  if (!Number.isInteger(queryOffset)) {
    throw new RangeError(`${op}: queryOffset must be an integer; got ${queryOffset}`);
  }
  return { B, H, Tq, Tkv, blockQ, blockKv, queryOffset };
}

/**
 * A block mask from a predicate, which is called once for every (b, h, query, key). The constructors in `masks` make the
 * common patterns without visiting every pair.
 *
 * @throws RangeError for a size that is no integer or too small
 * @see Dong et al., "Flex Attention: A Programming Model for Generating Optimized Attention Kernels"
 */
export function createBlockMask(maskMod: MaskMod, options: BlockMaskOptions): BlockMask {
  const { queryOffset, ...geometry } = resolveGeometry('createBlockMask', options);
  return new BlockMask(tableFromPairs(geometry, maskMod), queryOffset);
}

/**
 * A block mask from a bool tensor, true where a key is visible.
 *
 * @param dense bool `[Tq, Tkv]`, `[H, Tq, Tkv]` or `[B, H, Tq, Tkv]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 */
export function blockMaskFromDense(
  dense: Tensor,
  options: Pick<BlockMaskOptions, 'blockSize' | 'queryOffset'> = {},
): BlockMask {
  const op = 'blockMaskFromDense';
  const rank = dense?.shape?.length;
  checkShapes(op, [['dense', dense, rank === 2 ? 'Tq Tkv' : rank === 3 ? 'H Tq Tkv' : 'B H Tq Tkv', 'bool']]);
  const [B, H, Tq, Tkv] = [1, 1, ...dense.shape].slice(-4);
  const { queryOffset, ...geometry } = resolveGeometry(op, { ...options, B, H, Tq, Tkv });
  const values = dense.dataSync();
  const isVisible: MaskMod = (b, h, q, kv) => values[((b * H + h) * Tq + q) * Tkv + kv] !== 0;
  return new BlockMask(tableFromPairs(geometry, isVisible), queryOffset);
}

/** The key blocks of each query block: nested lists for one head, or an int32 tensor `[B, H, blocks, S]` padded with -1. */
export type BlockIndices = Tensor | readonly Integers[];

/**
 * A block mask of whole blocks: query block i sees the keys of the blocks listed for it.
 *
 * @param indices for one head a list of key blocks per query block, or int32 `[B, H, query blocks, S]` with -1 for none;
 *   ascending, each block once
 * @throws TypeError, RangeError for a wrong dtype or shape, an index out of range, unsorted or repeated
 */
export function blockMaskFromIndices(
  indices: BlockIndices,
  options: Omit<BlockMaskOptions, 'B' | 'H'>,
): BlockMask {
  const op = 'blockMaskFromIndices';
  const given = (indices as Tensor)?.dataId === undefined ? undefined : (indices as Tensor);
  const [B, H] = given === undefined || given.shape.length !== 4 ? [1, 1] : given.shape;
  const { queryOffset, ...geometry } = resolveGeometry(op, { ...options, B, H });
  return new BlockMask(tableFromIndices(op, indices, geometry), queryOffset);
}

/** The table of `blockMaskFromIndices`; a list may be ascending only up to its padding of -1. */
export function tableFromIndices(op: string, indices: BlockIndices, geometry: Geometry): BlockTable {
  const [rows, columns] = [queryBlocks(geometry), keyBlocks(geometry)];
  const lists = listsOf(op, indices, geometry);
  const builder = new TableBuilder(geometry);
  lists.forEach((list, row) => {
    let last = -1;
    for (const block of list) {
      if (!Number.isInteger(block)) throw new TypeError(`${op}: indices must hold integers; got ${block}`);
      const where = `of query block ${row % rows}`;
      if (block < 0 || block >= columns) {
        throw new RangeError(
          `${op}: indices ${where} hold ${block}; expected key blocks from 0 to ${columns - 1}, ` +
            `Tkv = ${geometry.Tkv} in blocks of ${geometry.blockKv}`,
        );
      }
      if (block <= last) {
        throw new RangeError(
          `${op}: indices ${where} hold ${block} after ${last}; expected them ascending, each once`,
        );
      }
      builder.addBlock(block, FULL);
      last = block;
    }
    builder.endRow();
  });
  return builder.table();
}

function listsOf(op: string, indices: BlockIndices, geometry: Geometry): Iterable<number>[] {
  const rows = queryBlocks(geometry);
  const given = indices as Tensor;
  if (given?.dataId !== undefined) {
    const { B, H } = geometry;
    const { S } = checkShapes(op, [['indices', given, `${B} ${H} ${rows} S`, 'int32']]);
    const values = given.dataSync() as Int32Array;
    return Array.from({ length: B * H * rows }, (_, row) => {
      const list = values.subarray(row * S, (row + 1) * S);
      let end = S;
      while (end > 0 && list[end - 1] === -1) end--;
      return list.subarray(0, end);
    });
  }
  const lists = indices as readonly Integers[];
  if (!Array.isArray(lists) || lists.length !== rows) {
    throw new RangeError(
      `${op}: indices has ${lists?.length} lists; expected one per query block, ` +
        `Tq = ${geometry.Tq} in blocks of ${geometry.blockQ} = ${rows}`,
    );
  }
  return lists.map((list) => Array.from(isTensor(list) ? list.dataSync() : list));
}

/** The sizes of two masks that are combined; B and H agree or are 1. */
function commonGeometry(op: string, a: BlockTable, b: BlockTable): Geometry {
  for (const name of ['Tq', 'Tkv', 'blockQ', 'blockKv'] as const) {
    if (a[name] !== b[name]) {
      throw new RangeError(`${op}: masks must agree in ${name}; got ${a[name]} and ${b[name]}`);
    }
  }
  for (const name of ['B', 'H'] as const) {
    if (a[name] !== b[name] && a[name] !== 1 && b[name] !== 1) {
      throw new RangeError(`${op}: masks must agree in ${name} or have 1; got ${a[name]} and ${b[name]}`);
    }
  }
  const { Tq, Tkv, blockQ, blockKv } = a;
  return { B: a.B === 1 ? b.B : a.B, H: a.H === 1 ? b.H : a.H, Tq, Tkv, blockQ, blockKv };
}

/** Visible where every mask says so; masks of the same Tq, Tkv and block size, with B and H of one size or 1. */
export function andMasks(first: BlockMask, ...others: BlockMask[]): BlockMask {
  const table = others.reduce(
    (all, { table: one }) =>
      combineTables(
        all,
        one,
        commonGeometry('andMasks', all, one),
        (a, b) => (a === EMPTY || b === EMPTY ? EMPTY : a === FULL && b === FULL ? FULL : undefined),
        (a, b) => a & b,
      ),
    first.table,
  );
  return new BlockMask(table, first.queryOffset);
}

/** Visible where any mask says so; masks of the same Tq, Tkv and block size, with B and H of one size or 1. */
export function orMasks(first: BlockMask, ...others: BlockMask[]): BlockMask {
  const table = others.reduce(
    (all, { table: one }) =>
      combineTables(
        all,
        one,
        commonGeometry('orMasks', all, one),
        (a, b) => (a === FULL || b === FULL ? FULL : a === EMPTY && b === EMPTY ? EMPTY : undefined),
        (a, b) => a | b,
      ),
    first.table,
  );
  return new BlockMask(table, first.queryOffset);
}

/** Visible where the mask is not. */
export function notMask({ table, queryOffset }: BlockMask): BlockMask {
  const inverse = combineTables(
    table,
    table,
    table,
    (code) => (code === EMPTY ? FULL : code === FULL ? EMPTY : undefined),
    (word) => ~word,
  );
  return new BlockMask(inverse, queryOffset);
}
