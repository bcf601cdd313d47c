import {
  backend,
  cast,
  expandDims,
  gather,
  matMul,
  memory,
  mul,
  reshape,
  softmax,
  type Tensor,
  tensor,
  tensor1d,
  tidy,
  transpose,
  zeros,
} from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SOFTMAX_ATTENTION } from '../../src/catalog/bounds';
import { deviation, drawInputs, float64, gradientsOf, outputsOf } from '../../src/catalog/numerics';
import type { Ops, Tensors } from '../../src/catalog/types';
import {
  andMasks,
  type BlockMask,
  blockMaskFromIndices,
  createBlockMask,
  info,
  KvCache,
  masks,
  notMask,
  type ScoreMod,
  scoreMods,
} from '../../src/index';
import * as linnet from '../../src/ops';
import * as reference from '../../src/reference';
import { damagedBlocks } from '../guard';

const { flexAttention, scaledDotProductAttention } = linnet;

const shapesOf = (B: number, Tq: number, Tkv: number, Hq: number, Hkv: number, D: number, Dv = D) => ({
  q: { shape: [B, Tq, Hq, D] },
  k: { shape: [B, Tkv, Hkv, D] },
  v: { shape: [B, Tkv, Hkv, Dv] },
});

/** Output, lse and gradients of q, k and v through both. */
function allOf(
  inputs: ReturnType<typeof shapesOf>,
  tensors: Tensors,
  run: (t: Tensors) => { output: Tensor; lse: Tensor },
) {
  const [output, lse] = outputsOf(() => {
    const result = run(tensors);
    return [result.output, result.lse];
  });
  const gradients = gradientsOf({ id: '', inputs, call: () => [] }, tensors, (t) => run(t).output);
  return { output, lse, ...gradients } as Record<'output' | 'lse' | 'q' | 'k' | 'v', Float64Array>;
}

function expectSame(actual: Record<string, Float64Array>, expected: Record<string, Float64Array>) {
  for (const name of Object.keys(expected)) {
    const bound = name === 'output' || name === 'lse' ? SOFTMAX_ATTENTION.r : SOFTMAX_ATTENTION.gradient;
    expect(deviation(actual[name], expected[name]).r, name).toBeLessThanOrEqual(bound);
  }
}

const flex = (blockMask?: BlockMask, scoreMod?: ScoreMod | ScoreMod[]) => (t: Tensors) =>
  flexAttention(t.q, t.k, t.v, { blockMask, scoreMod, returnLse: true });

describe.each([16, 32, 64, 128])('blocks of %i', (blockSize) => {
  const T = 150;
  const options = { Tq: T, blockSize };
  const all: Record<string, BlockMask> = {
    causal: masks.causal(options),
    slidingWindow: masks.slidingWindow({ ...options, window: 40 }),
    prefixLm: masks.prefixLm({ ...options, prefix: 30 }),
    document: masks.document({ ...options, ids: Array.from({ length: T }, (_, i) => Math.floor(i / 37)) }),
    dilated: masks.dilated({ ...options, window: 6, dilation: 5 }),
    longNet: masks.longNet({
      ...options,
      H: 4,
      segments: [
        [16, 1],
        [64, 4],
      ],
    }),
    strided: masks.strided({ ...options, stride: 13 }),
    fixed: masks.fixed({ ...options, stride: 16, summary: 2 }),
    globalWindow: masks.globalWindow({ ...options, window: 8, globalTokens: 2 }),
    bigBird: masks.bigBird({ ...options, block: 16, seed: 5, H: 2 }),
    blockLocal: masks.blockLocal({ ...options, block: 24 }),
    axial: masks.axial({ ...options, grid: [10, 15] }),
    star: masks.star(options),
    blockDiffusion: masks.blockDiffusion({ length: T / 2, block: 10, blockSize }),
    neighborhood: masks.neighborhood({ ...options, size: 11 }),
    neighborhood2d: masks.neighborhood2d({ ...options, grid: [10, 15], size: [3, 5] }),
    'and, not': andMasks(masks.causal(options), notMask(masks.strided({ ...options, stride: 3 }))),
  };
  it.each(Object.keys(all))('%s equals dense attention with the same mask', (name) => {
    const inputs = shapesOf(1, T, T, 4, 2, 12, 8);
    tidy(() => {
      const tensors = drawInputs(inputs);
      const dense = all[name].toDense();
      const mask = dense.shape[1] === 2 ? gather(cast(dense, 'int32'), [0, 0, 1, 1], 1) : dense;
      const expected = allOf(inputs, tensors, ({ q, k, v }) =>
        scaledDotProductAttention(q, k, v, { mask: cast(mask, 'bool'), returnLse: true }),
      );
      expectSame(allOf(inputs, tensors, flex(all[name])), expected);
    });
  });
});

describe('equals plain attention', () => {
  const inputs = shapesOf(2, 70, 70, 4, 2, 24);
  const naive = ({ q, k, v }: Tensors) => {
    const heads = (x: Tensor) =>
      transpose(
        gather(
          x,
          [0, 0, 1, 1].slice(0, 4).map((h) => (x.shape[2] === 4 ? 0 : h)),
          2,
        ),
        [0, 2, 1, 3],
      );
    const [qh, kh, vh] = [transpose(q, [0, 2, 1, 3]), heads(k), heads(v)];
    return transpose(matMul(softmax(mul(matMul(qh, kh, false, true), 24 ** -0.5)), vh), [0, 2, 1, 3]);
  };

  it('without a mask, with a full one, with all blocks listed and a window as long as the sequence', () => {
    tidy(() => {
      const { q, k, v } = drawInputs(inputs);
      const expected = float64(naive({ q, k, v }));
      for (const blockMask of [
        undefined,
        masks.full({ Tq: 70, blockSize: 32 }),
        blockMaskFromIndices(
          [
            [0, 1, 2],
            [0, 1, 2],
            [0, 1, 2],
          ],
          { Tq: 70, blockSize: 32 },
        ),
        masks.slidingWindow({ Tq: 70, window: [70, 70] }),
        createBlockMask(() => true, { B: 2, H: 4, Tq: 70, blockSize: [16, 64] }),
      ]) {
        expect(deviation(float64(flexAttention(q, k, v, { blockMask })), expected).r).toBeLessThanOrEqual(
          2e-6,
        );
      }
    });
  });

  it('causal with a causal window as long as the sequence', () => {
    tidy(() => {
      const tensors = drawInputs(inputs);
      const expected = allOf(inputs, tensors, ({ q, k, v }) =>
        scaledDotProductAttention(q, k, v, { isCausal: true, returnLse: true }),
      );
      expectSame(
        allOf(inputs, tensors, flex(masks.slidingWindow({ Tq: 70, window: 70, blockSize: 16 }))),
        expected,
      );
    });
  });
});

describe('any shape and mask', () => {
  const cases = fc.record({
    B: fc.integer({ min: 1, max: 2 }),
    Tq: fc.constantFrom(0, 1, 2, 7, 33, 65),
    Tkv: fc.constantFrom(0, 1, 5, 64, 67, 130),
    Hkv: fc.integer({ min: 1, max: 2 }),
    group: fc.constantFrom(1, 2, 3, 8),
    heads: fc.constantFrom('one', 'Hkv', 'Hq'),
    D: fc.constantFrom(1, 3, 4, 31, 40),
    Dv: fc.constantFrom(1, 5, 8, 24),
    blockSize: fc.constantFrom<number | readonly [number, number]>(
      1,
      8,
      16,
      64,
      128,
      [1, 16],
      [24, 96],
      [128, 20],
    ),
    seed: fc.integer({ min: 1, max: 1000 }),
    mods: fc.subarray(['alibi', 'softcap', 'decay'] as const),
  });

  it('equals the float64 reference, output and gradients', () => {
    fc.assert(
      fc.property(cases, ({ B, Tq, Tkv, Hkv, group, heads, D, Dv, blockSize, seed, mods }) => {
        const Hq = Hkv * group;
        const inputs = shapesOf(B, Tq, Tkv, Hq, Hkv, D, Dv);
        const H = { one: 1, Hkv, Hq }[heads];
        const blockMask = createBlockMask((b, h, q, kv) => ((q + seed) * (kv + h) + b) % 7 < seed % 8, {
          B: 1 + (seed % B),
          H,
          Tq,
          Tkv,
          blockSize,
        });
        const made = {
          alibi: scoreMods.alibi(),
          softcap: scoreMods.softcap(2),
          decay: scoreMods.causalDecay(Array.from({ length: Hq }, (_, h) => -0.1 * h)),
        };
        const scoreMod = mods.map((name) => made[name]);
        const run = (ops: Ops) => (t: Tensors) =>
          ops.flexAttention(t.q, t.k, t.v, { blockMask, scoreMod, returnLse: true });
        tidy(() => {
          const tensors = drawInputs(inputs);
          const [mine, theirs] = [run(linnet)(tensors), run(reference)(tensors)];
          expect(mine.output.shape).toEqual([B, Tq, Hq, Dv]);
          expect(deviation(float64(mine.output), float64(theirs.output)).r).toBeLessThanOrEqual(
            SOFTMAX_ATTENTION.r,
          );
          expect(deviation(float64(mine.lse), float64(theirs.lse)).m).toBeLessThanOrEqual(
            SOFTMAX_ATTENTION.m,
          );
          if (Tq === 0 || Tkv === 0) return;
          const c = { id: '', inputs, call: () => [] };
          const listed = (ops: Ops) => (t: Tensors) => {
            const { output, lse } = run(ops)(t);
            return H === 1 && seed % 8 === 7 ? [output, lse] : [output];
          };
          const actual = gradientsOf(c, tensors, listed(linnet));
          const expected = gradientsOf(c, tensors, listed(reference));
          for (const name of ['q', 'k', 'v']) {
            const scale = expected[name].reduce((most, x) => Math.max(most, Math.abs(x)), 1);
            const worst = expected[name].reduce(
              (most, x, i) => Math.max(most, Math.abs(x - actual[name][i])),
              0,
            );
            expect(worst, `d${name}`).toBeLessThanOrEqual(1e-5 * scale);
          }
        });
      }),
      { numRuns: 80, seed: 42 },
    );
  });
});

describe('score modifications equal attention with the same bias', () => {
  const [Tq, Tkv, H] = [40, 57, 4];
  const inputs = shapesOf(1, Tq, Tkv, H, 2, 8);
  const biased = (term: (h: number, distance: number) => number) => (t: Tensors) => {
    const values = Array.from({ length: H * Tq * Tkv }, (_, at) => {
      const [h, i, j] = [Math.floor(at / (Tq * Tkv)), Math.floor(at / Tkv) % Tq, at % Tkv];
      return term(h, j - (i + Tkv - Tq));
    });
    return scaledDotProductAttention(t.q, t.k, t.v, {
      isCausal: true,
      bias: tensor(values, [1, H, Tq, Tkv]),
      returnLse: true,
    });
  };
  const causal = masks.causal({ Tq, Tkv, blockSize: 16 });
  const table = drawInputs({ x: { shape: [H, 11] } }).x;
  const buckets = drawInputs({ x: { shape: [32, H] } }, 3).x;
  /** Buckets of distances to the left as transformers computes them, for 32 in all of which 16 are exact. */
  const bucketOf = (n: number) =>
    n < 16 ? n : Math.min(31, 16 + Math.floor((Math.log(n / 16) / Math.log(8)) * 16));

  it.each<[string, ScoreMod, (h: number, distance: number) => number]>([
    ['alibi', scoreMods.alibi(), (h, d) => 2 ** (-2 * (h + 1)) * d],
    ['alibi with slopes', scoreMods.alibi(tensor1d([1, 0, 0.5, -0.1])), (h, d) => [1, 0, 0.5, -0.1][h] * d],
    ['causalDecay', scoreMods.causalDecay([-0.1, -0.5, 0, -2]), (h, d) => [-0.1, -0.5, 0, -2][h] * -d],
    [
      'relativePositionBias',
      scoreMods.relativePositionBias(table),
      (h, d) => table.dataSync()[h * 11 + Math.max(-5, d) + 5],
    ],
    [
      't5Bias',
      scoreMods.t5Bias(buckets, { bidirectional: false }),
      (h, d) => buckets.dataSync()[bucketOf(-d) * H + h],
    ],
  ])('%s', (_name, scoreMod, term) => {
    tidy(() => {
      const tensors = drawInputs(inputs);
      const expected = allOf(inputs, tensors, biased(term));
      expectSame(allOf(inputs, tensors, flex(causal, scoreMod)), expected);
    });
  });

  it('softcap, which is that of scaledDotProductAttention', () => {
    tidy(() => {
      const tensors = drawInputs(inputs);
      const expected = allOf(inputs, tensors, ({ q, k, v }) =>
        scaledDotProductAttention(q, k, v, { isCausal: true, softcap: 1.5, returnLse: true }),
      );
      expectSame(allOf(inputs, tensors, flex(causal, scoreMods.softcap(1.5))), expected);
    });
  });

  it('t5Bias has the buckets of transformers', () => {
    const distances = [-200, -128, -100, -64, -32, -16, -15, -8, -1, 0, 1, 7, 8, 16, 32, 64, 127, 300];
    const known = [
      [true, [15, 15, 15, 14, 12, 10, 9, 8, 1, 0, 17, 23, 24, 26, 28, 30, 31, 31]],
      [false, [31, 31, 30, 26, 21, 16, 15, 8, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]],
    ] as const;
    tidy(() => {
      const numbers = reshape(tensor1d(Array.from({ length: 32 }, (_, i) => i)), [32, 1]);
      const [q, k, v] = [zeros([1, 1, 1, 1]), zeros([1, 1, 1, 1]), zeros([1, 1, 1, 1])];
      for (const [bidirectional, expected] of known) {
        const found = distances.map((distance) => {
          const blockMask = masks.full({ Tq: 1, queryOffset: -distance });
          const scoreMod = scoreMods.t5Bias(numbers, { bidirectional });
          return flexAttention(q, k, v, { blockMask, scoreMod, returnLse: true }).lse.dataSync()[0];
        });
        found.forEach((bucket, i) => {
          expect(bucket).toBeCloseTo(expected[i], 4);
        });
      }
    });
  });
});

describe('promises', () => {
  const inputs = shapesOf(1, 20, 40, 2, 1, 8);
  const blockMask = createBlockMask((_b, _h, q, kv) => q !== 3 && q < 16 && kv < 30 && kv !== 7, {
    Tq: 20,
    Tkv: 40,
    blockSize: 16,
  });

  it('a row that sees nothing gives zeros, lse -Infinity and zero gradients', () => {
    tidy(() => {
      const { output, lse, q, k, v } = allOf(inputs, drawInputs(inputs), flex(blockMask));
      for (let i = 0; i < 20; i++) {
        const blind = i === 3 || i >= 16;
        expect(output.subarray(i * 16, i * 16 + 16).every((x) => x === 0)).toBe(blind);
        expect([...lse.subarray(i * 2, i * 2 + 2)].every((x) => x === Number.NEGATIVE_INFINITY)).toBe(blind);
        expect(q.subarray(i * 16, i * 16 + 16).every((x) => x === 0)).toBe(blind);
      }
      for (const unseen of [7, 30, 39]) {
        for (const x of [k, v])
          expect(x.subarray(unseen * 8, unseen * 8 + 8).every((g) => g === 0)).toBe(true);
      }
    });
  });

  it('NaN and Infinity in hidden keys never reach an output or gradient', () => {
    tidy(() => {
      const clean = drawInputs(inputs);
      const spoil = (x: Tensor, bad: number) => {
        const values = Float32Array.from(x.dataSync());
        for (const key of [7, 30, 35]) values.fill(bad, key * 8, key * 8 + 8);
        return tensor(values, x.shape);
      };
      const spoiled = {
        q: clean.q,
        k: spoil(clean.k, Number.NaN),
        v: spoil(clean.v, Number.POSITIVE_INFINITY),
      };
      for (const scoreMod of [undefined, [scoreMods.softcap(5), scoreMods.alibi()]]) {
        const run = flex(blockMask, scoreMod);
        expect(allOf(inputs, spoiled, run)).toEqual(allOf(inputs, clean, run));
      }
    });
  });

  it('a visible NaN stays in its own row', () => {
    tidy(() => {
      const { q, k, v } = drawInputs(inputs);
      const values = Float32Array.from(q.dataSync());
      values[5 * 16] = Number.NaN;
      const output = flexAttention(tensor(values, q.shape), k, v, { blockMask }).dataSync();
      expect([...output].map(Number.isNaN)).toEqual([...output].map((_, i) => Math.floor(i / 8) === 10));
    });
  });

  it('writes nothing outside of its outputs and reads no scratch before it wrote it', () => {
    const shapes = shapesOf(2, 37, 53, 6, 2, 5, 7);
    const tensors = drawInputs(shapes);
    const scoreMod = [scoreMods.alibi(tensor1d([1, 2, 3, 4, 5, 6])), scoreMods.softcap(2), scoreMods.alibi()];
    for (const blockSize of [1, 16, 128] as const) {
      const mask = masks.slidingWindow({ Tq: 37, Tkv: 53, window: 17, blockSize });
      let results: Record<string, Float64Array> = {};
      const run = () => {
        results = allOf(shapes, tensors, flex(mask, scoreMod));
      };
      run();
      const expected = results;
      expect(damagedBlocks(run)).toBe(0);
      expect(results).toEqual(expected);
    }
  });

  it('is bit-identical from run to run and leaves nothing behind', () => {
    const { q, k, v } = drawInputs(shapesOf(1, 40, 40, 2, 1, 16));
    const mask = masks.globalWindow({ Tq: 40, window: 5, globalTokens: 2, blockSize: 16 });
    const options = { blockMask: mask, scoreMod: [scoreMods.alibi(), scoreMods.softcap(4)] };
    const first = tidy(() => flexAttention(q, k, v, options).dataSync());
    const before = { tensors: memory().numTensors, ids: backend().numDataIds(), bytes: info().heapBytes };
    for (let i = 0; i < 1000; i++) flexAttention(q, k, v, options).dispose();
    expect({ tensors: memory().numTensors, ids: backend().numDataIds(), bytes: info().heapBytes }).toEqual(
      before,
    );
    expect(tidy(() => flexAttention(q, k, v, options).dataSync())).toEqual(first);
  });

  it('does work in proportion to the blocks it keeps', () => {
    const T = 2048;
    const { q, k, v } = drawInputs(shapesOf(1, T, T, 1, 1, 64));
    const time = (blockMask: BlockMask) => {
      const runs = Array.from({ length: 5 }, () => {
        // of this process, whatever else the machine does
        const start = process.cpuUsage();
        flexAttention(q, k, v, { blockMask }).dispose();
        return process.cpuUsage(start).user;
      });
      return Math.min(...runs);
    };
    const eighth = blockMaskFromIndices(
      Array.from({ length: 16 }, (_, i) => [i % 8, 8 + (i % 8)]),
      { Tq: T },
    );
    expect(eighth.density).toBe(1 / 8);
    expect(time(eighth)).toBeLessThan(0.3 * time(masks.full({ Tq: T })));
  });
});

it('reads a KvCache in place, whatever stands behind its tokens', () => {
  const [T, capacity] = [21, 50];
  const cache = new KvCache({ batch: 1, heads: 2, headDim: 8, capacity });
  tidy(() => {
    const { q, k, v } = drawInputs(shapesOf(1, 3, T, 4, 2, 8));
    const behind = drawInputs(shapesOf(1, 1, capacity - T, 1, 2, 8));
    cache.append(k, v);
    cache.append(behind.k, behind.v);
    cache.truncate(T);
    const blockMask = masks.causal({ Tq: 3, Tkv: capacity, queryOffset: T - 3, blockSize: 16 });
    const output = flexAttention(q, cache.keys, cache.values, { blockMask });
    const expected = scaledDotProductAttention(q, k, v, { isCausal: true });
    expect(deviation(float64(output), float64(expected)).r).toBeLessThanOrEqual(SOFTMAX_ATTENTION.r);
  });
  cache.dispose();
});

describe('errors', () => {
  const { q, k, v } = drawInputs(shapesOf(2, 5, 6, 4, 2, 8));
  const relative = (shape: number[]) => scoreMods.relativePositionBias(zeros(shape));
  it.each<[() => unknown, string]>([
    [
      () => flexAttention(expandDims(q), k, v),
      'flexAttention: q has shape [1,2,5,4,8]; expected [B, Tq, Hq, D]',
    ],
    [
      () => flexAttention(q, k, v, { blockMask: masks.causal({ Tq: 5 }) }),
      'flexAttention: blockMask has Tkv = 5; expected 6 from k',
    ],
    [
      () => flexAttention(q, k, v, { blockMask: masks.causal({ Tq: 5, Tkv: 6, B: 3 }) }),
      'flexAttention: blockMask has B = 3; expected 1 or 2 from q',
    ],
    [
      () => flexAttention(q, k, v, { blockMask: masks.causal({ Tq: 5, Tkv: 6, H: 3 }) }),
      'flexAttention: blockMask has H = 3; expected 1, Hkv = 2, Hq = 4 or a number of heads between that divides them',
    ],
    [
      () => flexAttention(q, k, v, { blockMask: {} as never }),
      'flexAttention: blockMask must be a BlockMask, as createBlockMask makes one',
    ],
    [
      () => flexAttention(q, k, v, { scale: Number.NaN }),
      'flexAttention: scale must be a finite number; got NaN',
    ],
    [
      () => flexAttention(q, k, v, { scoreMod: [scoreMods.softcap(1), scoreMods.softcap(2)] }),
      'flexAttention: scoreMod has two softcaps; expected at most one',
    ],
    [
      () => flexAttention(q, k, v, { scoreMod: scoreMods.alibi([1, 2]) }),
      'flexAttention: slopes has 2 numbers; expected Hq = 4',
    ],
    [
      () => flexAttention(q, k, v, { scoreMod: relative([4, 4]) }),
      'flexAttention: scoreMod relativePositionBias: table has shape [4,4]; expected [4, 5] = [4,5]',
    ],
    [
      () => flexAttention(q, k, v, { scoreMod: scoreMods.t5Bias(zeros([8, 3])) }),
      'flexAttention: scoreMod t5Bias: table has shape [8,3]; expected [buckets, 4] = [8,4]',
    ],
    [() => scoreMods.softcap(0), 'scoreMods.softcap: cap must be a positive number; got 0'],
  ])('%#', (run, message) => {
    expect(run).toThrow(message);
  });
});
