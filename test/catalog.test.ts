import { dispose, memory, tensor } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { catalog } from '../src/catalog';
import {
  deviation,
  differentiableInputs,
  drawInputs,
  float64,
  gradientsOf,
  lossOf,
  outputsOf,
} from '../src/catalog/numerics';
import type { Tensors } from '../src/catalog/types';
import { setExact } from '../src/op/exact';
import * as linnet from '../src/ops';
import * as reference from '../src/reference';

const STEP = 1e-4;
const CENTRAL_DIFFERENCES_UP_TO = 256;

it('lists every public op exactly once', () => {
  expect(catalog.map((entry) => entry.name).sort()).toEqual(
    Object.keys(linnet)
      .filter((name) => name in reference)
      .sort(),
  );
});

it('has a reference of the same name for every public op', () => {
  const ops: { [name in keyof typeof linnet]: (typeof linnet)[name] } = reference;
  expect(Object.keys(ops).sort()).toEqual(Object.keys(linnet).sort());
});

for (const entry of catalog) {
  describe(entry.name, () => {
    for (const c of entry.cases) {
      it(`${c.id}: kernel equals the float64 reference`, () => {
        const tensors = drawInputs(c.inputs);
        const before = memory().numTensors;
        const actual = outputsOf(() => c.call(linnet, tensors));
        const expected = outputsOf(() => c.call(reference, tensors));
        expect(memory().numTensors).toBe(before);
        expect(actual.length).toBe(expected.length);
        actual.forEach((values, i) => {
          const { r, m } = deviation(values, expected[i]);
          expect(r, 'r').toBeLessThanOrEqual(entry.bounds.r);
          expect(m, 'm').toBeLessThanOrEqual(entry.bounds.m);
        });
        dispose(tensors as never);
      });

      if (differentiableInputs(c).length === 0) continue;
      it(`${c.id}: gradients equal those of the reference`, () => {
        const tensors = drawInputs(c.inputs);
        const actual = gradientsOf(c, tensors, (t) => c.call(linnet, t));
        const expected = gradientsOf(c, tensors, (t) => c.call(reference, t));
        for (const name of Object.keys(expected)) {
          expect(deviation(actual[name], expected[name]).r, `d${name}`).toBeLessThanOrEqual(
            entry.bounds.gradient,
          );
        }
        dispose(tensors as never);
      });

      it(`${c.id}: gradients of the reference equal its central differences`, () => {
        const tensors = drawInputs(c.inputs);
        const expected = gradientsOf(c, tensors, (t) => c.call(reference, t));
        for (const name of Object.keys(expected)) {
          const size = tensors[name].size;
          const stride = Math.max(1, Math.ceil(size / CENTRAL_DIFFERENCES_UP_TO));
          const picked = Array.from({ length: Math.ceil(size / stride) }, (_, i) => i * stride);
          const differences = picked.map(
            (i) => (lossAt(tensors, name, i, STEP) - lossAt(tensors, name, i, -STEP)) / (2 * STEP),
          );
          const analytic = picked.map((i) => expected[name][i]);
          expect(deviation(analytic, differences).r, `d${name}`).toBeLessThan(1e-5);
        }
        dispose(tensors as never);

        function lossAt(at: Tensors, name: string, i: number, step: number): number {
          const values = Float64Array.from(float64(at[name]));
          values[i] += step;
          const moved = tensor(Float32Array.from(values), at[name].shape);
          setExact(moved, values);
          let shapes: number[][] = [];
          const outputs = outputsOf(() => {
            const result = c.call(reference, { ...at, [name]: moved });
            const list = Array.isArray(result) ? result : [result];
            shapes = list.map((y) => y.shape);
            return list;
          });
          moved.dispose();
          return lossOf(outputs, shapes);
        }
      });
    }
  });
}
