import { concat, dispose, memory, slice, type Tensor, tidy } from '@tensorflow/tfjs-core';
import { afterEach, describe, expect, it } from 'vitest';
import { deviation, drawInputs, float64 } from '../../src/catalog/numerics';
import {
  createBlockMask,
  flexAttention,
  KvCache,
  masks,
  ready,
  scaledDotProductAttention,
} from '../../src/index';
import { damagedBlocks } from '../guard';

const [B, Hkv, Hq, D, Dv] = [2, 2, 4, 8, 12];
const draw = (T: number, seed: number, H = Hkv) =>
  drawInputs({ q: { shape: [B, T, Hq, D] }, k: { shape: [B, T, H, D] }, v: { shape: [B, T, H, Dv] } }, seed);
const cacheOf = (capacity: number) =>
  new KvCache({ batch: B, heads: Hkv, headDim: D, valueDim: Dv, capacity });
const part = (x: Tensor, from: number, size: number) =>
  slice(x, [0, from, 0, 0], [x.shape[0]!, size, x.shape[2]!, x.shape[3]!]);

function expectClose(actual: Tensor, expected: Tensor, bound = 1e-6) {
  expect(deviation(float64(actual), float64(expected)).r).toBeLessThanOrEqual(bound);
}

const caches: KvCache[] = [];
const use = (cache: KvCache) => {
  caches.push(cache);
  return cache;
};
afterEach(() => {
  for (const cache of caches.splice(0)) cache.dispose();
});

describe('KvCache', () => {
  it('decodes in pieces of any size to what attention over all tokens gives', () => {
    tidy(() => {
      const { q, k, v } = draw(33, 1);
      const cache = use(cacheOf(40));
      const outputs: Tensor[] = [];
      for (let at = 0; at < 33; ) {
        const n = Math.min(at === 0 ? 17 : 1 + (at % 5), 33 - at);
        cache.append(part(k, at, n), part(v, at, n));
        outputs.push(cache.attend(part(q, at, n), { window: 20 }));
        at += n;
      }
      expectClose(concat(outputs, 1), scaledDotProductAttention(q, k, v, { isCausal: true, window: 20 }));
    });
  });

  it('is read where it lies by scaledDotProductAttention and flexAttention', () => {
    tidy(() => {
      const { q, k, v } = draw(20, 2);
      const cache = use(cacheOf(50));
      cache.append(k, v);
      const last = part(q, 17, 3);
      const expected = part(scaledDotProductAttention(q, k, v, { isCausal: true }), 17, 3);
      const { keys, values } = cache;
      expectClose(
        scaledDotProductAttention(last, keys, values, { isCausal: true, queryOffset: 17 }),
        expected,
      );
      const blockMask = masks.causal({ Tq: 3, Tkv: 50, queryOffset: 17, blockSize: 16 });
      expectClose(flexAttention(last, keys, values, { blockMask }), expected);
    });
  });

  it('keeps the same tensors and leaves none behind', () => {
    const before = memory().numTensors;
    const cache = cacheOf(64);
    const { keys, values } = cache;
    const { q, k, v } = draw(1, 3);
    for (let i = 0; i < 64; i++) {
      cache.append(k, v);
      cache.attend(q).dispose();
    }
    expect([cache.keys, cache.values]).toEqual([keys, values]);
    expect(cache.length).toBe(64);
    cache.dispose();
    dispose([q, k, v]);
    expect(memory().numTensors).toBe(before);
  });

  it('truncates', () => {
    tidy(() => {
      const { q, k, v } = draw(12, 4);
      const cache = use(cacheOf(12));
      cache.append(k, v);
      cache.truncate(7);
      cache.append(part(k, 7, 5), part(v, 7, 5));
      expectClose(cache.attend(q), scaledDotProductAttention(q, k, v, { isCausal: true }));
    });
  });

  it('keeps chosen tokens, for all heads or per head', () => {
    tidy(() => {
      const { q, k, v } = draw(12, 5);
      const lists = [
        [0, 3, 4, 11],
        [1, 2, 9, 10],
      ];
      for (const tokens of [lists[0], lists]) {
        const cache = use(cacheOf(16));
        cache.append(k, v);
        cache.keep(tokens);
        expect(cache.length).toBe(4);
        const rows = (x: Tensor) =>
          concat(
            [0, 1].map((h) =>
              concat(
                (typeof tokens[0] === 'number' ? lists[0] : lists[h]).map((t) =>
                  slice(x, [0, t, h, 0], [B, 1, 1, x.shape[3]!]),
                ),
                1,
              ),
            ),
            2,
          );
        const one = part(q, 11, 1);
        expectClose(cache.attend(one), scaledDotProductAttention(one, rows(k), rows(v)));
      }
    });
  });

  it('reads only the selected pages, of all heads or of each', () => {
    tidy(() => {
      const { q, k, v } = draw(23, 9);
      const cache = use(cacheOf(30));
      cache.append(k, v);
      const last = part(q, 21, 2);
      const all = { pageSize: 4, pages: [0, 1, 2, 3, 4, 5] };
      expectClose(cache.attend(last, { selection: all }), cache.attend(last));
      const pages = [
        [0, 5],
        [1, 2, 5],
      ];
      const seen = (h: number, i: number, j: number) => j <= 21 + i && pages[h >> 1].includes(j >> 2);
      const blockMask = createBlockMask((_, h, i, j) => seen(h, i, j), { H: Hq, Tq: 2, Tkv: 23 });
      expectClose(
        cache.attend(last, { selection: { pageSize: 4, pages }, scale: 0.3 }),
        flexAttention(last, k, v, { blockMask, scale: 0.3 }),
      );
    });
  });

  it('holds int8, near to float32, in pieces of any size', () => {
    tidy(() => {
      const { q, k, v } = draw(33, 10);
      const options = {
        batch: B,
        heads: Hkv,
        headDim: D,
        valueDim: Dv,
        capacity: 40,
        storage: 'int8',
      } as const;
      const cache = use(new KvCache(options));
      for (let at = 0; at < 33; at += 11) cache.append(part(k, at, 11), part(v, at, 11));
      const exact = scaledDotProductAttention(q, k, v, { isCausal: true, window: 9 });
      expectClose(cache.attend(q, { window: 9 }), exact, 2e-2);
      cache.keep([
        [0, 1, 2, 30],
        [3, 4, 5, 32],
      ]);
      const float = use(cacheOf(40));
      float.append(k, v);
      float.keep([
        [0, 1, 2, 30],
        [3, 4, 5, 32],
      ]);
      expectClose(cache.attend(part(q, 32, 1)), float.attend(part(q, 32, 1)), 2e-2);
    });
  });

  it('writes nowhere else', () => {
    const { q, k, v } = draw(5, 6);
    const damaged = damagedBlocks(() => {
      const cache = cacheOf(5);
      cache.append(k, v);
      cache.keep([1, 4]);
      cache.attend(part(q, 0, 1)).dispose();
      cache.attend(part(q, 0, 1), { selection: { pageSize: 2, pages: [0] } }).dispose();
      cache.dispose();
      const int8 = new KvCache({
        batch: B,
        heads: Hkv,
        headDim: D,
        valueDim: Dv,
        capacity: 5,
        storage: 'int8',
      });
      int8.append(k, v);
      int8.keep([1, 4]);
      int8.attend(part(q, 0, 1)).dispose();
      int8.dispose();
    });
    expect(damaged).toBe(0);
    dispose([q, k, v]);
  });

  it('works on the cpu backend', async () => {
    await import('@tensorflow/tfjs-backend-cpu');
    await ready({ backend: 'cpu' });
    try {
      tidy(() => {
        const { q, k, v } = draw(9, 7);
        const cache = use(cacheOf(12));
        for (let t = 0; t < 9; t++) cache.append(part(k, t, 1), part(v, t, 1));
        expectClose(cache.attend(q), scaledDotProductAttention(q, k, v, { isCausal: true }));
      });
      for (const cache of caches.splice(0)) cache.dispose();
    } finally {
      await ready();
    }
  });

  it('says what is wrong before it writes', () => {
    tidy(() => {
      const cache = use(cacheOf(4));
      const { q, k, v } = draw(3, 8);
      cache.append(k, v);
      expect(() => cache.append(k, v)).toThrow(
        new RangeError('KvCache.append: 3 tokens behind 3 do not fit; expected at most capacity = 4 in all'),
      );
      expect(() => cache.append(v, v)).toThrow(
        'KvCache.append: k has shape [2,3,2,12]; expected [2, n, 2, 8] = [2,3,2,8]',
      );
      expect(() => cache.attend(concat([q, q], 1))).toThrow(
        'KvCache.attend: q has Tq = 6 tokens; expected at most the 3 held',
      );
      expect(() => cache.truncate(4)).toThrow(
        'KvCache.truncate: length is 4; expected an integer from 0 to 3',
      );
      expect(() => cache.keep([0, 3])).toThrow('KvCache.keep: tokens hold 3; expected indices from 0 to 2');
      expect(() => cache.keep([1, 0])).toThrow(
        'KvCache.keep: tokens hold 0 after 1; expected them ascending, each once',
      );
      expect(() => cache.keep([[0], [1, 2]])).toThrow(
        'KvCache.keep: tokens of head 1 are 2; expected 1 as of head 0',
      );
      expect(() => cache.keep([[0]])).toThrow('KvCache.keep: tokens has 1 lists; expected one or Hkv = 2');
      const select = (pages: number[], pageSize = 2) => cache.attend(q, { selection: { pageSize, pages } });
      expect(() => select([0, 2])).toThrow('KvCache.attend: pages hold 2; expected indices from 0 to 1');
      expect(() => select([0, 0])).toThrow(
        'KvCache.attend: pages hold 0 after 0; expected them ascending, each once',
      );
      expect(() => select([0], 0)).toThrow('KvCache.attend: pageSize must be a positive integer; got 0');
      const softcap = { selection: { pageSize: 2, pages: [0] }, softcap: 3 };
      expect(() => cache.attend(q, softcap)).toThrow(
        'KvCache.attend: selection goes together with scale alone; got softcap',
      );
      const int8 = use(new KvCache({ heads: 1, headDim: 4, capacity: 4, storage: 'int8' }));
      expect(() => int8.keys).toThrow(
        "KvCache: keys are held in int8; read them with attend or storage: 'float32'",
      );
      expect(() => new KvCache({ heads: 1, headDim: 4, capacity: 0 })).toThrow(
        'KvCache: capacity must be a positive integer; got 0',
      );
    });
  });
});
