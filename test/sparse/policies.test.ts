import { slice, type Tensor, tensor, tidy } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { deviation, drawInputs, float64 } from '../../src/catalog/numerics';
import {
  antidiagonalMask,
  aShapeMask,
  blockSparseMask,
  CascadePruning,
  FastGen,
  flexAttention,
  HeavyHitters,
  KvCache,
  PageSelector,
  SnapKv,
  StreamingLlm,
  scaledDotProductAttention,
  seerMask,
  verticalSlashMask,
} from '../../src/index';

const [T, Hq, Hkv, D] = [48, 4, 2, 8];
const draw = (seed = 3) =>
  drawInputs(
    { q: { shape: [1, T, Hq, D] }, k: { shape: [1, T, Hkv, D] }, v: { shape: [1, T, Hkv, D] } },
    seed,
  );
const token = (x: Tensor, t: number, n = 1) => slice(x, [0, t, 0, 0], [1, n, x.shape[2]!, x.shape[3]!]);

function expectClose(actual: Tensor, expected: Tensor) {
  expect(deviation(float64(actual), float64(expected)).r).toBeLessThanOrEqual(1e-6);
}

function withCache(run: (cache: KvCache, x: { q: Tensor; k: Tensor; v: Tensor }) => void): void {
  const cache = new KvCache({ heads: Hkv, headDim: D, capacity: 64 });
  tidy(() => {
    const { q, k, v } = draw();
    cache.append(k, v);
    run(cache, { q, k, v });
  });
  cache.dispose();
}

describe('with a budget for every token a policy changes nothing', () => {
  it('evicting policies', () => {
    withCache((cache, { q }) => {
      new StreamingLlm({ sinks: 4, window: T }).evict(cache);
      const heavy = new HeavyHitters({ heavy: 20, recent: T - 20 });
      heavy.observe(cache, q);
      heavy.evict(cache);
      new SnapKv({ budget: T }).evict(cache, q);
      expect(cache.length).toBe(T);
    });
  });

  it('selecting policies', () => {
    withCache((cache, { q, k }) => {
      const last = token(q, T - 1);
      const expected = cache.attend(last);
      for (const by of ['bound', 'mean'] as const) {
        const selector = new PageSelector({ pages: 12, pageSize: 4, by });
        selector.append(k);
        expectClose(cache.attend(last, { selection: selector.select(last) }), expected);
      }
      expectClose(cache.attend(last, { selection: new FastGen({ recovery: 1 }).select(cache, q) }), expected);
      expectClose(cache.attend(last, { selection: new CascadePruning([1]).select(0, cache) }), expected);
    });
  });

  it('prefill masks', () => {
    tidy(() => {
      const { q, k, v } = draw();
      const expected = scaledDotProductAttention(q, k, v, { isCausal: true });
      const gate = drawInputs({ wq: { shape: [Hq, D, 3] }, wk: { shape: [Hkv, 3 * D, 3] } });
      const all = { blockSize: 16, blocks: 3 };
      for (const blockMask of [
        aShapeMask({ T, sinks: 2, window: T, blockSize: 16 }),
        verticalSlashMask(q, k, { vertical: T, slash: 0, blockSize: 16 }),
        verticalSlashMask(q, k, { vertical: 0, slash: T, blockSize: 16 }),
        blockSparseMask(q, k, all),
        blockSparseMask(q, k, { blockSize: 16, share: 1 }),
        antidiagonalMask(q, k, { ...all, stride: 4 }),
        seerMask(q, k, gate as never, all),
      ]) {
        expectClose(flexAttention(q, k, v, { blockMask }), expected);
      }
    });
  });
});

describe('what policies keep', () => {
  it('StreamingLlm: sinks and window', () => {
    const policy = new StreamingLlm({ sinks: 2, window: 3 });
    expect(policy.tokens(9)).toEqual([0, 1, 6, 7, 8]);
    expect(policy.tokens(4)).toEqual([0, 1, 2, 3]);
    withCache((cache, { k }) => {
      policy.evict(cache);
      expect(cache.length).toBe(5);
      expect([...token(cache.keys, 2, 3).dataSync()]).toEqual([...token(k, 45, 3).dataSync()]);
    });
  });

  /** A key of head 1 that all queries look at. */
  function needle(at: number) {
    const { q, k, v } = draw();
    const [queries, keys] = [q.dataSync().fill(1), k.dataSync().map((x) => 0.1 * x)];
    keys.fill(5, (at * Hkv + 1) * D, (at * Hkv + 2) * D);
    return { q: tensor(queries, q.shape), k: tensor(keys, k.shape), v };
  }

  it('heavy hitters, snapshots, pages and cascades find the key that draws attention', () => {
    const { q, k, v } = needle(17);
    const filled = () => {
      const cache = new KvCache({ heads: Hkv, headDim: D, capacity: T });
      cache.append(k, v);
      return cache;
    };
    const holdsNeedle = (cache: KvCache) => {
      const keys = cache.keys.arraySync() as number[][][][];
      return keys[0].slice(0, cache.length).some((heads) => heads[1].every((x) => x === 5));
    };
    const last = token(q, T - 1);
    const h2o = filled();
    const policy = new HeavyHitters({ heavy: 2, recent: 4 });
    policy.observe(h2o, q);
    policy.evict(h2o);
    expect([h2o.length, holdsNeedle(h2o)]).toEqual([6, true]);

    const snap = filled();
    new SnapKv({ budget: 8, window: 4, pool: 3 }).evict(snap, q);
    expect([snap.length, holdsNeedle(snap)]).toEqual([8, true]);

    const cache = filled();
    for (const options of [{ by: 'bound' }, { by: 'mean' }, { by: 'bound', logicalPageSize: 2 }] as const) {
      const selector = new PageSelector({ pages: 3, pageSize: 4, ...options });
      selector.append(k);
      const { pages } = selector.select(last) as unknown as { pages: number[][] };
      expect(pages[1]).toContain(4);
      expect(pages[1].at(-1)).toBe(11);
      expect(pages[1].length).toBe(3);
    }
    const { pages } = new FastGen({ recovery: 0.5, recent: 0.1, frequent: 0.1 }).select(
      cache,
      last,
    ) as unknown as {
      pages: number[][];
    };
    expect(pages[1]).toContain(17);
    expect(pages[1].length).toBeLessThan(T / 2);

    const cascade = new CascadePruning([1, 0.5, 0.25]);
    cascade.observe(cache, q);
    const layers = [0, 1, 2].map((layer) => cascade.select(layer, cache).pages as number[]);
    expect(layers.map((tokens) => tokens.length)).toEqual([48, 24, 12]);
    expect(layers[1]).toEqual(expect.arrayContaining(layers[2]));
    expect(layers[2]).toEqual(expect.arrayContaining([17, 47]));

    const mask = verticalSlashMask(q, k, { vertical: 1, slash: 0, blockSize: 8 });
    expect(mask.isVisible(0, 1, 40, 17)).toBe(true);
    expect(mask.isVisible(0, 1, 40, 25)).toBe(false);
    for (const found of [
      antidiagonalMask(q, k, { blocks: 1, blockSize: 8, stride: 4 }),
      blockSparseMask(q, k, { blocks: 1, blockSize: 8 }),
    ]) {
      expect([found.isVisible(0, 2, 40, 17), found.isVisible(0, 2, 40, 25)]).toEqual([true, false]);
    }
    for (const used of [h2o, snap, cache]) used.dispose();
    for (const x of [q, k, last]) x.dispose();
  });

  it('a selection is used again for `interval` steps, with the pages that came since', () => {
    tidy(() => {
      const { q, k } = draw();
      const selector = new PageSelector({ pages: 2, pageSize: 8, interval: 3 });
      selector.append(token(k, 0, 40));
      const first = selector.select(token(q, 39)).pages as number[][];
      selector.append(token(k, 40, 8));
      const second = selector.select(token(q, 47)).pages as number[][];
      expect(second).toEqual(first.map((pages) => [...pages, 5]));
    });
  });
});

describe('errors', () => {
  it.each<[string, () => unknown]>([
    ['StreamingLlm: window must be an integer of at least 0; got -1', () => new StreamingLlm({ window: -1 })],
    ['SnapKv: budget = 8 must hold the window = 32', () => new SnapKv({ budget: 8 })],
    [
      'PageSelector: pageSize = 16 must be a multiple of logicalPageSize = 5',
      () => new PageSelector({ pages: 1, logicalPageSize: 5 }),
    ],
    ['FastGen: recovery must be between 0 and 1; got 2', () => new FastGen({ recovery: 2 })],
    [
      'CascadePruning: keep is [0.5,1]; expected shares above 0 that do not grow from layer to layer',
      () => new CascadePruning([0.5, 1]),
    ],
    [
      'antidiagonalMask: stride is 3; expected a divisor of blockSize = 64',
      () => tidy(() => antidiagonalMask(draw().q, draw().k, { blocks: 1, stride: 3 }) as never),
    ],
    [
      'blockSparseMask: expected a positive number of blocks or a share up to 1; got 0',
      () => tidy(() => blockSparseMask(draw().q, draw().k, { blocks: 0 }) as never),
    ],
  ])('%s', (message, run) => {
    expect(run).toThrow(message);
  });
});
