import { grads, ones, type Tensor, tensor, tidy, zeros } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NORM } from '../../src/catalog/bounds';
import { deviation, drawInputs } from '../../src/catalog/numerics';
import type { Case, InputSpec } from '../../src/catalog/types';
import * as linnet from '../../src/ops';
import { rmsNorm, rmsNormGated } from '../../src/ops';
import * as reference from '../../src/reference';
import { expectGolden, golden } from '../golden';
import { expectParity } from '../parity';

const cases = golden('ssm').filter(({ op }) => op === 'rms_norm_gated');

describe.each([
  ['kernel', linnet],
  ['reference', reference as typeof linnet],
])('%s', (_, ops) => {
  it.each(cases.map((c) => [c.case, c] as const))('equals the golden vector %s', (_name, c) => {
    expectGolden(c, ({ x, weight, z }) => ({ o: ops.rmsNormGated(x, weight, z, c.attrs) }), NORM);
  });
});

it('equals the reference for any shape, gradients too, and writes inside its outputs', () => {
  const flags = fc.record({ weight: fc.boolean(), z: fc.boolean(), normBeforeGate: fc.boolean() });
  fc.assert(
    fc.property(
      fc.nat(70),
      fc.nat(4),
      fc.integer({ min: 2, max: 37 }),
      flags,
      (rows, groups, groupSize, f) => {
        const shape = [rows, groups * groupSize];
        const inputs: Record<string, InputSpec> = {
          x: { shape },
          ...(f.weight ? { weight: { shape: [shape[1]] } } : {}),
          ...(f.z ? { z: { shape } } : {}),
        };
        const options = groups > 0 ? { groupSize, normBeforeGate: f.normBeforeGate } : {};
        const c: Case = {
          id: '',
          inputs,
          call: (ops, { x, weight, z }) => ops.rmsNormGated(x, weight, z, options),
        };
        expectParity(c, NORM);
      },
    ),
    { numRuns: 60 },
  );
});

it('without a gate is rmsNorm', () => {
  tidy(() => {
    const { x, weight } = drawInputs({ x: { shape: [5, 20] }, weight: { shape: [20] } });
    const plain = rmsNorm(x, weight, { eps: 1e-5 }).dataSync();
    expect(deviation(rmsNormGated(x, weight).dataSync(), plain).r).toBeLessThan(1e-6);
  });
});

it('keeps a NaN in its group and a row of zeros at zero', () => {
  tidy(() => {
    const x = tensor([1, 2, Number.NaN, 4, 0, 0, 0, 0], [2, 4]);
    const rows = rmsNormGated(x, ones([4]), ones([2, 4]), { groupSize: 2 }).arraySync() as number[][];
    expect(rows[0].map(Number.isNaN)).toEqual([false, false, true, true]);
    expect(rows[1]).toEqual([0, 0, 0, 0]);
  });
});

it('has a zero weight gradient when there are no rows', () => {
  tidy(() => {
    const f = (x: Tensor, w: Tensor, z: Tensor) => rmsNormGated(x, w, z);
    const [dx, dweight, dz] = grads(f)([zeros([0, 5]), ones([5]), zeros([0, 5])]);
    expect([dx.shape, dz.shape]).toEqual([
      [0, 5],
      [0, 5],
    ]);
    expect([...dweight.dataSync()]).toEqual([0, 0, 0, 0, 0]);
  });
});

describe('errors', () => {
  const x = zeros([2, 6]);
  it.each<[string, () => Tensor, string]>([
    [
      'weight',
      () => rmsNormGated(x, zeros([2])),
      'rmsNormGated: weight has shape [2]; expected [D] = [6] (D from x)',
    ],
    ['z', () => rmsNormGated(x, undefined, zeros([6])), 'rmsNormGated: z has shape [6]; expected [N0, D]'],
    [
      'groups',
      () => rmsNormGated(x, undefined, x, { groupSize: 4 }),
      'rmsNormGated: D = 6 must be a multiple of groupSize = 4',
    ],
    [
      'group size',
      () => rmsNormGated(x, undefined, x, { groupSize: -3 }),
      'rmsNormGated: groupSize must be a natural number; got -3',
    ],
    [
      'eps',
      () => rmsNormGated(x, undefined, x, { eps: Number.NaN }),
      'rmsNormGated: eps must be a finite number; got NaN',
    ],
  ])('%s', (_, call, message) => {
    expect(call).toThrow(message);
  });
});
