import { slice, type Tensor } from '@tensorflow/tfjs-core';
import { checkShapes } from '../tensor/shape';
import { attentionMass } from './attentionMass';
import type { KvCache, PageSelection } from './kvCache';

// Which tokens of a KvCache a model goes on with. Policies that evict call `cache.keep`; those that select return the
// pages of a step for `cache.attend`. All expect one sequence, batch = 1, and float32 storage where they read keys.

function checkCounts(policy: string, counts: Record<string, number>): void {
  for (const [name, count] of Object.entries(counts)) {
    if (!Number.isInteger(count) || count < 0)
      throw new RangeError(`${policy}: ${name} must be an integer of at least 0; got ${count}`);
  }
}

function checkOne(policy: string, cache: KvCache): void {
  if (cache.batch !== 1)
    throw new RangeError(`${policy}: expected a cache of one sequence; got ${cache.batch}`);
}

const range = (from: number, to: number) =>
  Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i);

/** Indices of the `count` greatest values, ascending; ties go to the lower index, NaN counts as the least. */
export function greatest(values: ArrayLike<number>, count: number): number[] {
  const known = Float64Array.from(values, (value) =>
    Number.isNaN(value) ? Number.NEGATIVE_INFINITY : value,
  );
  const least = known.slice().sort()[Math.max(0, known.length - count)];
  let ties = count - known.reduce((n, value) => n + (value > least ? 1 : 0), 0);
  return range(0, known.length).filter((i) => known[i] > least || (known[i] === least && ties-- > 0));
}

/** Attention of the queries of the last Tq tokens, key head by key head: a list over the tokens held for each. */
function massOf(cache: KvCache, q: Tensor, scale?: number): Float32Array[] {
  const mass = attentionMass(q, cache.keys, { kvLength: cache.length, scale });
  const values = mass.dataSync() as Float32Array;
  mass.dispose();
  return range(0, cache.heads).map((h) =>
    values.slice(h * cache.capacity, h * cache.capacity + cache.length),
  );
}

/**
 * StreamingLLM: the first `sinks` tokens, which draw attention whatever they say, and a window of the last ones.
 *
 * Positions are those within the cache: hold keys that are not rotated yet and rotate `cache.keys` by slot 0, 1, 2, ...
 * for every step, the query at `cache.length - 1`; the model then never meets a distance beyond `sinks + window`.
 *
 * @see Xiao et al., "Efficient Streaming Language Models with Attention Sinks"
 */
export class StreamingLlm {
  readonly sinks: number;
  readonly window: number;

  constructor({ sinks = 4, window }: { sinks?: number; window: number }) {
    checkCounts('StreamingLlm', { sinks, window });
    this.sinks = sinks;
    this.window = window;
  }

  /** Tokens kept of `length`. */
  tokens(length: number): number[] {
    const first = Math.min(this.sinks, length);
    return [...range(0, first), ...range(Math.max(first, length - this.window), length)];
  }

  evict(cache: KvCache): void {
    if (cache.length > this.sinks + this.window) cache.keep(this.tokens(cache.length));
  }
}

/**
 * H2O: the last `recent` tokens and, for each key head, the `heavy` earlier ones that have drawn most attention so far.
 *
 * @see Zhang et al., "H2O: Heavy-Hitter Oracle for Efficient Generative Inference of Large Language Models"
 */
export class HeavyHitters {
  readonly heavy: number;
  readonly recent: number;
  private sums: number[][] = [];

  constructor({ heavy, recent }: { heavy: number; recent: number }) {
    checkCounts('HeavyHitters', { heavy, recent });
    this.heavy = heavy;
    this.recent = recent;
  }

  /** Adds the attention of the tokens appended last, `q` `[1, Tq, Hq, D]`; call it once per step, then `evict`. */
  observe(cache: KvCache, q: Tensor, scale?: number): void {
    checkOne('HeavyHitters', cache);
    this.sums = massOf(cache, q, scale).map((mass, h) =>
      Array.from(mass, (m, j) => m + (this.sums[h]?.[j] ?? 0)),
    );
  }

  evict(cache: KvCache): void {
    const { length } = cache;
    if (length <= this.heavy + this.recent || this.sums.length === 0) return;
    const first = length - this.recent;
    const lists = this.sums.map((sums) => [
      ...greatest(sums.slice(0, first), this.heavy),
      ...range(first, length),
    ]);
    cache.keep(lists);
    this.sums = this.sums.map((sums, h) => lists[h].map((j) => sums[j]));
  }
}

/**
 * SnapKV: at the end of a prompt, the tokens that its last `window` queries attend to, smoothed along the sequence so that
 * neighbours of a heavy token stay with it, and the window itself.
 *
 * @see Li et al., "SnapKV: LLM Knows What You are Looking for Before Generation"
 */
export class SnapKv {
  readonly budget: number;
  readonly window: number;
  readonly pool: number;

  constructor({ budget, window = 32, pool = 7 }: { budget: number; window?: number; pool?: number }) {
    checkCounts('SnapKv', { budget, window, pool });
    if (budget < window) throw new RangeError(`SnapKv: budget = ${budget} must hold the window = ${window}`);
    this.budget = budget;
    this.window = window;
    this.pool = pool;
  }

  /** `q` `[1, T, Hq, D]` are the queries of the prompt, of which the last `window` vote. */
  evict(cache: KvCache, q: Tensor, scale?: number): void {
    checkOne('SnapKv', cache);
    const { length } = cache;
    if (length <= this.budget) return;
    const { T, Hq, D } = checkShapes('SnapKv', [['q', q, '1 T Hq D']]);
    const votes = Math.min(this.window, T);
    const last = slice(q, [0, T - votes, 0, 0], [1, votes, Hq, D]);
    const first = length - this.window;
    const lists = massOf(cache, last, scale).map((mass) => {
      const half = this.pool >> 1;
      const pooled = range(0, first).map((j) =>
        Math.max(...mass.subarray(Math.max(0, j - half), Math.min(first, j + half + 1))),
      );
      return [...greatest(pooled, this.budget - this.window), ...range(first, length)];
    });
    last.dispose();
    cache.keep(lists);
  }
}

/**
 * Quest: every page has the least and greatest key of each channel, which bound what a query can score in it; each key
 * head reads the `pages` pages with the greatest bounds, and always the last one.
 *
 * `by: 'mean'` scores the mean key of a page in place of the bound and always reads the first page as well, as LongHeads
 * does with its chunks. `logicalPageSize` takes bounds of smaller pages and reads the physical page with the best of them,
 * `interval` uses a choice for so many steps: LServe.
 *
 * @see Tang et al., "Quest: Query-Aware Sparsity for Efficient Long-Context LLM Inference", algorithm 1
 * @see Lu et al., "LongHeads: Multi-Head Attention is Secretly a Long Context Processor"
 * @see Yang et al., "LServe: Efficient Long-sequence LLM Serving with Unified Sparse Attention"
 */
export class PageSelector {
  readonly pages: number;
  readonly pageSize: number;
  readonly logicalPageSize: number;
  readonly by: 'bound' | 'mean';
  readonly interval: number;
  /** For each head and logical page its lowest, highest and summed key. */
  private summaries: { low: Float32Array; high: Float32Array; sum: Float32Array; count: number }[][] = [];
  private seen = 0;
  private age = 0;
  private last: number[][] | undefined;

  constructor(options: {
    pages: number;
    pageSize?: number;
    logicalPageSize?: number;
    by?: 'bound' | 'mean';
    interval?: number;
  }) {
    const { pages, pageSize = 16, logicalPageSize = pageSize, by = 'bound', interval = 1 } = options;
    checkCounts('PageSelector', { pages, pageSize, logicalPageSize, interval });
    if (pageSize < 1 || logicalPageSize < 1 || pageSize % logicalPageSize !== 0) {
      throw new RangeError(
        `PageSelector: pageSize = ${pageSize} must be a multiple of logicalPageSize = ${logicalPageSize}`,
      );
    }
    this.pages = pages;
    this.pageSize = pageSize;
    this.logicalPageSize = logicalPageSize;
    this.by = by;
    this.interval = interval;
  }

  /** Takes note of keys `[1, n, Hkv, D]` as they are appended to the cache; costs what they cost. */
  append(k: Tensor): void {
    const { n, H, D } = checkShapes('PageSelector.append', [['k', k, '1 n H D']]);
    const values = k.dataSync() as Float32Array;
    for (let t = 0; t < n; t++, this.seen++) {
      const page = Math.floor(this.seen / this.logicalPageSize);
      for (let h = 0; h < H; h++) {
        this.summaries[h] ??= [];
        const key = values.subarray((t * H + h) * D, (t * H + h + 1) * D);
        this.summaries[h][page] ??= {
          low: key.slice(),
          high: key.slice(),
          sum: new Float32Array(D),
          count: 0,
        };
        const { low, high, sum } = this.summaries[h][page];
        for (let d = 0; d < D; d++) {
          low[d] = Math.min(low[d], key[d]);
          high[d] = Math.max(high[d], key[d]);
          sum[d] += key[d];
        }
        this.summaries[h][page].count++;
      }
    }
  }

  /** The pages that the query of one token, `q` `[1, 1, Hq, D]`, reads. */
  select(q: Tensor): PageSelection {
    const { Hq, D } = checkShapes('PageSelector.select', [['q', q, '1 1 Hq D']]);
    const { pageSize, interval } = this;
    const total = Math.ceil(this.seen / pageSize);
    if (this.last === undefined || this.age % interval === 0) {
      const values = q.dataSync() as Float32Array;
      const group = Hq / this.summaries.length;
      this.last = this.summaries.map((logical, h) => {
        const scores = Array<number>(total).fill(Number.NEGATIVE_INFINITY);
        logical.forEach((summary, page) => {
          const at = Math.floor((page * this.logicalPageSize) / pageSize);
          let score = 0;
          for (let head = h * group; head < (h + 1) * group; head++) {
            for (let d = 0; d < D; d++) {
              const x = values[head * D + d];
              score +=
                this.by === 'mean'
                  ? (x * summary.sum[d]) / summary.count
                  : Math.max(x * summary.low[d], x * summary.high[d]);
            }
          }
          scores[at] = Math.max(scores[at], score);
        });
        if (this.by === 'mean') scores[0] = Infinity;
        scores[total - 1] = Infinity;
        return greatest(scores, Math.max(1, this.pages));
      });
    }
    this.age++;
    // pages that came since the choice are read as well
    const fresh = range((this.last[0]?.at(-1) ?? -1) + 1, total);
    return {
      pageSize,
      pages: this.last.map((pages) => [...pages, ...fresh.filter((page) => page > pages.at(-1)!)]),
    };
  }
}

/**
 * FastGen: each key head gets the cheapest of four policies that keeps at least `recovery` of the attention its prompt
 * paid: special tokens; those and the last `recent` share; those and the `frequent` share that drew most; all.
 *
 * @see Ge et al., "Model Tells You What to Discard: Adaptive KV Cache Compression for LLMs"
 */
export class FastGen {
  readonly recovery: number;
  readonly recent: number;
  readonly frequent: number;

  constructor({ recovery = 0.95, recent = 0.3, frequent = 0.3 } = {}) {
    for (const [name, share] of Object.entries({ recovery, recent, frequent })) {
      if (!(share >= 0 && share <= 1))
        throw new RangeError(`FastGen: ${name} must be between 0 and 1; got ${share}`);
    }
    this.recovery = recovery;
    this.recent = recent;
    this.frequent = frequent;
  }

  /**
   * The tokens each key head keeps, as pages of one token for `cache.attend`.
   *
   * @param q `[1, T, Hq, D]`, queries of the prompt
   * @param special tokens that every policy keeps, such as the first and punctuation
   */
  select(cache: KvCache, q: Tensor, special: readonly number[] = [0], scale?: number): PageSelection {
    checkOne('FastGen', cache);
    const { length } = cache;
    const pages = massOf(cache, q, scale).map((mass) => {
      const total = mass.reduce((sum, m) => sum + m, 0);
      const withSpecial = (tokens: number[]) => [...new Set([...special, ...tokens])].sort((a, b) => a - b);
      const local = withSpecial(range(Math.ceil(length * (1 - this.recent)), length));
      const choices = [
        withSpecial([]),
        local,
        [...new Set([...local, ...greatest(mass, Math.floor(length * this.frequent))])].sort((a, b) => a - b),
      ];
      const keeps = (tokens: number[]) =>
        tokens.reduce((sum, j) => sum + mass[j], 0) >= this.recovery * total;
      return choices.find(keeps) ?? range(0, length);
    });
    return { pageSize: 1, pages };
  }
}

/**
 * SpAtten: attention is added up over heads and layers, and a layer drops the tokens with the least of it; what a layer
 * dropped, the layers behind it do without. `keep[layer]` is the share of tokens that layer reads.
 *
 * @see Wang et al., "SpAtten: Efficient Sparse Attention Architecture with Cascade Token and Head Pruning"
 */
export class CascadePruning {
  private sums: number[] = [];
  private kept: number[] | undefined;

  constructor(readonly keep: readonly number[]) {
    for (const [layer, share] of keep.entries()) {
      if (!(share > 0 && share <= (keep[layer - 1] ?? 1))) {
        throw new RangeError(
          `CascadePruning: keep is [${keep}]; expected shares above 0 that do not grow from layer to layer`,
        );
      }
    }
  }

  /** Starts a step at the first layer; importance goes on adding up. */
  restart(): void {
    this.kept = undefined;
  }

  /** The tokens layer `layer` reads, as pages of one token; the last token is always read. */
  select(layer: number, cache: KvCache): PageSelection {
    const { length } = cache;
    const candidates = [...(this.kept ?? range(0, length))];
    const importance = candidates.map((j) => (j === length - 1 ? Infinity : (this.sums[j] ?? 0)));
    const count = Math.max(1, Math.ceil(length * this.keep[layer]));
    this.kept = greatest(importance, count).map((at) => candidates[at]);
    return { pageSize: 1, pages: this.kept };
  }

  /** Adds the attention of a layer's queries, `q` `[1, Tq, Hq, D]`. */
  observe(cache: KvCache, q: Tensor, scale?: number): void {
    checkOne('CascadePruning', cache);
    for (const mass of massOf(cache, q, scale)) {
      mass.forEach((m, j) => {
        this.sums[j] = (this.sums[j] ?? 0) + m;
      });
    }
  }
}
