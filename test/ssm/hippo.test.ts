import { describe, expect, it } from 'vitest';
import { deviation } from '../../src/catalog/numerics';
import { type Discretization, discretize, type HippoMeasure, hippo } from '../../src/index';
import { golden } from '../golden';

const MEASURES: HippoMeasure[] = ['legs', 'legt', 'lagt', 'fout'];

describe.each(
  golden('ssm')
    .filter(({ op }) => op === 'hippo')
    .map((c) => [c.case, c] as const),
)('golden %s', (_, c) => {
  const { measure, N } = c.attrs as unknown as { measure: HippoMeasure; N: number };
  const step = c.in.step.dataSync()[0];
  const rules: [string, Discretization | undefined][] = [
    ['', undefined],
    ['_zoh', 'zoh'],
    ['_bilinear', 'bilinear'],
  ];
  it.each(rules)('A%s and B', (suffix, discretization) => {
    const { A, B } = hippo(measure, N, { discretization, step });
    expect(deviation(A, c.out[`A${suffix}`].dataSync()).m).toBeLessThan(1e-7);
    expect(deviation(B, c.out[`B${suffix}`].dataSync()).m).toBeLessThan(1e-7);
  });
});

it.each(MEASURES)('%s: every rule meets the others as the step shrinks, at its order', (measure) => {
  const distance = (rule: Discretization, step: number) => {
    const exact = hippo(measure, 6, { discretization: 'zoh', step });
    return deviation(hippo(measure, 6, { discretization: rule, step }).A, exact.A).m;
  };
  expect(Math.log2(distance('euler', 2 ** -9) / distance('euler', 2 ** -10))).toBeCloseTo(2, 1);
  expect(Math.log2(distance('bilinear', 2 ** -9) / distance('bilinear', 2 ** -10))).toBeCloseTo(3, 1);
});

it.each(MEASURES)('%s: two zoh steps are one of twice the length', (measure) => {
  const N = 5;
  const { A, B } = hippo(measure, N, { discretization: 'zoh', step: 0.3 });
  const twice = hippo(measure, N, { discretization: 'zoh', step: 0.6 });
  const row = (i: number, x: (k: number) => number) =>
    Array.from({ length: N }, (_, k) => A[i * N + k] * x(k)).reduce((sum, value) => sum + value, 0);
  const A2 = Array.from(A, (_, at) => row(Math.floor(at / N), (k) => A[k * N + (at % N)]));
  const B2 = Array.from(B, (b, i) => row(i, (k) => B[k]) + b);
  expect(deviation(A2, twice.A).m).toBeLessThan(1e-12);
  expect(deviation(B2, twice.B).m).toBeLessThan(1e-12);
});

it('lagt holds the Laguerre coefficients of an impulse: its zoh state decays as t^n e^(-t / 2)', () => {
  const { A } = hippo('lagt', 2, { discretization: 'zoh', step: 1.5 });
  const decay = Math.exp(-0.75);
  expect(deviation(A, [decay, 0, -1.5 * decay, decay]).m).toBeLessThan(1e-14);
});

it('names what is wrong', () => {
  expect(() => hippo('leg' as never, 4)).toThrow(
    'hippo: measure must be one of legs, legt, lagt, fout; got leg',
  );
  expect(() => hippo('legs', 0)).toThrow('hippo: N must be a positive integer; got 0');
  const system = hippo('legs', 3);
  expect(() => discretize(system, 0, 'zoh')).toThrow('discretize: step must be a positive number; got 0');
  expect(() => discretize(system, 1, 'tustin' as never)).toThrow(
    'discretize: rule must be one of zoh, bilinear, euler; got tustin',
  );
  expect(() => discretize({ A: system.A, B: new Float64Array(2) }, 1, 'zoh')).toThrow(
    'discretize: A has 9 values; expected N * N = 4 (N from B)',
  );
});
