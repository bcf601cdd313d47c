import { dispose, tensor, tidy, zeros } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NORM } from '../../src/catalog/bounds';
import { deviation, drawInputs, float64, outputsOf } from '../../src/catalog/numerics';
import type { Case } from '../../src/catalog/types';
import { type RopeOptions, ropeFrequencies } from '../../src/index';
import * as linnet from '../../src/ops';
import { rope } from '../../src/ops';
import * as reference from '../../src/reference';
import { expectParity } from '../parity';

it('equals the reference for any shape and options, gradients too, and writes inside its outputs', () => {
  const shapes = fc.tuple(fc.nat(2), fc.nat(140), fc.nat(3), fc.nat(37));
  const drawn = fc.record({
    pairs: fc.nat(18),
    offset: fc.integer({ min: -200, max: 200_000 }),
    interleaved: fc.boolean(),
    attentionScaling: fc.constantFrom(1, 1.3),
    theta: fc.constantFrom(500, 1e4, 5e5),
  });
  fc.assert(
    fc.property(shapes, drawn, ([B, T, H, D], { pairs, ...rest }) => {
      const options: RopeOptions = { ...rest, rotaryDim: 2 * Math.min(pairs, D >> 1) };
      const inputs = { x: { shape: [B, T, H, D] } };
      const c: Case = { id: '', inputs, call: (ops, { x }) => ops.rope(x, options) };
      expectParity(c, NORM);
    }),
    { numRuns: 80 },
  );
});

it('keeps its accuracy at position 100000 and beyond', () => {
  const inputs = { x: { shape: [1, 130, 1, 64] } };
  const tensors = drawInputs(inputs);
  for (const offset of [1e5, 1e6]) {
    const [actual, expected] = [linnet, reference].map(
      (ops) => outputsOf(() => ops.rope(tensors.x, { offset }))[0],
    );
    expect(deviation(actual, expected).r).toBeLessThan(1e-7);
  }
  dispose(tensors as never);
});

it('makes the product of a query and a key depend on their distance alone', () => {
  tidy(() => {
    const { q, k } = drawInputs({ q: { shape: [1, 1, 1, 16] }, k: { shape: [1, 1, 1, 16] } });
    const product = (i: number, j: number) => {
      const [a, b] = [rope(q, { offset: i }), rope(k, { offset: j })].map(float64);
      return a.reduce((sum, value, n) => sum + value * b[n], 0);
    };
    expect(product(1007, 1000)).toBeCloseTo(product(7, 0), 5);
    expect(product(3, 10)).not.toBeCloseTo(product(10, 3), 2);
  });
});

it('turns a pair by its angle', () => {
  tidy(() => {
    const [cos, sin] = [Math.cos(3), Math.sin(3)].map(Math.fround);
    const x = tensor([1, 0, 5], [1, 1, 1, 3]);
    expect([...rope(x, { offset: 3, rotaryDim: 2 }).dataSync()]).toEqual([cos, sin, 5]);
    const y = tensor([0, 1], [1, 1, 1, 2]);
    const frequencies = [1.5];
    expect([...rope(y, { offset: 2, frequencies, attentionScaling: 2 }).dataSync()]).toEqual([
      -2 * sin,
      2 * cos,
    ]);
  });
});

it('takes positions as numbers, per token or per batch entry, and adds the offset to them', () => {
  tidy(() => {
    const { x } = drawInputs({ x: { shape: [2, 3, 2, 8] } });
    const plain = rope(x, { offset: 10 }).arraySync() as number[][][][];
    const own = rope(x, { positions: [10, 11, 12] }).arraySync();
    expect(own).toEqual(plain);
    expect(rope(x, { positions: tensor([0, 1, 2], [3], 'int32'), offset: 10 }).arraySync()).toEqual(plain);
    const shuffled = tensor([10, 11, 12, 12, 11, 10], [2, 3], 'int32');
    const mixed = rope(x, { positions: shuffled }).arraySync() as number[][][][];
    expect(mixed[0]).toEqual(plain[0]);
    expect(mixed[1][1]).toEqual(plain[1][1]);
    expect(mixed[1][0]).not.toEqual(plain[1][0]);
  });
});

it('in two parts with an offset is the whole, to the bit', () => {
  tidy(() => {
    const { x } = drawInputs({ x: { shape: [1, 90, 2, 16] } });
    const whole = rope(x).dataSync();
    const row = 2 * 16;
    for (const at of [1, 63, 64, 65]) {
      const part = (from: number, to: number) =>
        tensor(x.dataSync().slice(from * row, to * row), [1, to - from, 2, 16]);
      const parts = [rope(part(0, at)), rope(part(at, 90), { offset: at })];
      expect(parts.flatMap((t) => [...t.dataSync()])).toEqual([...whole]);
    }
  });
});

describe('ropeFrequencies', () => {
  const plain = ropeFrequencies(64, { theta: 5e5 }).frequencies;

  it('are powers of theta', () => {
    expect(ropeFrequencies(8, { theta: 1e4 })).toEqual({
      frequencies: [1, 0.1, 0.01, 0.001].map((f) => expect.closeTo(f, 15)),
      attentionScaling: 1,
    });
    expect(ropeFrequencies(0).frequencies).toEqual([]);
  });

  it('linear: all are divided', () => {
    const scaled = ropeFrequencies(64, { theta: 5e5, scaling: { type: 'linear', factor: 4 } });
    expect(scaled.frequencies).toEqual(plain.map((f) => f / 4));
  });

  it('llama3: fast pairs stay, slow ones are divided, between them a blend by wavelength', () => {
    const scaling = {
      type: 'llama3',
      factor: 8,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalMaxPositionEmbeddings: 8192,
    } as const;
    const { frequencies, attentionScaling } = ropeFrequencies(64, { theta: 5e5, scaling });
    expect(attentionScaling).toBe(1);
    frequencies.forEach((frequency, i) => {
      const wavelength = (2 * Math.PI) / plain[i];
      if (wavelength < 8192 / 4) expect(frequency).toBe(plain[i]);
      else if (wavelength > 8192) expect(frequency).toBe(plain[i] / 8);
      else {
        const smooth = (8192 / wavelength - 1) / 3;
        expect(frequency).toBeCloseTo(((1 - smooth) * plain[i]) / 8 + smooth * plain[i], 12);
      }
    });
    expect(frequencies.filter((f, i) => f !== plain[i] && f !== plain[i] / 8).length).toBeGreaterThan(1);
  });

  it('yarn: by index, between the pairs that turn 32 times and once', () => {
    const scaling = { type: 'yarn', factor: 40, originalMaxPositionEmbeddings: 4096 } as const;
    const { frequencies, attentionScaling } = ropeFrequencies(64, { scaling });
    const base = ropeFrequencies(64).frequencies;
    expect(attentionScaling).toBeCloseTo(1 + 0.1 * Math.log(40), 12);
    // 64 ln(4096 / (32 * 2 pi)) / (2 ln 10000) = 10.47 and 64 ln(4096 / (2 pi)) / (2 ln 10000) = 22.51
    expect(frequencies.slice(0, 11)).toEqual(base.slice(0, 11));
    expect(frequencies.slice(23)).toEqual(base.slice(23).map((f) => f / 40));
    expect(frequencies[16]).toBeCloseTo((base[16] * 7) / 13 + ((base[16] / 40) * 6) / 13, 12);
    expect(ropeFrequencies(64, { scaling: { ...scaling, attentionFactor: 1 } }).attentionScaling).toBe(1);
  });

  it.each<[string, () => unknown, string]>([
    ['odd', () => ropeFrequencies(3), 'ropeFrequencies: rotaryDim is 3; expected an even number'],
    [
      'factor',
      () => ropeFrequencies(4, { scaling: { type: 'linear', factor: 0 } }),
      'ropeFrequencies: factor is 0; expected a positive number',
    ],
    ['theta', () => ropeFrequencies(4, { theta: Number.NaN }), 'theta must be a finite number; got NaN'],
  ])('error: %s', (_, call, message) => {
    expect(call).toThrow(message);
  });
});

describe('errors', () => {
  const x = zeros([2, 3, 1, 8]);
  it.each<[string, RopeOptions, string]>([
    ['odd', { rotaryDim: 3 }, 'rope: rotaryDim is 3; expected an even number from 0 to D = 8 (from x)'],
    [
      'too many',
      { rotaryDim: 10 },
      'rope: rotaryDim is 10; expected an even number from 0 to D = 8 (from x)',
    ],
    [
      'frequencies',
      { rotaryDim: 4, frequencies: [1] },
      'rope: frequencies has 1 values; expected rotaryDim / 2 = 2',
    ],
    ['no list', { frequencies: null as never }, 'rope: frequencies must be an array of numbers; got null'],
    ['a frequency', { frequencies: [Number.NaN] }, 'rope: frequencies must be a finite number; got NaN'],
    ['positions', { positions: [1, 2] }, 'rope: positions has 2 values; expected T = 3'],
    ['fractions', { positions: [1, 2, 2.5] }, 'rope: positions must hold integers; got [1,2,2.5]'],
    [
      'positions per batch',
      { positions: zeros([1, 3], 'int32') },
      'rope: positions has shape [1,3]; expected [2, 3]',
    ],
    ['dtype', { positions: zeros([3]) }, 'rope: positions must be int32; got float32'],
    ['offset', { offset: 0.5 }, 'rope: offset must be an integer; got 0.5'],
    [
      'scaling',
      { attentionScaling: Infinity },
      'rope: attentionScaling must be a finite number; got Infinity',
    ],
    ['theta', { theta: -1 }, 'rope: theta is -1; expected a positive number'],
  ])('%s', (_, options, message) => {
    expect(() => rope(x, options)).toThrow(message);
  });

  it('of x', () => {
    expect(() => rope(zeros([3, 1, 8]))).toThrow('rope: x has shape [3,1,8]; expected [B, T, H, D]');
    expect(() => rope(zeros([1, 1, 1, 3]))).toThrow('rope: rotaryDim is 3; expected an even number');
  });
});
