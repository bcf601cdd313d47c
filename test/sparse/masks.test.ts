import { cast, tensor, tensor2d } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  andMasks,
  type BlockMask,
  type BlockMaskOptions,
  blockMaskFromDense,
  blockMaskFromIndices,
  createBlockMask,
  type MaskMod,
  masks,
  notMask,
  orMasks,
} from '../../src/index';

interface Pattern {
  make(options: BlockMaskOptions): BlockMask;
  /** Whether the query at position p sees key j of Tkv. */
  sees(p: number, j: number, Tkv: number, h: number, b: number): boolean;
  /** A number of keys the pattern can be made for. */
  fits?(Tkv: number): number;
}

const idOf = (i: number) => [0, 3, 1, 3][Math.floor(i / 21) % 4] + 5 * Math.floor(i / 128);
const idsOf = ({ Tq, Tkv = Tq }: BlockMaskOptions) => Array.from({ length: Tkv }, (_, i) => idOf(i));
const floor = Math.floor;
const near = (i: number, n: number, size: number) => {
  const first = Math.max(0, Math.min(i - floor(size / 2), n - size));
  return (j: number) => j >= first && j < first + size;
};
const grid = (Tkv: number) => [Tkv / 6, 6] as const;

const patterns: Record<string, Pattern> = {
  full: { make: masks.full, sees: () => true },
  causal: { make: masks.causal, sees: (p, j) => j <= p },
  slidingWindow: {
    make: (o) => masks.slidingWindow({ ...o, window: 20 }),
    sees: (p, j) => j > p - 20 && j <= p,
  },
  'slidingWindow to both sides': {
    make: (o) => masks.slidingWindow({ ...o, window: [9, 33] }),
    sees: (p, j) => j > p - 9 && j <= p + 33,
  },
  prefixLm: { make: (o) => masks.prefixLm({ ...o, prefix: 37 }), sees: (p, j) => j < 37 || j <= p },
  'prefixLm per batch entry': {
    make: (o) => masks.prefixLm({ ...o, prefix: [0, 50] }),
    sees: (p, j, _T, _h, b) => j < 50 * b || j <= p,
  },
  document: {
    make: (o) => masks.document({ ...o, ids: idsOf(o) }),
    sees: (p, j, Tkv) => p >= 0 && p < Tkv && idOf(p) === idOf(j),
  },
  'document, causal': {
    make: (o) => masks.document({ ...o, ids: idsOf(o), isCausal: true }),
    sees: (p, j, Tkv) => p >= 0 && p < Tkv && idOf(p) === idOf(j) && j <= p,
  },
  dilated: {
    make: (o) => masks.dilated({ ...o, window: 5, dilation: 3 }),
    sees: (p, j) => j <= p && p - j < 15 && (p - j) % 3 === 0,
  },
  'dilated to both sides': {
    make: (o) => masks.dilated({ ...o, window: 4, dilation: 7, isCausal: false }),
    sees: (p, j) => Math.abs(p - j) < 28 && (p - j) % 7 === 0,
  },
  longNet: {
    make: (o) =>
      masks.longNet({
        H: 3,
        ...o,
        segments: [
          [8, 1],
          [32, 4],
        ],
      }),
    sees: (p, j, _T, h) =>
      j <= p &&
      ((floor(p / 8) === floor(j / 8) && p >= 0) ||
        (p >= 0 && floor(p / 32) === floor(j / 32) && p % 4 === h % 4 && j % 4 === h % 4)),
  },
  strided: {
    make: (o) => masks.strided({ ...o, stride: 11 }),
    sees: (p, j) => j <= p && (p - j < 11 || (p - j) % 11 === 0),
  },
  fixed: {
    make: (o) => masks.fixed({ ...o, stride: 12, summary: 3 }),
    sees: (p, j) => j <= p && (floor(p / 12) === floor(j / 12) || j % 12 >= 9),
  },
  globalWindow: {
    make: (o) => masks.globalWindow({ ...o, window: 10, globalTokens: 3 }),
    sees: (p, j) => Math.abs(p - j) <= 10 || j < 3 || (p >= 0 && p < 3),
  },
  'globalWindow at chosen tokens, causal': {
    make: (o) => masks.globalWindow({ ...o, window: [6, 2], globalTokens: [40, 7, 8], isCausal: true }),
    sees: (p, j) => j <= p && (p - j < 6 || [40, 7, 8].includes(j) || [40, 7, 8].includes(p)),
  },
  'bigBird with given blocks': {
    make: (o) =>
      masks.bigBird({
        ...o,
        block: 8,
        randomBlocks: Array.from({ length: Math.ceil((o.Tkv ?? o.Tq) / 8) }, (_, i) => [i >> 1]),
      }),
    sees: (p, j) => {
      const [own, other] = [floor(p / 8), floor(j / 8)];
      return other === 0 || own === 0 || Math.abs(own - other) <= 1 || (own >= 0 && other === own >> 1);
    },
  },
  blockLocal: {
    make: (o) => masks.blockLocal({ ...o, block: 20, left: 1 }),
    sees: (p, j) => [0, 1].includes(floor(p / 20) - floor(j / 20)),
  },
  'blockLocal, permuted': {
    make: (o) => masks.blockLocal({ ...o, block: 64, permutation: [1, 0, 3, 2] }),
    sees: (p, j) => p >= 0 && floor(j / 64) === (floor(p / 64) ^ 1),
  },
  axial: {
    make: (o) => masks.axial({ ...o, grid: grid(o.Tkv ?? o.Tq) }),
    sees: (p, j) => floor(p / 6) === floor(j / 6) || (p - j) % 6 === 0,
    fits: (T) => 6 * Math.ceil(T / 6),
  },
  star: {
    make: (o) => masks.star({ ...o, radius: 2 }),
    sees: (p, j, T) => {
      const apart = Math.abs(p - j);
      return j === 0 || p === 0 || Math.min(apart, T - 1 - apart) <= 2;
    },
    fits: (T) => Math.max(6, T),
  },
  neighborhood: {
    make: (o) => masks.neighborhood({ ...o, size: 7 }),
    sees: (p, j, T) => near(p, T, 7)(j),
  },
  'neighborhood, dilated': {
    make: (o) => masks.neighborhood({ ...o, size: 3, dilation: 4 }),
    sees: (p, j, T) =>
      p >= 0 && j % 4 === p % 4 && near(floor(p / 4), Math.ceil((T - (p % 4)) / 4), 3)(floor(j / 4)),
    fits: (T) => Math.max(12, T),
  },
  neighborhood2d: {
    make: (o) => masks.neighborhood2d({ ...o, grid: grid(o.Tkv ?? o.Tq), size: [3, 4] }),
    sees: (p, j, T) => near(floor(p / 6), T / 6, 3)(floor(j / 6)) && near(((p % 6) + 6) % 6, 6, 4)(j % 6),
    fits: (T) => Math.max(18, 6 * Math.ceil(T / 6)),
  },
};

function expectEqualMasks(actual: BlockMask, expected: BlockMask) {
  expect(actual.table.offsets).toEqual(expected.table.offsets);
  const [a, b] = [actual.table, expected.table];
  for (let run = 0; run < a.runs.length; run += 3) {
    const [lo, hi, code] = a.runs.subarray(run, run + 3);
    const [lo2, hi2, code2] = b.runs.subarray(run, run + 3);
    expect([lo, hi, code < 0]).toEqual([lo2, hi2, code2 < 0]);
    if (code >= 0) expect(a.bitmaps.at(code)).toEqual(b.bitmaps.at(code2));
  }
}

const sizes = fc.record({
  Tq: fc.integer({ min: 1, max: 150 }),
  more: fc.constantFrom(0, 0, 1, 30),
  blockSize: fc.constantFrom<number | readonly [number, number]>(1, 16, 32, 64, 128, [8, 32], [48, 5]),
});

describe.each(Object.entries(patterns))('masks.%s', (_, { make, sees, fits = (T) => T }) => {
  it('has the blocks of its predicate, whatever the sizes', () => {
    fc.assert(
      fc.property(sizes, ({ Tq, more, blockSize }) => {
        const Tkv = fits(Tq + more);
        const mask = make({ Tq, Tkv, blockSize });
        const { B, H, queryOffset } = mask;
        const maskMod: MaskMod = (b, h, q, kv) => sees(q + queryOffset, kv, Tkv, h, b);
        expectEqualMasks(mask, createBlockMask(maskMod, { B, H, Tq, Tkv, blockSize }));
      }),
      { numRuns: 25, seed: 42 },
    );
  });

  it('takes well under a second for 131072 tokens', () => {
    if (fits(131072) !== 131072) return;
    const start = process.cpuUsage();
    make({ H: 1, Tq: 131072, Tkv: 131072 });
    const { user, system } = process.cpuUsage(start);
    expect(user + system).toBeLessThan(1e6);
  });
});

it('masks.blockDiffusion has the pairs of its three parts', () => {
  for (const [length, block, blockSize] of [
    [24, 4, 16],
    [50, 16, 32],
    [7, 3, 1],
  ] as const) {
    const maskMod: MaskMod = (_b, _h, q, kv) => {
      const [mine, theirs] = [q, kv].map((i) => floor((i % length) / block));
      if (q < length) return kv < length ? mine === theirs : theirs < mine;
      return kv >= length && theirs <= mine;
    };
    expectEqualMasks(
      masks.blockDiffusion({ length, block, blockSize }),
      createBlockMask(maskMod, { Tq: 2 * length, blockSize }),
    );
  }
});

it('masks.bigBird draws the same blocks from the same seed', () => {
  const make = (seed: number) => masks.bigBird({ Tq: 512, block: 16, randomBlocks: 4, seed, blockSize: 16 });
  expectEqualMasks(make(3), make(3));
  expect(make(3).table.runs).not.toEqual(make(4).table.runs);
  for (let i = 4; i < 28; i++) {
    const seen = Array.from({ length: 32 }, (_, j) => make(3).isVisible(0, 0, 16 * i, 16 * j)).filter(
      Boolean,
    );
    expect(seen.length).toBe(8);
  }
});

describe('combinations', () => {
  const mods: Record<string, MaskMod> = {
    a: (b, _h, q, kv) => (q * 7 + kv * 3 + b) % 5 < 3,
    b: (_b, h, q, kv) => kv <= q + h || kv > 70,
    c: (_b, _h, q, kv) => floor(q / 32) !== floor(kv / 32),
  };
  const options = { Tq: 75, Tkv: 90, blockSize: [16, 32] as const };
  const a = createBlockMask(mods.a, { ...options, B: 2 });
  const b = createBlockMask(mods.b, { ...options, H: 3 });
  const c = createBlockMask(mods.c, options);
  const both = { ...options, B: 2, H: 3 };

  it('andMasks, orMasks and notMask are and, or and not of the predicates', () => {
    expectEqualMasks(
      andMasks(a, b, c),
      createBlockMask((...at) => mods.a(...at) && mods.b(...at) && mods.c(...at), both),
    );
    expectEqualMasks(
      orMasks(c, b, a),
      createBlockMask((...at) => mods.a(...at) || mods.b(...at) || mods.c(...at), both),
    );
    expectEqualMasks(
      notMask(a),
      createBlockMask((...at) => !mods.a(...at), { ...options, B: 2 }),
    );
    expectEqualMasks(notMask(notMask(b)), b);
    expectEqualMasks(orMasks(c, notMask(c)), masks.full(options));
    expect(andMasks(c, notMask(c)).blocks).toEqual({ full: 0, partial: 0, empty: 15 });
  });

  it('need masks of one size', () => {
    expect(() => andMasks(a, masks.causal({ ...options, blockSize: 16 }))).toThrow(
      'andMasks: masks must agree in blockKv; got 32 and 16',
    );
    expect(() => orMasks(a, masks.causal({ ...options, Tq: 4 }))).toThrow(
      'orMasks: masks must agree in Tq; got 75 and 4',
    );
    expect(() => andMasks(b, createBlockMask(mods.a, { ...options, H: 2 }))).toThrow(
      'andMasks: masks must agree in H or have 1; got 3 and 2',
    );
  });
});

describe('blockMaskFromDense', () => {
  it('has the pairs of the tensor, of two to four axes', () => {
    const values = Array.from({ length: 2 * 3 * 20 * 30 }, (_, i) => (i * i) % 7 < 3);
    const of = (shape: number[]) =>
      tensor(
        values.slice(
          0,
          shape.reduce((a, b) => a * b),
        ),
        shape,
        'bool',
      );
    for (const shape of [
      [20, 30],
      [3, 20, 30],
      [2, 3, 20, 30],
    ]) {
      const mask = blockMaskFromDense(of(shape), { blockSize: 8 });
      expect(mask.toDense().shape).toEqual([1, 1, ...shape].slice(-4));
      expect([...mask.toDense().dataSync()]).toEqual([...of(shape).dataSync()]);
    }
  });

  it('wants a bool tensor', () => {
    expect(() => blockMaskFromDense(tensor2d([[1, 0]]))).toThrow(
      'blockMaskFromDense: dense must be bool; got float32',
    );
  });
});

describe('blockMaskFromIndices', () => {
  const options = { Tq: 40, Tkv: 100, blockSize: 16 };

  it('takes lists, or a tensor padded with -1', () => {
    const expected = createBlockMask(
      (_b, _h, q, kv) => [[0, 6], [], [2, 3]][floor(q / 16)].includes(floor(kv / 16)),
      options,
    );
    expectEqualMasks(blockMaskFromIndices([[0, 6], [], [2, 3]], options), expected);
    const indices = tensor([0, 6, -1, -1, 2, 3], [1, 1, 3, 2], 'int32');
    expectEqualMasks(blockMaskFromIndices(indices, options), expected);
    expect(expected.blocks).toEqual({ full: 4, partial: 0, empty: 17 });
  });

  it.each([
    [
      [[7], [], []],
      'indices of query block 0 hold 7; expected key blocks from 0 to 6, Tkv = 100 in blocks of 16',
    ],
    [
      [[], [-2], []],
      'indices of query block 1 hold -2; expected key blocks from 0 to 6, Tkv = 100 in blocks of 16',
    ],
    [[[], [], [3, 2]], 'indices of query block 2 hold 2 after 3; expected them ascending, each once'],
    [[[], [], [3, 3]], 'indices of query block 2 hold 3 after 3; expected them ascending, each once'],
    [[[], [0.5], []], 'indices must hold integers; got 0.5'],
    [[[0]], 'indices has 1 lists; expected one per query block, Tq = 40 in blocks of 16 = 3'],
  ])('rejects %j', (indices, message) => {
    expect(() => blockMaskFromIndices(indices, options)).toThrow(`blockMaskFromIndices: ${message}`);
  });

  it('rejects tensors of another dtype or shape', () => {
    const indices = tensor([0, 1, 2], [1, 1, 3, 1], 'int32');
    expect(() => blockMaskFromIndices(cast(indices, 'float32'), options)).toThrow(
      'blockMaskFromIndices: indices must be int32; got float32',
    );
    expect(() => blockMaskFromIndices(indices, { ...options, Tq: 50 })).toThrow(
      'blockMaskFromIndices: indices has shape [1,1,3,1]; expected [1, 1, 4, S] = [1,1,4,S]',
    );
  });
});

describe('BlockMask', () => {
  it('counts blocks, density and operations', () => {
    const mask = masks.causal({ Tq: 100, blockSize: 32 });
    expect(mask.blocks).toEqual({ full: 6, partial: 4, empty: 6 });
    const kept = 6 * 32 * 32 - 2 * 0 + 3 * 32 * 32 + 4 * 4 - 3 * 32 * 28;
    expect(mask.density).toBeCloseTo(kept / 1e4, 10);
    expect(mask.visible).toBeCloseTo(5050 / 1e4, 10);
    expect(mask.flops).toBe(4 * kept);
  });

  it('shares equal bitmaps', () => {
    expect(masks.causal({ Tq: 4096, blockSize: 64 }).table.bitmaps.count).toBe(1);
    expect(masks.slidingWindow({ Tq: 4096, window: 200, blockSize: 64 }).table.bitmaps.count).toBe(3);
  });

  it('draws itself in text', () => {
    expect(
      String(
        masks.globalWindow({ Tq: 90, window: [16, 0], globalTokens: 16, isCausal: true, blockSize: 16 }),
      ),
    ).toBe(
      [
        'BlockMask [1, 1, 90, 90], blocks of 16 x 16',
        '5 full, 10 partial, 21 empty: density 0.431',
        '░░··········',
        '██░░········',
        '██░░░░······',
        '██··░░░░····',
        '██····░░░░··',
        '██······░░░░',
      ].join('\n'),
    );
    const coarse = masks.causal({ Tq: 4096, blockSize: 16 }).toString({ columns: 8 }).split('\n');
    expect(coarse[2]).toBe('each cell is 32 x 32 blocks');
    expect(coarse.slice(3)).toEqual(
      Array.from({ length: 8 }, (_, i) => `${'██'.repeat(i)}░░${'··'.repeat(7 - i)}`),
    );
  });

  it('draws itself as an image with a box per run and the pairs of partial blocks', () => {
    const svg = masks.causal({ Tq: 8, blockSize: 4 }).toSvg({ size: 80 });
    expect(svg).toContain(
      '<svg xmlns="http://www.w3.org/2000/svg" width="80" height="80" viewBox="0 0 8 8">',
    );
    expect(svg).toContain('<path d="M0 4h4v4h-4z" fill="#1d4ed8"/>');
    expect(svg.match(/M\d \dh\dv1h-\dz/g)).toHaveLength(8);
  });
});

describe('errors', () => {
  it.each([
    [
      () => createBlockMask(() => true, { Tq: -1 }),
      'createBlockMask: Tq must be an integer of at least 0; got -1',
    ],
    [
      () => masks.causal({ Tq: 4, blockSize: 0 }),
      'masks.causal: blockSize must be an integer of at least 1; got 0',
    ],
    [
      () => masks.strided({ Tq: 4, stride: 0 }),
      'masks.strided: stride must be an integer of at least 1; got 0',
    ],
    [() => masks.document({ Tq: 4, ids: [1, 2] }), 'masks.document: ids has 2 numbers; expected Tkv = 4'],
    [
      () => masks.axial({ Tq: 10, grid: [3, 3] }),
      'masks.axial: grid is 3 x 3; expected a grid of Tkv = 10 tokens',
    ],
    [
      () => masks.causal({ Tq: 4, queryOffset: 0.5 }),
      'masks.causal: queryOffset must be an integer; got 0.5',
    ],
    [
      () => masks.prefixLm({ Tq: 4, B: 3, prefix: [1, 2] }),
      'masks.prefixLm: prefix has 2 lengths; expected one, or B = 3',
    ],
  ])('%#', (make, message) => {
    expect(make).toThrow(message);
  });
});
