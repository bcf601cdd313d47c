import {
  add,
  dispose,
  grad,
  grads,
  memory,
  ones,
  type Tensor,
  tensor,
  tidy,
  zeros,
} from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NORM } from '../../src/catalog/bounds';
import { deviation, drawInputs, gradientsOf, outputsOf } from '../../src/catalog/numerics';
import type { Case, InputSpec, Ops, Tensors } from '../../src/catalog/types';
import { addRmsNorm } from '../../src/nn/addRmsNorm';
import { asReference } from '../../src/op/define';
import * as linnet from '../../src/ops';
import { l2Norm, rmsNorm } from '../../src/ops';
import * as reference from '../../src/reference';
import { damagedBlocks } from '../guard';

const norms: Record<string, (ops: Ops, x: Tensors, eps?: number) => Tensor> = {
  rmsNorm: (ops, { x, weight }, eps) => ops.rmsNorm(x, weight, { eps, weightOffset: 0.5 }),
  'rmsNorm without weight': (ops, { x }, eps) => ops.rmsNorm(x, undefined, { eps }),
  l2Norm: (ops, { x }, eps) => ops.l2Norm(x, { eps }),
};

describe.each(Object.entries(norms))('%s', (name, norm) => {
  const takesWeight = name === 'rmsNorm';
  const inputsOf = (shape: number[]): Record<string, InputSpec> =>
    takesWeight ? { x: { shape }, weight: { shape: [shape.at(-1)!] } } : { x: { shape } };

  it('equals the reference for any shape, gradients too, and writes inside its outputs', () => {
    const shapes = fc.oneof(
      fc.tuple(fc.nat(3), fc.nat(70), fc.integer({ min: 0, max: 67 })),
      fc.tuple(fc.integer({ min: 60, max: 200 }), fc.integer({ min: 1, max: 9 })),
      fc.tuple(fc.integer({ min: 1, max: 300 })),
    );
    fc.assert(
      fc.property(shapes, fc.constantFrom(1e-6, 1e-3, 1), (shape, eps) => {
        const tensors = drawInputs(inputsOf([...shape]));
        const c: Case = { id: '', inputs: inputsOf([...shape]), call: (ops, t) => norm(ops, t, eps) };
        const [expected] = outputsOf(() => c.call(reference, tensors));
        const expectedGradients = gradientsOf(c, tensors, (t) => c.call(reference, t));
        let actual = expected;
        let gradients = expectedGradients;
        const damaged = damagedBlocks(() => {
          [actual] = outputsOf(() => c.call(linnet, tensors));
          gradients = gradientsOf(c, tensors, (t) => c.call(linnet, t));
        });
        expect(damaged).toBe(0);
        expect(deviation(actual, expected).r).toBeLessThanOrEqual(NORM.r);
        expect(deviation(actual, expected).m).toBeLessThanOrEqual(NORM.m);
        for (const n of Object.keys(expectedGradients)) {
          expect(gradients[n].length).toBe(expectedGradients[n].length);
          // a row of one channel is 1 or -1 whatever its size: its gradient is what cancellation leaves
          if (shape.at(-1)! > 1) {
            expect(deviation(gradients[n], expectedGradients[n]).r, n).toBeLessThanOrEqual(NORM.gradient);
          }
        }
        dispose(tensors as never);
      }),
      { numRuns: 60 },
    );
  });

  it('is exact enough over long rows and many of them', () => {
    for (const shape of [
      [2, 16384],
      [5000, 3],
    ]) {
      const inputs = inputsOf(shape);
      const tensors = drawInputs(inputs);
      const c: Case = { id: '', inputs, call: (ops, t) => norm(ops, t) };
      const [expected] = outputsOf(() => c.call(reference, tensors));
      const [actual] = outputsOf(() => c.call(linnet, tensors));
      expect(deviation(actual, expected).r).toBeLessThanOrEqual(NORM.r);
      const want = gradientsOf(c, tensors, (t) => c.call(reference, t));
      const got = gradientsOf(c, tensors, (t) => c.call(linnet, t));
      for (const n of Object.keys(want))
        expect(deviation(got[n], want[n]).r, n).toBeLessThanOrEqual(NORM.gradient);
      dispose(tensors as never);
    }
  });

  it('keeps a NaN in its row and a row of zeros at zero', () => {
    tidy(() => {
      const x = tensor([1, 2, Number.NaN, 4, 0, 0, 0, 0, 3, 0, 0, 4], [3, 4]);
      const rows = norm(linnet, { x, weight: ones([4]) }).arraySync() as number[][];
      expect(rows[0].every(Number.isNaN)).toBe(true);
      expect(rows[1]).toEqual([0, 0, 0, 0]);
      expect(rows[2].every(Number.isFinite)).toBe(true);
    });
  });
});

it('has rows of norm 1', () => {
  tidy(() => {
    expect([...l2Norm(tensor([3, 4, 0, -5], [2, 2]), { eps: 0 }).dataSync()]).toEqual([
      Math.fround(0.6),
      Math.fround(0.8),
      0,
      -1,
    ]);
    expect([...rmsNorm(tensor([1, -1, 7, 7], [2, 2]), undefined, { eps: 0 }).dataSync()]).toEqual([
      1, -1, 1, 1,
    ]);
  });
});

it('has a zero weight gradient when there are no rows', () => {
  tidy(() => {
    const [dx, dweight] = grads((x: Tensor, w: Tensor) => rmsNorm(x, w))([zeros([0, 5]), ones([5])]);
    expect(dx.shape).toEqual([0, 5]);
    expect([...dweight.dataSync()]).toEqual([0, 0, 0, 0, 0]);
  });
});

it('leaves nothing behind in its gradient', () => {
  const x = ones([3, 5]);
  const before = memory().numTensors;
  grad((t: Tensor) => l2Norm(t))(x).dispose();
  expect(memory().numTensors).toBe(before);
  x.dispose();
});

describe('errors', () => {
  const x = zeros([2, 3]);
  it.each<[string, () => Tensor, string]>([
    ['weight', () => rmsNorm(x, zeros([2])), 'rmsNorm: weight has shape [2]; expected [D] = [3] (D from x)'],
    ['dtype', () => l2Norm(zeros([2], 'int32')), 'l2Norm: x must be float32; got int32'],
    ['a scalar', () => l2Norm(tensor(1)), 'l2Norm: x has shape []; expected [D]'],
    ['no tensor', () => l2Norm(null as never), 'l2Norm: x must be a tensor [D]; got null'],
    [
      'eps',
      () => rmsNorm(x, undefined, { eps: Number.NaN }),
      'rmsNorm: eps must be a finite number; got NaN',
    ],
    [
      'weightOffset',
      () => rmsNorm(x, undefined, { weightOffset: Infinity }),
      'rmsNorm: weightOffset must be a finite number; got Infinity',
    ],
  ])('%s', (_, call, message) => {
    expect(call).toThrow(message);
  });
});

describe('addRmsNorm', () => {
  it.each([
    [1, 1, 384],
    [2, 3, 5],
    [1, 1, 3],
    [1, 0, 4],
  ])('[%i, %i, %i] is the sum and its norm', (...shape) => {
    tidy(() => {
      const { x, update, weight } = drawInputs({
        x: { shape },
        update: { shape },
        weight: { shape: [shape.at(-1)!] },
      });
      const options = { eps: 1e-3, weightOffset: 1 };
      const sum = add(x, update);
      const expected = [sum, rmsNorm(sum, weight, options)].map((t) => t.dataSync());
      let given: Tensor[] = [];
      expect(damagedBlocks(() => (given = addRmsNorm(x, update, weight, options)))).toBe(0);
      expect(given.map((t) => t.shape)).toEqual([shape, shape]);
      expect(given.map((t) => t.dataSync())).toEqual(expected);
      if (sum.size === 0) return;
      const textbook = asReference(addRmsNorm)(x, update, weight, options);
      textbook.forEach((t, i) => {
        expect(deviation(given[i].dataSync(), t.dataSync()).r).toBeLessThan(1e-6);
      });
    });
  });

  it('fits what it is given', () => {
    const [x, update, weight] = [zeros([1, 2, 3]), zeros([1, 2, 4]), zeros([3])];
    expect(() => addRmsNorm(x, update, weight)).toThrow('addRmsNorm: update has shape [1,2,4]');
  });
});
