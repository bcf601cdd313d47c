import { onesLike, slice, type Tensor, tidy, zeros, zerosLike } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { deviation, drawInputs, float64 } from '../../src/catalog/numerics';
import * as linnet from '../../src/ops';

const { lshAttention, memorizingAttention, mosaAttention, routingAttention, sinkhornAttention } = linnet;
const [B, T, Hq, Hkv, D] = [2, 37, 4, 2, 8];
const draw = () =>
  drawInputs({
    q: { shape: [B, T, Hq, D] },
    k: { shape: [B, T, Hkv, D] },
    v: { shape: [B, T, Hkv, D] },
    centroids: { shape: [Hq, 3, D] },
    scores: { shape: [B, T, Hq], draw: 'sigmoid' },
    values: { shape: [B, T, Hq, D] },
  });

function expectClose(actual: Tensor, expected: Tensor) {
  expect(deviation(float64(actual), float64(expected)).r).toBeLessThanOrEqual(1e-6);
}

describe('the full budget is softmax attention', () => {
  it('every token in the cluster, chosen by the head, in the memory, or in two blocks', () => {
    tidy(() => {
      const { q, k, v, centroids, scores } = draw();
      const causal = linnet.scaledDotProductAttention(q, k, v, { isCausal: true });
      const [none, all] = [zerosLike(scores), onesLike(scores)];
      expectClose(routingAttention(q, k, v, centroids, { topk: T }), causal);
      expectClose(mosaAttention(q, k, v, all, { topk: T }), causal);
      expectClose(sinkhornAttention(q, k, v, zeros([B, Hq, 2, 2]), { blockSize: 20 }), causal);
      expectClose(memorizingAttention(q, k, v, k, v, none, all), causal);
      expectClose(
        memorizingAttention(q, k, v, k, v, all, none, { topk: T }),
        linnet.scaledDotProductAttention(q, k, v),
      );
    });
  });
});

describe('lshAttention', () => {
  it('is the same for a seed, other for another, and never looks ahead', () => {
    tidy(() => {
      const { q, values } = draw();
      const options = { buckets: 4, hashes: 2, chunkSize: 8 };
      const run = (seed: number) => [...lshAttention(q, values, { ...options, seed }).dataSync()];
      expect(run(3)).toEqual(run(3));
      expect(run(3)).not.toEqual(run(4));
      const first = lshAttention(
        slice(q, [0, 0, 0, 0], [B, 1, Hq, D]),
        slice(values, [0, 0, 0, 0], [B, 1, Hq, D]),
      );
      expectClose(first, slice(values, [0, 0, 0, 0], [B, 1, Hq, D]));
    });
  });

  it('sees every earlier token of the bucket when the chunk holds all', () => {
    tidy(() => {
      const q = onesLike(zeros([1, 5, 1, 2]));
      const { values } = drawInputs({ values: { shape: [1, 5, 1, 2] } });
      const output = lshAttention(q, values, { buckets: 2, hashes: 1, chunkSize: 5 }).dataSync();
      const x = values.dataSync();
      for (let d = 0; d < 2; d++) {
        expect(output[d]).toBeCloseTo(x[d], 6);
        expect(output[8 + d]).toBeCloseTo((x[d] + x[2 + d] + x[4 + d] + x[6 + d]) / 4, 6);
      }
    });
  });
});

describe('errors', () => {
  it.each<[string, () => unknown]>([
    [
      'lshAttention: buckets must be even; got 3',
      () => lshAttention(draw().q, draw().values, { buckets: 3 }),
    ],
    [
      'mosaAttention: topk must be a positive integer; got 0',
      () => mosaAttention(draw().q, draw().k, draw().v, draw().scores, { topk: 0 }),
    ],
    [
      'sinkhornAttention: sortLogits has shape [2,4,2,2]; expected [2, 4, 1, 1]',
      () => sinkhornAttention(draw().q, draw().k, draw().v, zeros([B, Hq, 2, 2])),
    ],
  ])('%s', (message, run) => {
    expect(() => tidy(() => run() as never)).toThrow(message);
  });
});
