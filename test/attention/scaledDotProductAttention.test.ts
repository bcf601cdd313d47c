import {
  add,
  backend,
  cast,
  concat,
  div,
  exp,
  expandDims,
  matMul,
  memory,
  mul,
  onesLike,
  reshape,
  slice,
  softmax,
  type Tensor,
  tensor,
  tensor1d,
  tidy,
  tile,
  transpose,
  zeros,
} from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SOFTMAX_ATTENTION } from '../../src/catalog/bounds';
import { deviation, drawInputs, float64, gradientsOf } from '../../src/catalog/numerics';
import { type AttentionOptions, info } from '../../src/index';
import * as linnet from '../../src/ops';
import * as reference from '../../src/reference';
import { peakBytes } from '../guard';

const { scaledDotProductAttention: attend } = linnet;

function normal(B: number, T: number, H: number, D: number, seed = 1): Tensor {
  const shape = [B, T, H, D];
  return drawInputs({ x: { shape } }, seed).x;
}

function naive(q: Tensor, k: Tensor, v: Tensor): Tensor {
  const [qh, kh, vh] = [q, k, v].map((x) => transpose(x, [0, 2, 1, 3]));
  return transpose(matMul(softmax(mul(matMul(qh, kh, false, true), q.shape[3]! ** -0.5)), vh), [0, 2, 1, 3]);
}

function expectClose(actual: Tensor, expected: Tensor, bound = 2e-6) {
  expect(deviation(float64(actual), float64(expected)).r).toBeLessThanOrEqual(bound);
}

describe('any shape', () => {
  const shapes = fc.record({
    B: fc.integer({ min: 1, max: 2 }),
    Tq: fc.constantFrom(0, 1, 2, 7, 33, 65),
    Tk: fc.constantFrom(0, 1, 5, 64, 67, 130),
    Hkv: fc.integer({ min: 1, max: 2 }),
    group: fc.integer({ min: 1, max: 3 }),
    D: fc.constantFrom(1, 3, 4, 31, 40, 80),
    Dv: fc.constantFrom(1, 5, 8, 24),
    isCausal: fc.boolean(),
    window: fc.option(fc.integer({ min: 1, max: 70 }), { nil: undefined }),
  });

  it('equals the float64 reference, output and gradients', () => {
    fc.assert(
      fc.property(shapes, ({ B, Tq, Tk, Hkv, group, D, Dv, ...options }) => {
        const inputs = {
          q: { shape: [B, Tq, Hkv * group, D] },
          k: { shape: [B, Tk, Hkv, D] },
          v: { shape: [B, Tk, Hkv, Dv] },
        };
        tidy(() => {
          const { q, k, v } = drawInputs(inputs);
          const actual = attend(q, k, v, options);
          const expected = reference.scaledDotProductAttention(q, k, v, options);
          expect(actual.shape).toEqual([B, Tq, Hkv * group, Dv]);
          expect(deviation(float64(actual), float64(expected)).r).toBeLessThanOrEqual(SOFTMAX_ATTENTION.r);
          if (Tq === 0 || Tk === 0 || D < 3) return;
          const c = {
            id: '',
            inputs,
            call: (ops: typeof linnet, t: Record<string, Tensor>) =>
              ops.scaledDotProductAttention(t.q, t.k, t.v, options),
          };
          const mine = gradientsOf(c, { q, k, v }, (t) => c.call(linnet, t));
          const theirs = gradientsOf(c, { q, k, v }, (t) => c.call(reference as typeof linnet, t));
          for (const name of ['q', 'k', 'v']) {
            const scale = Math.max(...theirs[name].map(Math.abs));
            const worst = Math.max(...mine[name].map((x, i) => Math.abs(x - theirs[name][i])));
            expect(worst, `d${name}`).toBeLessThanOrEqual(1e-5 * Math.max(1, scale));
          }
        });
      }),
      { numRuns: 60, seed: 42 },
    );
  });
});

describe('one query over a cache', () => {
  it.each([
    [1, 1, 1, 1, 4, 8, {}],
    [2, 3, 2, 3, 8, 8, { isCausal: true }],
    [1, 1030, 2, 4, 16, 24, {}],
    [1, 1537, 1, 11, 8, 16, { isCausal: true, window: 700 }],
    [2, 700, 2, 2, 12, 8, { kvLengths: [0, 699] }],
    [1, 600, 1, 5, 6, 7, {}],
    [1, 65, 8, 1, 64, 64, { isCausal: true }],
    [1, 1030, 3, 1, 8, 16, {}],
    [2, 530, 11, 1, 12, 24, { isCausal: true, window: 100 }],
  ])('B = %d, Tk = %d, Hkv = %d, group %d, D = %d, Dv = %d, %o', (B, Tk, Hkv, group, D, Dv, options) => {
    tidy(() => {
      const Hq = Hkv * group;
      const { q, k, v, sink } = drawInputs({
        q: { shape: [B, 1, Hq, D] },
        k: { shape: [B, Tk, Hkv, D] },
        v: { shape: [B, Tk, Hkv, Dv] },
        sink: { shape: [Hq] },
      });
      for (const given of [undefined, sink]) {
        const all = { ...options, sink: given, returnLse: true } as const;
        const [actual, expected] = [attend(q, k, v, all), reference.scaledDotProductAttention(q, k, v, all)];
        expectClose(actual.output, expected.output, SOFTMAX_ATTENTION.r);
        expectClose(actual.lse, expected.lse, SOFTMAX_ATTENTION.r);
      }
    });
  });
});

describe('equals naive softmax attention', () => {
  it('without options, with a window as long as the sequence, a full mask and a bias of zeros', () => {
    tidy(() => {
      const [q, k, v] = [normal(2, 70, 2, 24), normal(2, 70, 2, 24, 2), normal(2, 70, 2, 24)];
      const expected = naive(q, k, v);
      expectClose(attend(q, k, v), expected);
      expectClose(attend(q, k, v, { window: [70, 70] }), expected);
      expectClose(attend(q, k, v, { mask: onesLike(zeros([70, 70], 'bool')) }), expected);
      expectClose(attend(q, k, v, { bias: zeros([1, 1, 70, 70]) }), expected);
    });
  });

  it('with grouped heads, which are repeated heads', () => {
    tidy(() => {
      const [q, k, v] = [normal(1, 20, 4, 16), normal(1, 30, 1, 16), normal(1, 30, 1, 16, 2)];
      expectClose(attend(q, k, v), naive(q, tile(k, [1, 1, 4, 1]), tile(v, [1, 1, 4, 1])));
    });
  });

  it('packed, which is a loop over the sequences', () => {
    tidy(() => {
      const [q, k, v] = [normal(1, 50, 2, 8), normal(1, 50, 2, 8, 2), normal(1, 50, 2, 8, 3)];
      const part = (x: Tensor, from: number, to: number) => slice(x, [0, from, 0, 0], [1, to - from, 2, 8]);
      const loop = [
        [0, 13],
        [13, 50],
      ].map(([a, b]) => attend(part(q, a, b), part(k, a, b), part(v, a, b), { isCausal: true }));
      expectClose(attend(q, k, v, { isCausal: true, cuSeqlens: [0, 13, 50] }), concat(loop, 1), 1e-7);
    });
  });

  it('in two halves of the keys, merged by lse', () => {
    tidy(() => {
      const [q, k, v] = [normal(1, 9, 2, 8), normal(1, 80, 2, 8, 2), normal(1, 80, 2, 8, 3)];
      const part = (x: Tensor, from: number, size: number) => slice(x, [0, from, 0, 0], [1, size, 2, 8]);
      const [a, b] = [
        [0, 30],
        [30, 50],
      ].map(([from, size]) => attend(q, part(k, from, size), part(v, from, size), { returnLse: true }));
      const [wa, wb] = [expandDims(exp(a.lse), -1), expandDims(exp(b.lse), -1)];
      const merged = div(add(mul(a.output, wa), mul(b.output, wb)), add(wa, wb));
      expectClose(attend(q, k, v), merged);
    });
  });
});

describe('a bias or mask that lacks leading axes', () => {
  it.each([[[9, 9]], [[4, 1, 9]], [[1, 9]]])('%j is broadcast', (shape) => {
    tidy(() => {
      const [q, k, v] = [normal(2, 9, 4, 8), normal(2, 9, 2, 8, 2), normal(2, 9, 2, 8, 3)];
      const { bias, mask } = drawInputs({ bias: { shape }, mask: { shape, draw: 'bool' } });
      const all = reshape(bias, [...Array(4 - shape.length).fill(1), ...shape]);
      expect([...attend(q, k, v, { bias, mask }).dataSync()]).toEqual([
        ...attend(q, k, v, { bias: all, mask }).dataSync(),
      ]);
      const before = memory().numTensors;
      attend(q, k, v, { bias, mask }).dispose();
      expect(memory().numTensors).toBe(before);
    });
  });
});

describe('promises', () => {
  it('a row that sees nothing gives zeros, lse -Infinity and zero gradients', () => {
    tidy(() => {
      const inputs = { q: { shape: [1, 3, 1, 8] }, k: { shape: [1, 4, 1, 8] }, v: { shape: [1, 4, 1, 8] } };
      const { q, k, v } = drawInputs(inputs);
      const { output, lse } = attend(q, k, v, { kvLengths: [0], returnLse: true });
      expect([...output.dataSync()]).toEqual(Array(24).fill(0));
      expect([...lse.dataSync()]).toEqual(Array(3).fill(Number.NEGATIVE_INFINITY));
      const gradients = gradientsOf({ id: '', inputs, call: () => q }, { q, k, v }, (t) =>
        attend(t.q, t.k, t.v, { kvLengths: [0] }),
      );
      for (const values of Object.values(gradients)) expect(values.every((x) => x === 0)).toBe(true);
    });
  });

  it('NaN and Infinity behind a mask or past a length never reach an output or gradient', () => {
    tidy(() => {
      const inputs = { q: { shape: [1, 9, 2, 8] }, k: { shape: [1, 12, 2, 8] }, v: { shape: [1, 12, 2, 8] } };
      const { q, k, v } = drawInputs(inputs);
      const spoil = (x: Tensor, bad: number) => {
        const values = Float32Array.from(x.dataSync());
        values.fill(bad, 10 * 16);
        return tensor(values, x.shape);
      };
      const visible = { kvLengths: [10] };
      const run = (t: Record<string, Tensor>) => attend(t.q, t.k, t.v, visible);
      const c = { id: '', inputs, call: () => q };
      const clean = { q, k, v };
      const spoiled = { q, k: spoil(k, Number.NaN), v: spoil(v, Number.POSITIVE_INFINITY) };
      expect([...run(spoiled).dataSync()]).toEqual([...run(clean).dataSync()]);
      const mine = gradientsOf(c, spoiled, run);
      const theirs = gradientsOf(c, clean, run);
      for (const name of ['q', 'k', 'v']) expect([...mine[name]]).toEqual([...theirs[name]]);
    });
  });

  it('a visible NaN stays in its own row', () => {
    tidy(() => {
      const [q, k, v] = [normal(1, 6, 1, 8), normal(1, 6, 1, 8, 2), normal(1, 6, 1, 8, 3)];
      const values = Float32Array.from(q.dataSync());
      values[3 * 8] = Number.NaN;
      const output = attend(tensor(values, q.shape), k, v).dataSync();
      expect([...output].map(Number.isNaN)).toEqual([...output].map((_, i) => Math.floor(i / 8) === 3));
    });
  });

  it('is bit-identical from run to run and leaves nothing behind', () => {
    const [q, k, v] = [normal(1, 40, 2, 16), normal(1, 40, 2, 16, 2), normal(1, 40, 2, 16, 3)];
    const first = tidy(() => attend(q, k, v, { isCausal: true }).dataSync());
    const before = { tensors: memory().numTensors, ids: backend().numDataIds(), bytes: info().heapBytes };
    for (let i = 0; i < 1000; i++) attend(q, k, v, { isCausal: true }).dispose();
    expect({ tensors: memory().numTensors, ids: backend().numDataIds(), bytes: info().heapBytes }).toEqual(
      before,
    );
    expect(tidy(() => attend(q, k, v, { isCausal: true }).dataSync())).toEqual(first);
  });

  it.each([{}, { isCausal: true }, { window: 256, isCausal: true }])(
    'holds less than 2 MB beyond inputs and outputs at T = 4096, %o',
    (options) => {
      const [q, k, v] = [1, 2, 3].map((seed) => normal(1, 4096, 2, 64, seed));
      const bytes = peakBytes(() => attend(q, k, v, options).dispose());
      expect(bytes - 4096 * 2 * 65 * 4).toBeLessThan(2 * 2 ** 20);
      for (const t of [q, k, v]) t.dispose();
    },
  );

  const hidden = onesLike(zeros([70, 70], 'bool')).dataSync();
  for (let i = 0; i < 70; i++) hidden[i * 70 + 37] = 0;
  const row = (i: number) => Math.floor(i / 16) % 70;
  it.each<[string, AttentionOptions, (i: number) => boolean]>([
    ['everywhere', {}, () => true],
    ['causal', { isCausal: true }, (i) => i >= 37],
    ['window', { window: [5, 3] }, (i) => i >= 34 && i < 42],
    ['mask', { mask: tensor(hidden, [70, 70], 'bool') }, () => false],
    ['kvLengths', { kvLengths: [37] }, () => false],
    ['kvLengths', { kvLengths: [38] }, () => true],
    ['cuSeqlens', { cuSeqlens: [0, 30, 70] }, (i) => i >= 30],
  ])('NaN in key or value 37 reaches those rows that see it and no others: %s', (_, options, sees) => {
    tidy(() => {
      const [q, k, v] = [1, 2, 3].map((seed) => normal(1, 70, 2, 8, seed));
      const spoil = (x: Tensor) => {
        const values = Float32Array.from(x.dataSync());
        values.fill(Number.NaN, 37 * 16, 38 * 16);
        return tensor(values, x.shape);
      };
      const clean = attend(q, k, v, options).dataSync();
      for (const output of [attend(q, spoil(k), v, options), attend(q, k, spoil(v), options)]) {
        const expected = clean.map((x, i) => (sees(row(i)) ? Number.NaN : x));
        expect([...output.dataSync()]).toEqual([...expected]);
      }
    });
  });

  it('NaN in the cache of a single query reaches it unless it lies past the length', () => {
    tidy(() => {
      const [q, k, v] = [normal(1, 1, 2, 8), normal(1, 600, 2, 8, 2), normal(1, 600, 2, 8, 3)];
      const values = Float32Array.from(v.dataSync()).fill(Number.NaN, 550 * 16, 551 * 16);
      const spoiled = tensor(values, v.shape);
      expect([...attend(q, k, spoiled).dataSync()].every(Number.isNaN)).toBe(true);
      const before = { kvLengths: [550] };
      expect(attend(q, k, spoiled, before).dataSync()).toEqual(attend(q, k, v, before).dataSync());
    });
  });

  it('scores that rise little by little, or by a lot, along the keys', () => {
    tidy(() => {
      const [q, k, v] = [1, 2, 3].map((seed) => normal(1, 300, 2, 8, seed));
      const ramp = tensor1d(
        Float32Array.from({ length: 300 }, (_, j) => 0.03 * (j - 300) - (j < 200 ? 40 : 0)),
      );
      const options = { bias: reshape(ramp, [1, 300]), returnLse: true } as const;
      const [actual, expected] = [
        attend(q, k, v, options),
        reference.scaledDotProductAttention(q, k, v, options),
      ];
      expectClose(actual.output, expected.output, SOFTMAX_ATTENTION.r);
      expectClose(actual.lse, expected.lse, SOFTMAX_ATTENTION.r);
    });
  });
});

describe('errors', () => {
  const [q, k, v] = [normal(2, 5, 4, 8), normal(2, 6, 2, 8, 2), normal(2, 6, 2, 8, 3)];
  it.each([
    [
      () => attend(zeros([5, 4, 8]), k, v),
      'scaledDotProductAttention: q has shape [5,4,8]; expected [B, Tq, Hq, D]',
    ],
    [
      () => attend(q, k, normal(2, 7, 2, 8)),
      'scaledDotProductAttention: v has shape [2,7,2,8]; expected [B, Tk, Hkv, Dv] = [2,6,2,Dv] (B from q, Tk from k, Hkv from k)',
    ],
    [
      () => attend(normal(2, 5, 3, 8), k, v),
      'scaledDotProductAttention: Hq = 3 must be a multiple of Hkv = 2',
    ],
    [() => attend(cast(q, 'int32'), k, v), 'scaledDotProductAttention: q must be float32; got int32'],
    [
      () => attend(q, k, v, { mask: zeros([3, 6], 'bool') }),
      'scaledDotProductAttention: mask has shape [3,6]; expected [Tq|1, Tk|1] = [5|1,6|1] (Tq from q, Tk from k)',
    ],
    [
      () => attend(q, k, v, { kvLengths: [6, 7] }),
      'scaledDotProductAttention: kvLengths is [6,7]; expected B = 2 lengths from 0 to Tk = 6',
    ],
    [
      () =>
        attend(normal(1, 6, 2, 8), normal(1, 6, 2, 8), normal(1, 6, 2, 8), {
          cuSeqlens: tensor1d([0, 4, 3, 6], 'int32'),
        }),
      'scaledDotProductAttention: cuSeqlens is [0,4,3,6]; expected ascending bounds from 0 to Tq = 6',
    ],
    [
      () => attend(zeros([1, 65536, 1, 1]), zeros([1, 1, 1, 1]), zeros([1, 1, 1, 32768])),
      'scaledDotProductAttention: needs 8192 MiB more on the wasm heap, which holds at most 4 GiB in all',
    ],
  ])('%#: says what came and what was expected', (call, message) => {
    const before = memory().numTensors;
    expect(() => tidy(call)).toThrow(message);
    expect(memory().numTensors).toBe(before);
    expectClose(
      tidy(() => attend(q, k, v)),
      reference.scaledDotProductAttention(q, k, v),
      SOFTMAX_ATTENTION.r,
    );
  });
});
