import { onesLike, slice, type Tensor, tensor, tidy, tile, zeros, zerosLike } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SOFTMAX_ATTENTION } from '../../src/catalog/bounds';
import { deviation, drawInputs, float64, gradientsOf } from '../../src/catalog/numerics';
import type { Ops, Tensors } from '../../src/catalog/types';
import * as linnet from '../../src/ops';
import * as reference from '../../src/reference';

const { deepseekSparseAttention, mobaAttention, nativeSparseAttention, nsaSelect, nsaTopK } = linnet;

const sizes = fc.record({
  B: fc.integer({ min: 1, max: 2 }),
  T: fc.constantFrom(0, 1, 2, 7, 33, 65),
  Hkv: fc.integer({ min: 1, max: 2 }),
  group: fc.integer({ min: 1, max: 3 }),
  D: fc.constantFrom(1, 4, 7, 16),
  Dv: fc.constantFrom(1, 5, 8),
  block: fc.constantFrom(1, 3, 8, 16, 32, 64, 128),
  count: fc.integer({ min: 1, max: 6 }),
  window: fc.integer({ min: 1, max: 20 }),
});
type Sizes = Record<'B' | 'T' | 'Hkv' | 'group' | 'D' | 'Dv' | 'block' | 'count' | 'window', number>;

function inputsOf({ B, T, Hkv, group, D, Dv }: Sizes) {
  const H = Hkv * group;
  const gate = { shape: [B, T, H], draw: 'sigmoid' } as const;
  return {
    q: { shape: [B, T, H, D] },
    k: { shape: [B, T, Hkv, D] },
    v: { shape: [B, T, Hkv, Dv] },
    gCmp: gate,
    gSlc: gate,
    gSwa: gate,
    qIdx: { shape: [B, T, 3, 5] },
    kIdx: { shape: [B, T, 5] },
    wIdx: { shape: [B, T, 3] },
  };
}

const calls: Record<string, (ops: Ops, t: Tensors, s: Sizes) => Tensor> = {
  nativeSparseAttention: (ops, { q, k, v, gCmp, gSlc, gSwa }, { block, count, window }) =>
    ops.nativeSparseAttention(q, k, v, gCmp, gSlc, window > 10 ? undefined : gSwa, {
      blockSize: block,
      blockCounts: count,
      windowSize: window,
    }),
  mobaAttention: (ops, { q, k, v }, { block, count }) =>
    ops.mobaAttention(q, k, v, { chunkSize: block, topk: count }),
  deepseekSparseAttention: (ops, { q, k, v, qIdx, kIdx, wIdx }, { count }) =>
    ops.deepseekSparseAttention(q, k, v, qIdx, kIdx, wIdx, { topk: count }),
};

describe.each(Object.entries(calls))('%s', (_name, call) => {
  it('equals the float64 reference on any shape, output and gradients', () => {
    fc.assert(
      fc.property(sizes, (s) => {
        tidy(() => {
          const inputs = inputsOf(s);
          const tensors = drawInputs(inputs);
          const actual = call(linnet, tensors, s);
          expect(actual.shape).toEqual([s.B, s.T, s.Hkv * s.group, s.Dv]);
          const { r } = deviation(float64(actual), float64(call(reference, tensors, s)));
          expect(r).toBeLessThanOrEqual(SOFTMAX_ATTENTION.r);
          if (s.T === 0 || s.D < 4) return;
          const c = { id: '', inputs, call: () => actual, differentiable: ['q', 'k', 'v'] };
          const mine = gradientsOf(c, tensors, (t) => call(linnet, t, s));
          const theirs = gradientsOf(c, tensors, (t) => call(reference, t, s));
          for (const name of ['q', 'k', 'v']) {
            const scale = Math.max(1, ...theirs[name].map(Math.abs));
            const worst = Math.max(...mine[name].map((x, i) => Math.abs(x - theirs[name][i])));
            expect(worst, `d${name}`).toBeLessThanOrEqual(1e-5 * scale);
          }
        });
      }),
      { numRuns: 40 },
    );
  });

  it('sees nothing of later tokens', () => {
    tidy(() => {
      const s = { B: 1, T: 65, Hkv: 2, group: 2, D: 8, Dv: 8, block: 8, count: 3, window: 6 };
      const tensors = drawInputs(inputsOf(s));
      const cut = Object.fromEntries(
        Object.entries(tensors).map(([name, x]) => {
          const size = [...x.shape];
          size[1] = 45;
          return [
            name,
            slice(
              x,
              x.shape.map(() => 0),
              size,
            ),
          ];
        }),
      );
      const whole = call(linnet, tensors, s);
      const part = call(linnet, cut, { ...s, T: 45 });
      const first = slice(whole, [0, 0, 0, 0], [1, 45, 4, 8]);
      expect(deviation(float64(part), float64(first)).r).toBeLessThanOrEqual(1e-7);
    });
  });
});

describe('the full budget is softmax attention', () => {
  const s = { B: 2, T: 65, Hkv: 2, group: 2, D: 12, Dv: 8, block: 16, count: 5, window: 65 };
  const close = (actual: Tensor, expected: Tensor) =>
    expect(deviation(float64(actual), float64(expected)).r).toBeLessThanOrEqual(1e-6);

  it.each([16, 32, 64, 128])(
    'with every block of %i, every chunk, every token chosen, a window over all',
    (block) => {
      tidy(() => {
        const t = drawInputs(inputsOf(s));
        const { q, k, v, gCmp } = t;
        const dense = linnet.scaledDotProductAttention(q, k, v, { isCausal: true });
        const [none, all] = [zerosLike(gCmp), onesLike(gCmp)];
        const count = Math.ceil(s.T / block);
        const options = { blockSize: block, blockCounts: count, windowSize: s.T };
        close(nativeSparseAttention(q, k, v, none, all, undefined, options), dense);
        close(nativeSparseAttention(q, k, v, none, none, all, options), dense);
        close(mobaAttention(q, k, v, { chunkSize: block, topk: count }), dense);
        close(deepseekSparseAttention(q, k, v, t.qIdx, t.kIdx, t.wIdx, { topk: s.T }), dense);
      });
    },
  );

  it('grouped heads are repeated heads', () => {
    tidy(() => {
      const t = drawInputs(inputsOf({ ...s, Hkv: 1 }));
      const repeated = { ...t, k: tile(t.k, [1, 1, 2, 1]), v: tile(t.v, [1, 1, 2, 1]) };
      for (const name of ['mobaAttention', 'deepseekSparseAttention']) {
        const few = { ...s, Hkv: 1, block: 8, count: 3 };
        close(calls[name](linnet, repeated, few), calls[name](linnet, t, few));
      }
    });
  });

  it('packed sequences are a loop over them', () => {
    tidy(() => {
      const { q, k, v } = drawInputs(inputsOf({ ...s, B: 1 }));
      const cut = (x: Tensor, from: number, size: number) =>
        slice(x, [0, from, 0, 0], [1, size, x.shape[2]!, x.shape[3]!]);
      const options = { chunkSize: 8, topk: 2 };
      const packed = mobaAttention(q, k, v, { ...options, cuSeqlens: [0, 23, 65] });
      for (const [from, size] of [
        [0, 23],
        [23, 42],
      ]) {
        const own = mobaAttention(cut(q, from, size), cut(k, from, size), cut(v, from, size), options);
        close(own, cut(packed, from, size));
      }
    });
  });
});

describe('choices', () => {
  it('take the lower of equal blocks, and always the own, the one before it and the first', () => {
    tidy(() => {
      const chosen = nsaTopK(zeros([1, 12, 1, 4]), zeros([1, 6, 1, 4]), { blockSize: 2, blockCounts: 4 });
      const rows = chosen.arraySync() as number[][][][];
      expect(rows[0].map(([row]) => row)).toEqual([
        [0, -1, -1, -1],
        [0, -1, -1, -1],
        [0, 1, -1, -1],
        [0, 1, -1, -1],
        [0, 1, 2, -1],
        [0, 1, 2, -1],
        [0, 1, 2, 3],
        [0, 1, 2, 3],
        [0, 1, 3, 4],
        [0, 1, 3, 4],
        [0, 1, 4, 5],
        [0, 1, 4, 5],
      ]);
    });
  });

  it('a NaN comes last and stays with its own query', () => {
    tidy(() => {
      const q = tensor(
        Array.from({ length: 24 }, (_, i) => (i === 20 ? Number.NaN : 1)),
        [1, 12, 1, 2],
      );
      const k = tensor(
        Array.from({ length: 12 }, (_, i) => i),
        [1, 6, 1, 2],
      );
      const rows = nsaTopK(q, k, { blockSize: 2, blockCounts: 4 }).arraySync() as number[][][][];
      expect(rows[0][10][0]).toEqual([0, 1, 4, 5]);
      expect(rows[0][11][0]).toEqual([0, 3, 4, 5]);
    });
  });
});

describe('errors come before any kernel runs', () => {
  const t = drawInputs(
    inputsOf({ B: 1, T: 8, Hkv: 1, group: 1, D: 4, Dv: 4, block: 2, count: 2, window: 2 }),
  );
  const indices = (values: number[]) =>
    tensor([...values, ...Array(24 - values.length).fill(-1)], [1, 8, 1, 3], 'int32');
  it.each<[string, () => unknown]>([
    [
      'nsaSelect: blockIndices hold 4; expected indices from 0 to 3',
      () => nsaSelect(t.q, t.k, t.v, indices([4]), { blockSize: 2 }),
    ],
    [
      'nsaSelect: blockIndices hold 1 after 1; expected them ascending, each once',
      () => nsaSelect(t.q, t.k, t.v, indices([0, 1, 1]), { blockSize: 2 }),
    ],
    [
      'nsaSelect: blockIndices hold -1; expected indices from 0 to 3',
      () => nsaSelect(t.q, t.k, t.v, indices([-1, 1]), { blockSize: 2 }),
    ],
    [
      'nsaSelect: blockIndices must be int32; got float32',
      () => nsaSelect(t.q, t.k, t.v, zeros([1, 8, 1, 3]), { blockSize: 2 }),
    ],
    ['nsaTopK: blockSize must be a positive integer; got 0', () => nsaTopK(t.q, t.k, { blockSize: 0 })],
    [
      'nsaTopK: kCmp has C = 3 blocks; expected the 4 complete ones of T = 8 in blocks of 2',
      () => nsaTopK(t.q, zeros([1, 3, 1, 4]), { blockSize: 2 }),
    ],
    [
      'nativeSparseAttention: windowSize must be a positive integer; got 0',
      () => nativeSparseAttention(t.q, t.k, t.v, t.gCmp, t.gSlc, t.gSwa, { windowSize: 0 }),
    ],
    [
      'mobaAttention: topk must be a positive integer; got 1.5',
      () => mobaAttention(t.q, t.k, t.v, { topk: 1.5 }),
    ],
    [
      'mobaAttention: cuSeqlens is [0,9]; expected ascending bounds from 0 to T = 8',
      () => mobaAttention(t.q, t.k, t.v, { cuSeqlens: [0, 9] }),
    ],
    [
      'deepseekSparseAttention: topk must be a positive integer; got 0',
      () => deepseekSparseAttention(t.q, t.k, t.v, t.qIdx, t.kIdx, t.wIdx, { topk: 0 }),
    ],
  ])('%s', (message, run) => {
    expect(() => tidy(() => run() as never)).toThrow(message);
  });
});
