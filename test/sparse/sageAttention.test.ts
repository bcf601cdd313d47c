import { grad, type Tensor, tensor, tidy, zeros } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { INT8_ROUNDING } from '../../src/catalog/bounds';
import { deviation, drawInputs, float64 } from '../../src/catalog/numerics';
import * as linnet from '../../src/ops';
import * as reference from '../../src/reference';
import { expectGolden, golden } from '../golden';

const { sageAttention, scaledDotProductAttention } = linnet;

function draw(B: number, Tq: number, Tk: number, Hq: number, Hkv: number, D: number, Dv = D, shift = 0) {
  return drawInputs({
    q: { shape: [B, Tq, Hq, D] },
    k: { shape: [B, Tk, Hkv, D], shift },
    v: { shape: [B, Tk, Hkv, Dv] },
  });
}

const error = (actual: Tensor, expected: Tensor) => deviation(float64(actual), float64(expected)).r;

describe('sageAttention', () => {
  const c = golden('attention').find(({ op }) => op === 'sage_attention')!;
  it.each([
    ['kernel', linnet],
    ['reference', reference as typeof linnet],
  ])('golden vectors, %s', (_, { sageAttention }) => {
    expectGolden(c, ({ q, k, v }) => ({ o: sageAttention(q, k, v, c.attrs) }), INT8_ROUNDING);
  });

  it.each([false, true])('is near to exact attention, isCausal %s', (isCausal) => {
    tidy(() => {
      const { q, k, v } = draw(2, 150, 150, 4, 2, 64);
      const exact = scaledDotProductAttention(q, k, v, { isCausal, returnLse: true });
      for (const [blockSize, bound] of [
        [1, 1e-2],
        [64, 2e-2],
      ]) {
        const { output, lse } = sageAttention(q, k, v, { isCausal, blockSize, returnLse: true });
        expect(error(output, exact.output)).toBeLessThan(bound);
        expect(error(lse, exact.lse)).toBeLessThan(1e-3);
      }
    });
  });

  it('needs the smoothing where keys have a mean', () => {
    tidy(() => {
      const { q, k, v } = draw(1, 64, 64, 2, 2, 32, 32, 50);
      const exact = scaledDotProductAttention(q, k, v, { returnLse: true });
      const { output, lse } = sageAttention(q, k, v, { returnLse: true });
      expect(error(output, exact.output)).toBeLessThan(1e-2);
      expect(error(lse, exact.lse)).toBeLessThan(1e-3);
      expect(error(sageAttention(q, k, v, { smoothK: false }), exact.output)).toBeGreaterThan(0.1);
    });
  });

  it('equals the float64 reference on any shape', () => {
    const size = fc.constantFrom(0, 1, 2, 7, 65);
    const channels = fc.constantFrom(1, 2, 5, 16, 33);
    const heads = fc.integer({ min: 1, max: 3 });
    const options = { isCausal: fc.boolean(), smoothK: fc.boolean(), blockSize: fc.constantFrom(1, 3, 64) };
    fc.assert(
      fc.property(
        size,
        size,
        heads,
        heads,
        channels,
        channels,
        fc.record(options),
        (Tq, Tk, Hkv, group, D, Dv, o) => {
          tidy(() => {
            const { q, k, v } = draw(2, Tq, Tk, Hkv * group, Hkv, D, Dv);
            const actual = sageAttention(q, k, v, { ...o, returnLse: true });
            const expected = reference.sageAttention(q, k, v, { ...o, returnLse: true });
            // an element that lies at a half may take the other step
            expect(error(actual.output, expected.output)).toBeLessThan(1e-2);
            const finite = (x: Tensor) => float64(x).map((value) => (value === -Infinity ? -1e3 : value));
            expect(deviation(finite(actual.lse), finite(expected.lse)).r).toBeLessThan(1e-2);
          });
        },
      ),
      { numRuns: 40 },
    );
  });

  it('keeps a NaN in v behind the mask', () => {
    tidy(() => {
      const { q, k, v } = draw(1, 9, 9, 1, 1, 8);
      const values = tensor(
        v
          .dataSync()
          .slice()
          .fill(NaN, 8 * 5),
        v.shape,
      );
      const output = float64(sageAttention(q, k, values, { isCausal: true }));
      expect(output.slice(0, 40).every(Number.isFinite)).toBe(true);
      expect(output.slice(40).every(Number.isNaN)).toBe(true);
    });
  });

  it('has no gradient', () => {
    const { q, k, v } = draw(1, 4, 4, 1, 1, 8);
    expect(() => grad((x) => sageAttention(x, k, v))(q)).toThrow();
  });

  const x = (...shape: number[]) => zeros(shape);
  it.each([
    [
      () => sageAttention(x(1, 2, 3, 4), x(1, 2, 2, 4), x(1, 2, 2, 4)),
      'sageAttention: Hq = 3 must be a multiple of Hkv = 2',
    ],
    [
      () => sageAttention(x(1, 2, 2, 4), x(1, 2, 2, 5), x(1, 2, 2, 4)),
      'sageAttention: k has shape [1,2,2,5]; expected [B, Tk, Hkv, D] = [1,2,2,4] (B from q, D from q)',
    ],
    [
      () => sageAttention(x(1, 2, 2, 4), x(1, 2, 2, 4), x(1, 2, 2, 4), { blockSize: 0 }),
      'sageAttention: blockSize must be a positive integer; got 0',
    ],
    [
      () => sageAttention(x(1, 2, 2, 4), x(1, 2, 2, 4), x(1, 2, 2, 4), { scale: NaN }),
      'sageAttention: scale must be a finite number; got NaN',
    ],
  ])('error %#', (run, message) => {
    expect(() => tidy(() => run() as never)).toThrow(message);
  });
});
