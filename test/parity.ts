import { dispose } from '@tensorflow/tfjs-core';
import { expect } from 'vitest';
import { SCAN } from '../src/catalog/bounds';
import { deviation, drawInputs, gradientsOf, outputsOf } from '../src/catalog/numerics';
import type { Bounds, Case } from '../src/catalog/types';
import * as linnet from '../src/ops';
import * as reference from '../src/reference';
import { damagedBlocks } from './guard';

/** The kernel equals the reference within bounds, gradients too unless told otherwise, and writes inside its outputs. */
export function expectParity(c: Case, bounds: Bounds = SCAN, gradients = true): void {
  const tensors = drawInputs(c.inputs);
  const expected = outputsOf(() => c.call(reference, tensors));
  const want = gradients ? gradientsOf(c, tensors, (t) => c.call(reference, t)) : {};
  let [actual, got] = [expected, want];
  const damaged = damagedBlocks(() => {
    actual = outputsOf(() => c.call(linnet, tensors));
    if (gradients) got = gradientsOf(c, tensors, (t) => c.call(linnet, t));
  });
  expect(damaged).toBe(0);
  actual.forEach((values, i) => {
    expect(deviation(values, expected[i]).r).toBeLessThanOrEqual(bounds.r);
    expect(deviation(values, expected[i]).m).toBeLessThanOrEqual(bounds.m);
  });
  for (const name of Object.keys(want)) {
    expect(deviation(got[name], want[name]).r, name).toBeLessThanOrEqual(bounds.gradient);
  }
  dispose(tensors as never);
}
