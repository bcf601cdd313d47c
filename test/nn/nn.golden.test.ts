import type { Tensor } from '@tensorflow/tfjs-core';
import { describe, it } from 'vitest';
import { NORM } from '../../src/catalog/bounds';
import * as linnet from '../../src/ops';
import * as reference from '../../src/reference';
import { expectGolden, type GoldenCase, golden } from '../golden';

type Call = (ops: typeof linnet, x: Record<string, Tensor>, c: GoldenCase) => Tensor;

const calls: Record<string, Call> = {
  rms_norm: (ops, { x, weight }, { attrs, case: name }) =>
    ops.rmsNorm(x, weight, { eps: attrs.eps, weightOffset: name === 'gemma' ? 1 : 0 }),
  l2_norm: (ops, { x }, { attrs }) => ops.l2Norm(x, attrs),
  rope: (ops, { x }, { attrs }) => ops.rope(x, attrs),
};
const cases = golden('misc').filter(({ op }) => op in calls);

describe.each([
  ['kernel', linnet],
  ['reference', reference as typeof linnet],
])('%s', (_, ops) => {
  it.each(cases.map((c) => [`${c.op}/${c.case}`, c] as const))('equals the golden vector %s', (_name, c) => {
    expectGolden(c, (inputs) => ({ o: calls[c.op](ops, inputs, c) }), NORM);
  });
});
