import { concat, dispose, slice, type Tensor, tensor, tidy, zeros } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LINEAR } from '../../src/catalog/bounds';
import { drawInputs, gradientsOf, outputsOf } from '../../src/catalog/numerics';
import type { Case, InputSpec } from '../../src/catalog/types';
import * as linnet from '../../src/ops';
import { tokenShift } from '../../src/ops';
import * as reference from '../../src/reference';
import { expectGolden, golden } from '../golden';
import { damagedBlocks } from '../guard';

const rounded = (values: Float64Array) => [...Float32Array.from(values)];

it.each([
  ['kernel', linnet],
  ['reference', reference as typeof linnet],
])('equals the golden vector, %s', (_, ops) => {
  const [c] = golden('misc').filter(({ op }) => op === 'token_shift');
  expectGolden(c, ({ x }) => ({ o: ops.tokenShift(x) }), LINEAR);
});

it('is the reference, rounded, for any shape and packing, gradients too, and writes inside its outputs', () => {
  const lengths = fc.array(fc.nat(5), { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(lengths, fc.nat(11), fc.boolean(), fc.boolean(), (sizes, D, hasCache, outputCache) => {
      const cuSeqlens = [0];
      for (const size of sizes) cuSeqlens.push(cuSeqlens.at(-1)! + size);
      const inputs: Record<string, InputSpec> = {
        x: { shape: [1, cuSeqlens.at(-1)!, D] },
        ...(hasCache ? { cache: { shape: [sizes.length, D] } } : {}),
      };
      const c: Case = {
        id: '',
        inputs,
        call: (ops, { x, cache }) => {
          if (!outputCache) return ops.tokenShift(x, { cache, cuSeqlens });
          const result = ops.tokenShift(x, { cache, cuSeqlens, outputCache: true });
          return [result.output, result.cache];
        },
      };
      const tensors = drawInputs(inputs);
      const expected = outputsOf(() => c.call(reference, tensors));
      const want = gradientsOf(c, tensors, (t) => c.call(reference, t));
      let [actual, got] = [expected, want];
      const damaged = damagedBlocks(() => {
        actual = outputsOf(() => c.call(linnet, tensors));
        got = gradientsOf(c, tensors, (t) => c.call(linnet, t));
      });
      expect(damaged).toBe(0);
      expect(actual.map(rounded)).toEqual(expected.map(rounded));
      for (const name of Object.keys(want)) expect(rounded(got[name])).toEqual(rounded(want[name]));
      dispose(tensors as never);
    }),
  );
});

it('in two parts with a cache is the whole, and a batch is its sequences', () => {
  tidy(() => {
    const { x } = drawInputs({ x: { shape: [2, 9, 5] } });
    const whole = tokenShift(x, { outputCache: true });
    const tokens = (begin: number, size: number) => slice(x, [0, begin, 0], [2, size, 5]);
    const first = tokenShift(tokens(0, 4), { outputCache: true });
    const second = tokenShift(tokens(4, 5), { outputCache: true, cache: first.cache });
    expect(concat([first.output, second.output], 1).dataSync()).toEqual(whole.output.dataSync());
    expect(second.cache.dataSync()).toEqual(whole.cache.dataSync());
    const packed = tokenShift(tensor(x.dataSync(), [1, 18, 5]), { cuSeqlens: [0, 9, 18] });
    expect(packed.dataSync()).toEqual(whole.output.dataSync());
  });
});

it('keeps a NaN in its token and the next, and in its sequence', () => {
  tidy(() => {
    const x = tensor([1, 2, Number.NaN, 4, 5, 6], [1, 6, 1]);
    expect([...tokenShift(x).dataSync()]).toEqual([-1, -1, Number.NaN, Number.NaN, -1, -1]);
    const packed = tokenShift(x, { cuSeqlens: [0, 3, 6] });
    expect([...packed.dataSync()]).toEqual([-1, -1, Number.NaN, -4, -1, -1]);
  });
});

describe('errors', () => {
  const x = zeros([2, 3, 4]);
  it.each<[string, () => Tensor, string]>([
    ['x', () => tokenShift(zeros([3, 4])), 'tokenShift: x has shape [3,4]; expected [B, T, D]'],
    [
      'cache',
      () => tokenShift(x, { cache: zeros([1, 4]) }),
      'tokenShift: cache has shape [1,4]; expected [2, 4]',
    ],
    [
      'packed batch',
      () => tokenShift(x, { cuSeqlens: [0, 3] }),
      'tokenShift: cuSeqlens needs sequences packed',
    ],
    [
      'bounds',
      () => tokenShift(zeros([1, 3, 4]), { cuSeqlens: [0, 2] }),
      'tokenShift: cuSeqlens is [0,2]; expected ascending bounds from 0 to T = 3',
    ],
  ])('%s', (_, call, message) => {
    expect(call).toThrow(message);
  });
});
