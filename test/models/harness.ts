import { argMax, memory, reshape, slice, type Tensor, tensor, tidy } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { float64 } from '../../src/catalog/numerics';
import type { Model } from '../../src/models';
import { tokens } from '../../src/nn/layers';
import { checkpoint, type Stored } from './checkpoint';

const TOLERANCE = 1e-4;

export const idsOf = (rows: number[][]) => tensor(rows, undefined, 'int32');

/** The best next token of each row. */
export function best(logits: Tensor): number[] {
  const last = tokens(logits, logits.shape[1]! - 1, 1);
  return Array.from(argMax(reshape(last, [last.shape[0], -1]), 1).dataSync());
}

/** The largest distance of logits from others. */
export function distance(logits: Tensor, expected: Tensor): number {
  expect(logits.shape).toEqual(expected.shape);
  const [a, b] = [logits, expected].map(float64);
  return a.reduce((worst, value, i) => {
    const error = Math.abs(value - b[i]);
    return Number.isNaN(error) ? Number.POSITIVE_INFINITY : Math.max(worst, error);
  }, 0);
}

/** The largest distance of the logits of a split of the input, each part after the other. */
export function distanceInParts(model: Model, ids: Tensor, logits: Tensor, sizes: readonly number[]): number {
  const cache = model.createCache();
  let worst = 0;
  for (const size of sizes) {
    tidy(() => {
      const begin = cache.position;
      const part = model.forward(tokens(ids, begin, size), { cache });
      worst = Math.max(worst, distance(part, tokens(logits, begin, size)));
    });
  }
  expect(cache.position).toBe(ids.shape[1]);
  cache.dispose();
  return worst;
}

/** Checks a model end to end against its checkpoint: whole sequences, parts with carried state, and what it writes. */
export function testCheckpoint(name: string): void {
  describe(name, () => {
    let stored: Stored;
    beforeAll(async () => {
      stored = await checkpoint(name);
    });
    afterAll(() => {
      stored.model.dispose();
      stored.inputIds.dispose();
      stored.logits.dispose();
    });

    it('has the stored logits', () => {
      const { model, inputIds, logits } = stored;
      tidy(() => {
        const error = distance(model.forward(inputIds), logits);
        if (process.env.SHOW_ERRORS) console.log(name, error);
        expect(error).toBeLessThan(TOLERANCE);
        const end = tokens(logits, logits.shape[1]! - 1, 1);
        expect(distance(model.forward(inputIds, { last: true }), end)).toBeLessThan(TOLERANCE);
      });
    });

    it('has the same logits token by token, and in parts', () => {
      const { model, inputIds, logits } = stored;
      const T = inputIds.shape[1]!;
      for (const sizes of [Array(T).fill(1), [7, 1, 2, T - 10]]) {
        expect(distanceInParts(model, inputIds, logits, sizes), `${sizes}`).toBeLessThan(TOLERANCE);
      }
    });

    it('has the same logits for each row alone', () => {
      const { model, inputIds, logits } = stored;
      const row = (x: Tensor, b: number) =>
        slice(x, [b, ...x.shape.slice(1).map(() => 0)], [1, ...x.shape.slice(1)]);
      for (let b = 0; b < inputIds.shape[0]; b++) {
        tidy(() => {
          expect(distance(model.forward(row(inputIds, b)), row(logits, b))).toBeLessThan(TOLERANCE);
        });
      }
    });

    it('writes the stored tokens, recomputing everything', () => {
      const { model, inputIds, greedy } = stored;
      const T = inputIds.shape[1]!;
      const ids = inputIds.arraySync() as number[][];
      for (let i = 0; i < greedy[0].length; i++) {
        const next = tidy(() => best(model.forward(idsOf(ids))));
        for (const [row, token] of next.entries()) ids[row].push(token);
      }
      expect(ids.map((row) => row.slice(T))).toEqual(greedy);
    });

    it('writes the stored tokens from its cache and leaves nothing behind', () => {
      const { model, inputIds, greedy } = stored;
      const before = memory().numTensors;
      const cache = model.createCache();
      let next = tidy(() => best(model.forward(inputIds, { cache })));
      const written = next.map((token) => [token]);
      while (written[0].length < greedy[0].length) {
        const ids = next.map((token) => [token]);
        next = tidy(() => best(model.forward(idsOf(ids), { cache })));
        for (const [row, token] of next.entries()) written[row].push(token);
      }
      cache.dispose();
      expect(written).toEqual(greedy);
      expect(memory().numTensors).toBe(before);
    });
  });
}
