import { concat, ones, slice, tensor, tidy, zeros } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { SCAN } from '../../src/catalog/bounds';
import { deviation, drawInputs, float64 } from '../../src/catalog/numerics';
import type { Case, InputSpec } from '../../src/catalog/types';
import { fftConv, linearScan } from '../../src/ops';
import * as reference from '../../src/reference';
import { expectParity } from '../parity';

it('equals the reference for any shape, gradients too, and writes inside its outputs', () => {
  const sizes = fc.record({ B: fc.nat(2), T: fc.nat(70), H: fc.nat(19), L: fc.nat(80) });
  fc.assert(
    fc.property(sizes, fc.boolean(), ({ B, T, H, L }, skip) => {
      const inputs: Record<string, InputSpec> = {
        u: { shape: [B, T, H] },
        k: { shape: [H, L] },
        ...(skip ? { D: { shape: [H] } } : {}),
      };
      const c: Case = { id: '', inputs, call: (ops, { u, k, D }) => ops.fftConv(u, k, { D }) };
      expectParity(c);
    }),
    { numRuns: 60 },
  );
});

it.each([1, 33, 1000, 2048, 16384])('T = %i: the kernel a^t is the scan with decay a', (T) => {
  tidy(() => {
    const a = [0.5, 0.9, 0.999, -0.7, 1, 0, 0.3, 0.8, 0.99];
    const { u } = drawInputs({ u: { shape: [1, T, 9] } });
    const k = tensor(
      a.flatMap((x) => Array.from({ length: T }, (_, t) => x ** t)),
      [9, T],
    );
    const exact = reference.linearScan(tensor(a), u);
    expect(deviation(float64(fftConv(u, k)), float64(exact)).r).toBeLessThan(SCAN.r);
    expect(deviation(float64(linearScan(tensor(a), u)), float64(exact)).r).toBeLessThan(SCAN.r);
  });
});

it('a kernel of one lag scales, later tokens do not reach earlier ones', () => {
  tidy(() => {
    const { u, k } = drawInputs({ u: { shape: [1, 20, 5] }, k: { shape: [5, 20] } });
    expect(deviation(fftConv(u, ones([5, 1])).dataSync(), u.dataSync()).m).toBeLessThan(1e-6);
    const head = slice(u, [0, 0, 0], [1, 11, 5]);
    const changed = fftConv(concat([head, ones([1, 9, 5])], 1), k);
    const expected = slice(fftConv(u, k), [0, 0, 0], [1, 11, 5]);
    expect(deviation(slice(changed, [0, 0, 0], [1, 11, 5]).dataSync(), expected.dataSync()).m).toBeLessThan(
      2e-6,
    );
  });
});

it('is the same from run to run', () => {
  tidy(() => {
    const { u, k } = drawInputs({ u: { shape: [2, 50, 11] }, k: { shape: [11, 50] } });
    expect([...fftConv(u, k).dataSync()]).toEqual([...fftConv(u, k).dataSync()]);
  });
});

it('names what is wrong', () => {
  expect(() => fftConv(zeros([1, 4, 3]), zeros([4, 4]))).toThrow(
    'fftConv: k has shape [4,4]; expected [H, L] = [3,L] (H from u)',
  );
  expect(() => fftConv(zeros([4, 3]), zeros([3, 4]))).toThrow(
    'fftConv: u has shape [4,3]; expected [B, T, H]',
  );
});
