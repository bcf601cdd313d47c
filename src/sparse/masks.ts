import { uniform } from '../random';
import { type Integers, integers } from '../tensor/integers';
import { BlockMask } from './blockMask';
import { type Emit, tableFromDifferences, tableFromIntervals, tableFromKeys } from './blockTable';
import { andMasks, type BlockMaskOptions, orMasks, resolveGeometry } from './createBlockMask';

// Patterns by name. None visits every pair: they are made from the key intervals of each query, or from what the
// difference of two positions says. In all of them p is the position of a query, its index plus `queryOffset`.

type Causal = {
  /** Additionally only keys up to the query's own position; default false. */
  isCausal?: boolean;
};

function fromIntervals(
  op: string,
  options: BlockMaskOptions,
  intervals: (p: number, emit: Emit, b: number, h: number) => void,
): BlockMask {
  const { queryOffset, ...geometry } = resolveGeometry(op, options);
  const table = tableFromIntervals(geometry, (b, h, q, emit) => intervals(q + queryOffset, emit, b, h));
  return new BlockMask(table, queryOffset);
}

function fromDifferences(
  op: string,
  options: BlockMaskOptions,
  isVisible: (difference: number) => boolean,
): BlockMask {
  const { queryOffset, ...geometry } = resolveGeometry(op, options);
  return new BlockMask(tableFromDifferences(geometry, queryOffset, isVisible), queryOffset);
}

function fromKeys(
  op: string,
  options: BlockMaskOptions,
  isVisible: (h: number, kv: number) => boolean,
): BlockMask {
  const { queryOffset, ...geometry } = resolveGeometry(op, options);
  return new BlockMask(tableFromKeys(geometry, isVisible), queryOffset);
}

/** Cuts intervals off behind the query's own position. */
function upTo(p: number, isCausal: boolean | undefined, emit: Emit): Emit {
  return isCausal ? (lo, hi) => emit(lo, Math.min(hi, p + 1)) : emit;
}

function check(op: string, name: string, value: number, least: number): void {
  if (!Number.isInteger(value) || value < least) {
    throw new RangeError(`${op}: ${name} must be an integer of at least ${least}; got ${value}`);
  }
}

/** Every key: the mask of dense attention. */
export function full(options: BlockMaskOptions): BlockMask {
  return fromDifferences('masks.full', options, () => true);
}

/** Keys up to the query's own position: `j <= p`. */
export function causal(options: BlockMaskOptions): BlockMask {
  return fromDifferences('masks.causal', options, (difference) => difference >= 0);
}

/**
 * Keys around the query: `p - left < j <= p + right`, causal by default as in Mistral.
 *
 * @param options.window keys up to and with the own one, or `[left, right]`: as of `scaledDotProductAttention`
 */
export function slidingWindow(
  options: BlockMaskOptions & { window: number | readonly [left: number, right: number] },
): BlockMask {
  const [left, right] = typeof options.window === 'number' ? [options.window, 0] : options.window;
  if (!(left >= 0 && right >= 0)) {
    throw new RangeError(`masks.slidingWindow: window is ${options.window}; expected sizes of at least 0`);
  }
  return fromDifferences(
    'masks.slidingWindow',
    options,
    (difference) => difference < left && -difference <= right,
  );
}

/**
 * All of a prefix, and causal after it: `j < prefix or j <= p`.
 *
 * @param options.prefix length of the prefix, or one per batch entry
 * @see Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", section 3.2.1
 */
export function prefixLm(options: BlockMaskOptions & { prefix: Integers | number }): BlockMask {
  const op = 'masks.prefixLm';
  const prefixes =
    typeof options.prefix === 'number' ? [options.prefix] : integers(op, 'prefix', options.prefix);
  if (prefixes.length !== 1 && prefixes.length !== (options.B ?? prefixes.length)) {
    throw new RangeError(`${op}: prefix has ${prefixes.length} lengths; expected one, or B = ${options.B}`);
  }
  return fromIntervals(op, { ...options, B: options.B ?? prefixes.length }, (p, emit, b) =>
    emit(0, Math.max(p + 1, prefixes[b % prefixes.length])),
  );
}

/**
 * Keys of the query's own document, for sequences packed together.
 *
 * @param options.ids the document of every key; queries are keys, at position p
 */
export function document(options: BlockMaskOptions & Causal & { ids: Integers }): BlockMask {
  const op = 'masks.document';
  const ids = integers(op, 'ids', options.ids);
  const { Tkv } = resolveGeometry(op, options);
  if (ids.length !== Tkv) throw new RangeError(`${op}: ids has ${ids.length} numbers; expected Tkv = ${Tkv}`);
  const stretches = new Map<number, [lo: number, hi: number][]>();
  for (let j = 0; j < Tkv; j++) {
    const own = stretches.get(ids[j]) ?? [];
    stretches.set(ids[j], own);
    if (own.length > 0 && own[own.length - 1][1] === j) own[own.length - 1][1]++;
    else own.push([j, j + 1]);
  }
  return fromIntervals(op, options, (p, emit) => {
    for (const [lo, hi] of stretches.get(ids[p]) ?? []) upTo(p, options.isCausal, emit)(lo, hi);
  });
}

/**
 * A window with gaps: keys `p - i * dilation` for i from 0 to `window` - 1, and to the other side too unless causal.
 *
 * @param options.isCausal default true
 * @see Beltagy et al., "Longformer: The Long-Document Transformer", section 3.1
 */
export function dilated(
  options: BlockMaskOptions & { window: number; dilation: number } & Causal,
): BlockMask {
  const op = 'masks.dilated';
  const { window, dilation, isCausal = true } = options;
  check(op, 'window', window, 0);
  check(op, 'dilation', dilation, 1);
  return fromDifferences(op, options, (difference) => {
    const steps = Math.abs(difference) / dilation;
    return Number.isInteger(steps) && steps < window && (difference >= 0 || !isCausal);
  });
}

/**
 * LongNet's dilated attention: in every segment of `length` positions, head h joins the positions `h + i * dilation`
 * among themselves. Several pairs of length and dilation are joined to one mask (LongNet adds the outputs of the pairs
 * instead, in which a key of two pairs counts twice).
 *
 * @param options.segments pairs of segment length and dilation
 * @param options.isCausal default true
 * @see Ding et al., "LongNet: Scaling Transformers to 1,000,000,000 Tokens", section 3.2
 */
export function longNet(
  options: BlockMaskOptions & { segments: readonly (readonly [length: number, dilation: number])[] } & Causal,
): BlockMask {
  const op = 'masks.longNet';
  const { segments, isCausal = true } = options;
  for (const [length, dilation] of segments) {
    check(op, 'segment length', length, 1);
    check(op, 'dilation', dilation, 1);
  }
  const joined = segments.map(([length, dilation]) => {
    const takesPart = (h: number, position: number) => ((position % length) - h) % dilation === 0;
    const own = fromIntervals(op, options, (p, emit, _b, h) => {
      const first = Math.floor(p / length) * length;
      if (takesPart(h, p)) upTo(p, isCausal, emit)(first, first + length);
    });
    return dilation === 1 ? own : andMasks(own, fromKeys(op, options, takesPart));
  });
  return orMasks(joined[0], ...joined.slice(1));
}

/**
 * The last `stride` keys and every `stride`-th one before: `j <= p` and (`p - j < stride` or stride divides `p - j`).
 *
 * @see Child et al., "Generating Long Sequences with Sparse Transformers", section 4.2
 */
export function strided(options: BlockMaskOptions & { stride: number }): BlockMask {
  const { stride } = options;
  check('masks.strided', 'stride', stride, 1);
  return fromDifferences(
    'masks.strided',
    options,
    (difference) => difference >= 0 && (difference < stride || difference % stride === 0),
  );
}

/**
 * The own stretch of `stride` keys, and the last `summary` keys of every one before: `j <= p` and
 * (`floor(j / stride) = floor(p / stride)` or `j mod stride >= stride - summary`).
 *
 * @see Child et al., "Generating Long Sequences with Sparse Transformers", section 4.2, where `summary` is c
 */
export function fixed(options: BlockMaskOptions & { stride: number; summary: number }): BlockMask {
  const op = 'masks.fixed';
  const { stride, summary } = options;
  check(op, 'stride', stride, 1);
  check(op, 'summary', summary, 0);
  const columns = fromKeys(op, options, (_h, j) => j % stride >= stride - summary);
  const own = fromIntervals(op, options, (p, emit) => {
    const first = Math.floor(p / stride) * stride;
    emit(first, first + stride);
  });
  return andMasks(causal(options), orMasks(own, columns));
}

/**
 * A window, and global tokens that see everything and are seen by everyone: Longformer; ETC and GMAT with their memory
 * tokens in front.
 *
 * @param options.window as of `slidingWindow`, but a single number r means `[r + 1, r]`: r keys to each side
 * @param options.globalTokens how many of the first tokens are global, or their positions
 * @see Beltagy et al., "Longformer: The Long-Document Transformer", section 3.1
 * @see Ainslie et al., "ETC: Encoding Long and Structured Inputs in Transformers"
 * @see Gupta and Berant, "GMAT: Global Memory Augmentation for Transformers"
 */
export function globalWindow(
  options: BlockMaskOptions &
    Causal & { window: number | readonly [left: number, right: number]; globalTokens: number | Integers },
): BlockMask {
  const op = 'masks.globalWindow';
  const { window, globalTokens, isCausal } = options;
  const [left, right] = typeof window === 'number' ? [window + 1, window] : window;
  const positions =
    typeof globalTokens === 'number'
      ? Array.from({ length: globalTokens }, (_, i) => i)
      : integers(op, 'globalTokens', globalTokens);
  const isGlobal = new Set(positions);
  const { Tkv } = resolveGeometry(op, options);
  const stretches: [lo: number, hi: number][] = [];
  for (const j of [...isGlobal].sort((a, b) => a - b)) {
    const last = stretches.at(-1);
    if (last?.[1] === j) last[1]++;
    else stretches.push([j, j + 1]);
  }
  return fromIntervals(op, options, (p, emitAny) => {
    const emit = upTo(p, isCausal, emitAny);
    if (isGlobal.has(p)) {
      emit(0, Tkv);
      return;
    }
    for (const [lo, hi] of stretches) emit(lo, hi);
    emit(p - left + 1, p + right + 1);
  });
}

/**
 * Blocks of `block` tokens: each sees itself and `radius` blocks to both sides, `randomBlocks` more drawn from a seed,
 * and the first `globalBlocks`, which see everything.
 *
 * @param options.randomBlocks how many to draw per block of queries, or a list of them for each
 * @param options.seed default 0; the same seed gives the same mask
 * @see Zaheer et al., "Big Bird: Transformers for Longer Sequences", section 2
 */
export function bigBird(
  options: BlockMaskOptions & {
    block: number;
    radius?: number;
    globalBlocks?: number;
    randomBlocks?: number | readonly Integers[];
    seed?: number;
  },
): BlockMask {
  const op = 'masks.bigBird';
  const { block, radius = 1, globalBlocks = 1, randomBlocks = 3, seed = 0 } = options;
  check(op, 'block', block, 1);
  const { Tkv, H } = resolveGeometry(op, options);
  const count = Math.ceil(Tkv / block);
  const random = uniform(seed);
  const given =
    typeof randomBlocks === 'number'
      ? undefined
      : randomBlocks.map((list) => integers(op, 'randomBlocks', list));
  if (given !== undefined && given.length !== count) {
    throw new RangeError(`${op}: randomBlocks has ${given.length} lists; expected one per block = ${count}`);
  }
  const stray = given?.flat().find((other) => other < 0 || other >= count);
  if (stray !== undefined) {
    throw new RangeError(`${op}: randomBlocks hold ${stray}; expected blocks from 0 to ${count - 1}`);
  }
  const isTaken = (own: number) => (other: number) => other < globalBlocks || Math.abs(other - own) <= radius;
  const drawn = Array.from(
    { length: H },
    () =>
      given ?? Array.from({ length: count }, (_, own) => draw(count, randomBlocks as number, isTaken(own))),
  );
  return fromIntervals(op, options, (p, emit, _b, h) => {
    const own = Math.floor(p / block);
    if (own < globalBlocks) {
      emit(0, Tkv);
      return;
    }
    emit(0, globalBlocks * block);
    emit((own - radius) * block, (own + radius + 1) * block);
    for (const other of drawn[h][own] ?? []) emit(other * block, (other + 1) * block);
  });

  /** `wanted` different numbers below n that are not taken, or all there are. */
  function draw(n: number, wanted: number, isTaken: (i: number) => boolean): number[] {
    const free = Array.from({ length: n }, (_, i) => i).filter((i) => !isTaken(i));
    for (let i = 0; i < Math.min(wanted, free.length); i++) {
      const pick = i + Math.floor(random() * (free.length - i));
      [free[i], free[pick]] = [free[pick], free[i]];
    }
    return free.slice(0, wanted);
  }
}

/**
 * The own block of `block` tokens with `left` blocks before and `right` after it (the chunks of local attention), or
 * with `permutation` one other block for each: block i of queries sees block permutation[i] of keys.
 *
 * @see Qiu et al., "Blockwise Self-Attention for Long Document Understanding", section 3.1
 * @see Guo et al., "LongT5: Efficient Text-To-Text Transformer for Long Sequences", section 3.1.1
 */
export function blockLocal(
  options: BlockMaskOptions &
    Causal & { block: number; left?: number; right?: number; permutation?: Integers },
): BlockMask {
  const op = 'masks.blockLocal';
  const { block, left = 0, right = 0, permutation } = options;
  check(op, 'block', block, 1);
  const target = permutation && integers(op, 'permutation', permutation);
  return fromIntervals(op, options, (p, emit) => {
    const own = Math.floor(p / block);
    const seen = target?.[own] ?? own;
    upTo(p, options.isCausal, emit)((seen - left) * block, (seen + right + 1) * block);
  });
}

/**
 * Tokens of a grid `[rows, columns]`, row by row: each sees its own row and its own column.
 *
 * @see Ho et al., "Axial Attention in Multidimensional Transformers", section 3
 */
export function axial(
  options: BlockMaskOptions & Causal & { grid: readonly [rows: number, columns: number] },
): BlockMask {
  const columns = gridOf('masks.axial', options)[1];
  const row = blockLocal({ ...options, block: columns });
  const column = fromDifferences(
    'masks.axial',
    options,
    (difference) => difference % columns === 0 && (difference >= 0 || !options.isCausal),
  );
  return orMasks(row, column);
}

/**
 * A ring of tokens that see themselves and `radius` neighbours to both sides, and token 0, the relay, joined with all.
 *
 * @see Guo et al., "Star-Transformer", section 3
 */
export function star(options: BlockMaskOptions & { radius?: number }): BlockMask {
  const { radius = 1 } = options;
  const { Tkv } = resolveGeometry('masks.star', options);
  const ring = Tkv - 1;
  return fromIntervals('masks.star', options, (p, emit) => {
    if (p === 0) {
      emit(0, Tkv);
      return;
    }
    emit(0, 1);
    emit(Math.max(1, p - radius), p + radius + 1);
    if (p - radius < 1) emit(Math.max(1, p - radius + ring), Tkv);
    if (p + radius > ring) emit(1, p + radius - ring + 1);
  });
}

/**
 * Training mask of block diffusion language models: a noised sequence followed by the clean one, both of `length`
 * tokens in blocks of `block`. Noised blocks see themselves and the clean blocks before them, clean ones are causal by
 * blocks.
 *
 * @see Arriola et al., "Block Diffusion: Interpolating Between Autoregressive and Diffusion Language Models", section 4
 */
export function blockDiffusion(
  options: Omit<BlockMaskOptions, 'Tq' | 'Tkv' | 'queryOffset'> & { length: number; block: number },
): BlockMask {
  const op = 'masks.blockDiffusion';
  const { length, block } = options;
  check(op, 'length', length, 0);
  check(op, 'block', block, 1);
  return fromIntervals(op, { ...options, Tq: 2 * length }, (p, emit) => {
    const first = Math.floor((p % length) / block) * block;
    const end = Math.min(first + block, length);
    if (p < length) {
      emit(first, end);
      emit(length, length + first);
    } else {
      emit(length, length + end);
    }
  });
}

/** First of the `size` neighbours of i, `dilation` apart, all inside [0, n) wherever i stands. */
function firstNeighbour(i: number, n: number, size: number, dilation: number): number {
  const [group, place] = [i % dilation, Math.floor(i / dilation)];
  const places = Math.ceil((n - group) / dilation);
  return group + dilation * Math.max(0, Math.min(place - Math.floor(size / 2), places - size));
}

/**
 * The `size` keys around the query, moved inwards at both ends so that there are always as many.
 *
 * @param options.dilation distance of the neighbours; default 1
 * @see Hassani et al., "Neighborhood Attention Transformer", section 3.1
 */
export function neighborhood(options: BlockMaskOptions & { size: number; dilation?: number }): BlockMask {
  const op = 'masks.neighborhood';
  const { size, dilation = 1 } = options;
  check(op, 'size', size, 1);
  check(op, 'dilation', dilation, 1);
  const { Tkv } = resolveGeometry(op, options);
  return fromIntervals(op, options, (p, emit) => {
    const first = firstNeighbour(p, Tkv, size, dilation);
    if (dilation === 1) emit(first, first + size);
    else for (let i = 0; i < size; i++) emit(first + i * dilation, first + i * dilation + 1);
  });
}

/**
 * Tokens of a grid `[rows, columns]`, row by row: each sees the `size` rectangle around it, moved inwards at the edges.
 *
 * @param options.size keys down and across
 * @see Hassani et al., "Neighborhood Attention Transformer", section 3.1
 */
export function neighborhood2d(
  options: BlockMaskOptions & {
    grid: readonly [rows: number, columns: number];
    size: readonly [rows: number, columns: number];
  },
): BlockMask {
  const op = 'masks.neighborhood2d';
  const [rows, columns] = gridOf(op, options);
  const [height, width] = options.size;
  check(op, 'size', height, 1);
  check(op, 'size', width, 1);
  return fromIntervals(op, options, (p, emit) => {
    const top = firstNeighbour(Math.floor(p / columns), rows, height, 1);
    const left = firstNeighbour(p % columns, columns, width, 1);
    for (let row = top; row < Math.min(top + height, rows); row++) {
      emit(row * columns + left, row * columns + Math.min(left + width, columns));
    }
  });
}

function gridOf(
  op: string,
  { grid, ...options }: BlockMaskOptions & { grid: readonly [rows: number, columns: number] },
): readonly [rows: number, columns: number] {
  const { Tkv } = resolveGeometry(op, options);
  if (grid[0] * grid[1] !== Tkv) {
    throw new RangeError(`${op}: grid is ${grid[0]} x ${grid[1]}; expected a grid of Tkv = ${Tkv} tokens`);
  }
  return grid;
}
