import { mul, ones, slice, type Tensor, tidy, zeros } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { SOFTMAX_ATTENTION } from '../../src/catalog/bounds';
import { deviation, drawInputs, float64, gradientsOf } from '../../src/catalog/numerics';
import * as linnet from '../../src/ops';
import * as reference from '../../src/reference';

const { forgettingAttention: attend } = linnet;

function inputs(T: number, H = 2, D = 8) {
  const x = { shape: [1, T, H, D] };
  return { q: x, k: x, v: x, g: { shape: [1, T, H], draw: 'logSigmoid' as const } };
}

function expectClose(actual: Tensor, expected: Tensor, bound = SOFTMAX_ATTENTION.r) {
  expect(deviation(float64(actual), float64(expected)).r).toBeLessThanOrEqual(bound);
}

const rows = (x: Tensor, from: number, size: number) =>
  slice(x, [0, from, ...x.shape.slice(2).map(() => 0)], [1, size, ...x.shape.slice(2)]);

describe('forgettingAttention', () => {
  it('with gates of 0 is causal attention', () => {
    tidy(() => {
      const { q, k, v } = drawInputs(inputs(70));
      const expected = linnet.scaledDotProductAttention(q, k, v, { isCausal: true });
      expectClose(attend(q, k, v, zeros([1, 70, 2])), expected);
    });
  });

  it('with gates far below 0 sees only itself', () => {
    tidy(() => {
      const { q, k, v } = drawInputs(inputs(20));
      expectClose(attend(q, k, v, mul(ones([1, 20, 2]), -1e4)), v);
    });
  });

  it('packed is a loop over the sequences', () => {
    tidy(() => {
      const { q, k, v, g } = drawInputs(inputs(40));
      const packed = attend(q, k, v, g, { cuSeqlens: [0, 13, 40] });
      const part = (from: number, size: number) =>
        attend(rows(q, from, size), rows(k, from, size), rows(v, from, size), rows(g, from, size));
      expectClose(rows(packed, 0, 13), part(0, 13));
      expectClose(rows(packed, 13, 27), part(13, 27));
    });
  });

  it('split anywhere, with the keys before as a cache, is the whole', () => {
    tidy(() => {
      const { q, k, v, g } = drawInputs(inputs(33));
      const whole = attend(q, k, v, g);
      for (const at of [1, 16, 32])
        expectClose(attend(rows(q, at, 33 - at), k, v, g), rows(whole, at, 33 - at));
    });
  });

  it('keeps its precision over long sequences', () => {
    tidy(() => {
      const given = inputs(700, 1, 4);
      const { q, k, v, g } = drawInputs(given);
      expectClose(attend(q, k, v, g), reference.forgettingAttention(q, k, v, g));
      const [mine, theirs] = [linnet, reference].map((ops) =>
        gradientsOf({ id: '', inputs: given, call: () => q }, { q, k, v, g }, (t) =>
          ops.forgettingAttention(t.q, t.k, t.v, t.g),
        ),
      );
      for (const name of ['q', 'k', 'v', 'g']) {
        expect(deviation(mine[name], theirs[name]).r, `d${name}`).toBeLessThanOrEqual(
          SOFTMAX_ATTENTION.gradient,
        );
      }
    });
  });

  it('says which gates it expects', () => {
    tidy(() => {
      const { q, k, v } = drawInputs(inputs(5));
      expect(() => attend(q, k, v, zeros([1, 5, 3]))).toThrow(
        'forgettingAttention: g has shape [1,5,3]; expected [B, Tk, Hq] = [1,5,2] (B from q, Tk from k, Hq from q)',
      );
    });
  });
});
