import { readFileSync } from 'node:fs';
import { matMul, mul, reshape, slice, sum, type Tensor, tensor, tidy, zeros } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { deviation, drawInputs, float64 } from '../../src/catalog/numerics';
import * as linnet from '../../src/index';
import * as reference from '../../src/reference';

const { q, k, v, weight } = drawInputs({
  q: { shape: [1, 64, 2, 16], scale: 0.35 },
  k: { shape: [1, 64, 2, 16], scale: 0.35 },
  v: { shape: [1, 64, 2, 8] },
  weight: { shape: [2, 16, 16], scale: 0.3 },
});
const docs = readFileSync(new URL('../../docs/linear.md', import.meta.url), 'utf8');

describe('performerFeatures', () => {
  it('approaches softmax attention as the number of features grows', () => {
    tidy(() => {
      const exact = float64(linnet.scaledDotProductAttention(q, k, v, { isCausal: true }));
      const errors = [16, 64, 256, 1024].map((m) => {
        const squares = [1, 2, 3, 4].map((seed) => {
          const projection = linnet.randomProjection(m, 16, { heads: 2, seed });
          const featureMap = (x: Tensor) => linnet.performerFeatures(x, projection);
          const output = linnet.linearAttention(q, k, v, { featureMap, normalize: true });
          return deviation(float64(output), exact).r ** 2;
        });
        return Math.sqrt(squares.reduce((a, b) => a + b, 0) / squares.length);
      });
      // four times as many features, half the error
      errors.slice(1).forEach((error, i) => {
        expect(error / errors[i]).toBeLessThan(0.65);
      });
      expect(errors.at(-1)).toBeLessThan(0.04);
    });
  });

  it('has one projection per head, or the same for all', () => {
    tidy(() => {
      const projection = linnet.randomProjection(5, 16, { heads: 2 });
      const both = linnet.performerFeatures(q, projection);
      for (const head of [0, 1]) {
        const own = linnet.performerFeatures(
          slice(q, [0, 0, head, 0], [1, 64, 1, 16]),
          reshape(slice(projection, [head, 0, 0], [1, 5, 16]), [5, 16]),
        );
        expect(slice(both, [0, 0, head, 0], [1, 64, 1, 5]).dataSync()).toEqual(own.dataSync());
      }
    });
  });

  it('says what is wrong', () => {
    expect(() => linnet.performerFeatures(q, zeros([3, 5, 16]))).toThrow(
      'performerFeatures: projection has shape [3,5,16]; expected [H, m, D] = [2,m,16] (H from x, D from x)',
    );
    expect(() => linnet.performerFeatures(q, zeros([5, 16]), { scale: -1 })).toThrow(
      'performerFeatures: scale must be at least 0; got -1',
    );
    expect(() => linnet.performerFeatures(q, zeros([5, 16]), { scale: Number.NaN })).toThrow(
      'performerFeatures: scale must be a finite number; got NaN',
    );
    expect(() => linnet.performerFeatures(zeros([16]), zeros([2, 5, 16]))).toThrow(RangeError);
  });
});

describe('randomProjection', () => {
  it('has orthogonal rows in groups of D, whose lengths are those of normal vectors', () => {
    tidy(() => {
      const projection = linnet.randomProjection(4096, 16, { seed: 5 });
      const group = slice(projection, [32, 0], [16, 16]) as Tensor;
      const products = matMul(group as never, group as never, false, true).arraySync() as number[][];
      products.forEach((row, i) => {
        row.forEach((x, j) => {
          if (i !== j) expect(Math.abs(x)).toBeLessThan(1e-4);
        });
      });
      const values = [...(projection.dataSync() as Float32Array)];
      expect(values.reduce((all, x) => all + x * x, 0) / values.length).toBeCloseTo(1, 1);
      expect(values.reduce((all, x) => all + x, 0) / values.length).toBeCloseTo(0, 1);
    });
  });

  it('is the same for the same seed only', () => {
    tidy(() => {
      const of = (seed: number) => linnet.randomProjection(8, 4, { heads: 2, seed }).dataSync();
      expect(of(3)).toEqual(of(3));
      expect(of(3)).not.toEqual(of(4));
    });
  });

  it('says what is wrong', () => {
    expect(() => linnet.randomProjection(0, 4)).toThrow(
      'randomProjection: m must be a whole number of at least 1; got 0',
    );
  });
});

describe('hedgehogFeatures', () => {
  it('are weights that sum to 1, however large', () => {
    tidy(() => {
      const features = linnet.hedgehogFeatures(mul(q, 1e4), weight);
      expect(features.shape).toEqual([1, 64, 2, 32]);
      for (const total of sum(features, -1).dataSync()) expect(total).toBeCloseTo(1, 5);
    });
  });

  it('says what is wrong', () => {
    expect(() => linnet.hedgehogFeatures(q, zeros([2, 4, 8]))).toThrow(
      'hedgehogFeatures: weight has shape [2,4,8]; expected [H, m, D] = [2,4,16] (H from x, D from x)',
    );
  });
});

describe('the figure of Taylor features', () => {
  it('and its table are what the references compute, and the kernels too', async () => {
    const path = new URL('../../docs/figures/taylor', import.meta.url);
    const { errorsOf, rowsOf, figureOf } = await import(/* @vite-ignore */ `${path.href}.mjs`);
    const [errors, byKernels] = [reference, linnet].map((ops) => tidy(() => errorsOf(ops, tensor)));
    for (const row of rowsOf(errors)) expect(docs.replace(/ +/g, ' ')).toContain(`| ${row.join(' | ')} |`);
    expect(readFileSync(`${path.pathname}.svg`, 'utf8')).toBe(figureOf(errors));
    expect(rowsOf(byKernels)).toEqual(rowsOf(errors));
    errors.slice(1).forEach((error: number, i: number) => {
      expect(error).toBeLessThan(errors[i] / 2);
    });
  });
});
