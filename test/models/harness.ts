import { argMax, memory, reshape, type Tensor, tensor, tidy } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { float64 } from '../../src/catalog/numerics';
import { Cache } from './cache';
import { type Checkpoint, checkpoint, type Weights } from './checkpoint';
import { tokens } from './layers';

/** Logits `[B, T, vocab]` of ids `[B, T]`; what later tokens need is left in the cache, whose position is not its business. */
export type Forward = (ids: Tensor, cache: Cache) => Tensor;
export type Architecture<Config> = (weights: Weights, config: Config) => Forward;

const TOLERANCE = 1e-4;

function step(forward: Forward, ids: Tensor, cache: Cache): Tensor {
  const logits = forward(ids, cache);
  cache.position += ids.shape[1]!;
  return logits;
}

function whole(forward: Forward, ids: Tensor): Tensor {
  const cache = new Cache();
  const logits = step(forward, ids, cache);
  cache.dispose();
  return logits;
}

function best(logits: Tensor): number[] {
  const last = tokens(logits, logits.shape[1]! - 1, 1);
  return Array.from(argMax(reshape(last, [last.shape[0], -1]), 1).dataSync());
}

/** The largest distance of logits from the stored ones of the tokens from `begin` on. */
function distance(logits: Tensor, stored: Tensor, begin = 0): number {
  const [actual, expected] = [logits, tokens(stored, begin, logits.shape[1]!)].map(float64);
  expect(actual.length).toBe(expected.length);
  return actual.reduce((worst, value, i) => Math.max(worst, Math.abs(value - expected[i])), 0);
}

/** The logits of a split of the input, each part after the other. */
function expectParts(forward: Forward, { inputIds, logits }: Checkpoint<unknown>, sizes: readonly number[]) {
  const cache = new Cache();
  for (const size of sizes) {
    tidy(() => {
      const begin = cache.position;
      const part = step(forward, tokens(inputIds, begin, size), cache);
      expect(distance(part, logits, begin), `tokens from ${begin}`).toBeLessThan(TOLERANCE);
    });
  }
  expect(cache.position).toBe(inputIds.shape[1]);
  cache.dispose();
}

/** Checks a model end to end against its checkpoint: whole sequences, parts with carried state, and what it writes. */
export function testModel<Config>(name: string, architecture: Architecture<Config>): void {
  const stored = checkpoint<Config>(name);
  const forward = architecture(stored.weights, stored.config);
  const T = stored.inputIds.shape[1]!;
  const length = stored.greedy[0].length;

  describe(name, () => {
    it('has the stored logits', () => {
      tidy(() => {
        expect(distance(whole(forward, stored.inputIds), stored.logits)).toBeLessThan(TOLERANCE);
      });
    });

    it('has the same logits token by token', () => {
      expectParts(forward, stored, Array(T).fill(1));
    });

    it('has the same logits in parts of several tokens', () => {
      expectParts(forward, stored, [7, 1, 2, T - 10]);
    });

    it('writes the stored tokens, recomputing everything', () => {
      const ids = stored.inputIds.arraySync() as number[][];
      for (let i = 0; i < length; i++) {
        const next = tidy(() => best(whole(forward, tensor(ids, undefined, 'int32'))));
        for (const [row, token] of next.entries()) ids[row].push(token);
      }
      expect(ids.map((row) => row.slice(T))).toEqual(stored.greedy);
    });

    it('writes the stored tokens from its cache and leaves nothing behind', () => {
      const before = memory().numTensors;
      const cache = new Cache();
      let next = tidy(() => best(step(forward, stored.inputIds, cache)));
      const written = next.map((token) => [token]);
      while (written[0].length < length) {
        const ids = next.map((token) => [token]);
        next = tidy(() => best(step(forward, tensor(ids, undefined, 'int32'), cache)));
        for (const [row, token] of next.entries()) written[row].push(token);
      }
      cache.dispose();
      expect(written).toEqual(stored.greedy);
      expect(memory().numTensors).toBe(before);
    });
  });
}
