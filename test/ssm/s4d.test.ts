import { tensor, tidy, zeros } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SCAN } from '../../src/catalog/bounds';
import { deviation, drawInputs, float64, gradientsOf, outputsOf } from '../../src/catalog/numerics';
import type { Case, InputSpec, Tensors } from '../../src/catalog/types';
import * as linnet from '../../src/ops';
import { complexScan, s4dKernel } from '../../src/ops';
import * as reference from '../../src/reference';
import { expectGolden, golden } from '../golden';
import { expectParity } from '../parity';

const [c] = golden('ssm').filter(({ op }) => op === 's4d');

describe.each([
  ['kernel', linnet],
  ['reference', reference as typeof linnet],
])('%s', (_, ops) => {
  it('equals the golden vector: kernel and convolution', () => {
    expectGolden(
      c,
      ({ u, log_dt, log_A_real, A_imag, C_re, C_im, D }) => {
        const kernel = ops.s4dKernel(log_dt, log_A_real, A_imag, { re: C_re, im: C_im }, { length: 32 });
        return { o: ops.fftConv(u, kernel, { D }), kernel };
      },
      SCAN,
    );
  });
});

function inputs(H: number, N: number): Record<string, InputSpec> {
  return {
    logDt: { shape: [H], scale: 0.5, shift: -3 },
    logAReal: { shape: [H, N], scale: 0.3, shift: -0.7 },
    aImag: { shape: [H, N], scale: 10 },
    cRe: { shape: [H, N] },
    cIm: { shape: [H, N] },
  };
}
const call = (ops: typeof linnet, t: Tensors, length: number, discretization?: 'zoh' | 'bilinear') =>
  ops.s4dKernel(t.logDt, t.logAReal, t.aImag, { re: t.cRe, im: t.cIm }, { length, discretization });

it('equals the reference for any shape, gradients too, and writes inside its outputs', () => {
  const sizes = fc.record({ H: fc.nat(4), N: fc.nat(9), length: fc.nat(150) });
  fc.assert(
    fc.property(sizes, fc.constantFrom('zoh' as const, 'bilinear' as const), ({ H, N, length }, rule) => {
      const c: Case = { id: '', inputs: inputs(H, N), call: (ops, t) => call(ops as never, t, length, rule) };
      expectParity(c);
    }),
    { numRuns: 40 },
  );
});

it.each([1, 1000, 16384])('T = %i is within bounds, gradients too', (length) => {
  const tensors = drawInputs(inputs(2, 16));
  const c: Case = { id: '', inputs: inputs(2, 16), call: (ops, t) => call(ops as never, t, length) };
  const [[actual], [expected]] = [linnet, reference].map((ops) => outputsOf(() => c.call(ops, tensors)));
  expect(deviation(actual, expected).r).toBeLessThan(SCAN.r);
  const [got, want] = [linnet, reference].map((ops) => gradientsOf(c, tensors, (t) => c.call(ops, t)));
  for (const name of Object.keys(want))
    expect(deviation(got[name], want[name]).r).toBeLessThan(SCAN.gradient);
});

it('recurrent = convolutional: the kernel is the response of the scan to one impulse', () => {
  tidy(() => {
    const [N, T] = [4, 40];
    const t = drawInputs(inputs(1, N));
    const step = Math.exp(t.logDt.dataSync()[0]);
    const A = [...t.logAReal.dataSync()].map((x, n) => [-Math.exp(x), t.aImag.dataSync()[n]]);
    const z = A.map(([re, im]) => [
      Math.exp(step * re) * Math.cos(step * im),
      Math.exp(step * re) * Math.sin(step * im),
    ]);
    // f = (z - 1) / A meets the impulse, C reads
    const f = A.map(([re, im], n) => {
      const [a, b] = [z[n][0] - 1, z[n][1]];
      return [(a * re + b * im) / (re * re + im * im), (b * re - a * im) / (re * re + im * im)];
    });
    const impulse = (part: 0 | 1) =>
      tensor(
        Array.from({ length: T * N }, (_, i) => (i < N ? f[i][part] : 0)),
        [1, T, N],
      );
    const h = complexScan(
      { re: tensor(z.map(([re]) => re)), im: tensor(z.map(([, im]) => im)) },
      { re: impulse(0), im: impulse(1) },
    );
    const [hr, hi, cr, ci] = [h.re, h.im, t.cRe, t.cIm].map((x) => x.dataSync());
    const expected = Array.from({ length: T }, (_, at) =>
      [0, 1, 2, 3].reduce((sum, n) => sum + 2 * (cr[n] * hr[at * N + n] - ci[n] * hi[at * N + n]), 0),
    );
    expect(deviation(float64(call(linnet, t, T)), expected).r).toBeLessThan(SCAN.r);
  });
});

it('the two rules meet as the step shrinks', () => {
  tidy(() => {
    const t = { ...drawInputs(inputs(2, 4)), logDt: tensor([-8, -9]) };
    const [zoh, bilinear] = (['zoh', 'bilinear'] as const).map((rule) =>
      call(linnet, t, 30, rule).dataSync(),
    );
    expect(deviation(bilinear, zoh).m).toBeLessThan(1e-3);
  });
});

it('an eigenvalue near 0 integrates', () => {
  tidy(() => {
    const one = tensor([[1]]);
    const k = s4dKernel(
      tensor([-3]),
      tensor([[-30]]),
      zeros([1, 1]),
      { re: one, im: zeros([1, 1]) },
      { length: 5 },
    );
    const expected = Array(5).fill(2 * Math.exp(-3));
    expect(deviation(k.dataSync(), expected).m).toBeLessThan(1e-6);
  });
});

it('names what is wrong', () => {
  tidy(() => {
    const t = drawInputs(inputs(2, 3));
    expect(() => call(linnet, { ...t, cIm: zeros([2, 4]) }, 5)).toThrow(
      's4dKernel: C.im has shape [2,4]; expected [H, N] = [2,3] (H from logDt, N from logAReal)',
    );
    expect(() => call(linnet, t, 1.5)).toThrow('s4dKernel: length must be a natural number; got 1.5');
    expect(() => call(linnet, t, 5, 'euler' as never)).toThrow(
      's4dKernel: discretization must be one of zoh, bilinear; got euler',
    );
  });
});
