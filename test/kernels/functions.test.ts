import { beforeAll, describe, expect, it } from 'vitest';
import { elementaryFunctions, largestError } from './functions';

const LOWEST = -87.33654;
/** Every 509th float; the slow suite takes all of them. */
const STEP = 509;
let run: Awaited<ReturnType<typeof elementaryFunctions>>;
beforeAll(async () => {
  run = await elementaryFunctions();
}, 60_000);

const error = (
  name: Parameters<typeof run>[0],
  exact: (x: number) => number,
  range: readonly [number, number],
) => largestError((x) => run(name, x), exact, range, STEP).ulps;
const one = (name: Parameters<typeof run>[0], x: number) => run(name, Float32Array.of(x))[0];

describe('exp', () => {
  it('is within 2 ULP', () => {
    expect(error('expArray', Math.exp, [-0, LOWEST])).toBeLessThanOrEqual(2);
    expect(error('expArray', Math.exp, [0, 88.72])).toBeLessThanOrEqual(2);
  });

  it.each([
    [0, 1],
    [-0, 1],
    [-88, 0],
    [-Infinity, 0],
    [89, Infinity],
    [Infinity, Infinity],
    [Number.NaN, Number.NaN],
  ])('of %d is %d', (x, y) => {
    expect(one('expArray', x)).toBe(y);
  });
});

describe('exp2', () => {
  it('is within 2 ULP', () => {
    expect(error('exp2Array', (x) => 2 ** x, [-0, -126])).toBeLessThanOrEqual(2);
    expect(error('exp2Array', (x) => 2 ** x, [0, 126.9])).toBeLessThanOrEqual(2);
  });

  it.each([
    [0, 1],
    [-1, 0.5],
    [-127, 0],
    [-Infinity, 0],
    [Number.NaN, Number.NaN],
  ])('of %d is %d', (x, y) => {
    expect(one('exp2Array', x)).toBe(y);
  });
});

describe('sigmoid', () => {
  const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

  it('is within 4 ULP', () => {
    expect(error('sigmoidArray', sigmoid, [-0, -80])).toBeLessThanOrEqual(4);
    expect(error('sigmoidArray', sigmoid, [0, 100])).toBeLessThanOrEqual(4);
  });

  it.each([
    [0, 0.5],
    [-Infinity, 0],
    [Infinity, 1],
    [Number.NaN, Number.NaN],
  ])('of %d is %d', (x, y) => {
    expect(one('sigmoidArray', x)).toBe(y);
  });
});

const silu = (x: number) => x / (1 + Math.exp(-x));

describe('silu', () => {
  it('is within 4 ULP', () => {
    expect(error('siluArray', silu, [-1e-30, -80])).toBeLessThanOrEqual(4);
    expect(error('siluArray', silu, [1e-30, 1e6])).toBeLessThanOrEqual(4);
  });

  it.each([
    [0, 0],
    [-1e6, -0],
    [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY],
    [Number.NEGATIVE_INFINITY, Number.NaN],
    [Number.NaN, Number.NaN],
  ])('of %d is %d', (x, y) => {
    expect(one('siluArray', x)).toBe(y);
  });
});

describe('quickSilu', () => {
  it('is within 8 ULP of positive numbers, 16 down to -8, 66 down to -80', () => {
    expect(error('quickSiluArray', silu, [1e-30, 1e6])).toBeLessThanOrEqual(8);
    expect(error('quickSiluArray', silu, [-1e-30, -8])).toBeLessThanOrEqual(16);
    expect(error('quickSiluArray', silu, [-8, -80])).toBeLessThanOrEqual(66);
  });

  it.each([
    [0, 0],
    [-86, -0],
    [-1e6, -0],
    [1e6, 1e6],
    [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY],
    [Number.NEGATIVE_INFINITY, Number.NaN],
    [Number.NaN, Number.NaN],
  ])('of %d is %d', (x, y) => {
    expect(one('quickSiluArray', x)).toBe(y);
  });
});

describe('softplus', () => {
  const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

  it('is within 4 ULP', () => {
    expect(error('softplusArray', softplus, [-0, -80])).toBeLessThanOrEqual(4);
    expect(error('softplusArray', softplus, [0, 1000])).toBeLessThanOrEqual(4);
  });

  it.each([
    [-Infinity, 0],
    [Infinity, Infinity],
    [Number.NaN, Number.NaN],
  ])('of %d is %d', (x, y) => {
    expect(one('softplusArray', x)).toBe(y);
  });
});
