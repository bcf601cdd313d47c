import { type Tensor, tensor } from '@tensorflow/tfjs-core';
import type { Denoiser } from '../../../src/models';

/** Three tokens of two symbols, with a probability for each of the eight sequences; 2 is the mask. */
export const MASK = 2;
export const T = 3;
export const probabilities = [0.28, 0.02, 0.05, 0.15, 0.03, 0.07, 0.1, 0.3];
export const sequences = probabilities.map((_, i) => [(i >> 2) & 1, (i >> 1) & 1, i & 1]);
export const indexOf = (row: ArrayLike<number>) => row[0] * 4 + row[1] * 2 + row[2];

/** `p(token i = v | the tokens that are not masked)`, by enumeration. */
function enumerate(ids: ArrayLike<number>, i: number, v: number): number {
  let [all, those] = [0, 0];
  sequences.forEach((sequence, n) => {
    if (!sequence.every((token, at) => ids[at] === MASK || ids[at] === token || at === i)) return;
    all += probabilities[n];
    if (sequence[i] === v) those += probabilities[n];
  });
  return those / all;
}

const code = (ids: ArrayLike<number>, at = 0) => ids[at] * 9 + ids[at + 1] * 3 + ids[at + 2];
const posteriors = Array.from({ length: 27 }, (_, n) => [
  Math.floor(n / 9),
  Math.floor(n / 3) % 3,
  n % 3,
]).map((ids) => ids.map((_, i) => [0, 1].map((v) => enumerate(ids, i, v))));
export const posterior = (ids: ArrayLike<number>, i: number, v: number) => posteriors[code(ids)][i][v];

/** The exact model: log posteriors of the two symbols. */
export const exact: Denoiser = (ids) => {
  const values = ids.dataSync();
  const logits = new Float32Array(values.length * 2);
  for (let at = 0; at < values.length; at += T) {
    logits.set(posteriors[code(values, at)].flat().map(Math.log), at * 2);
  }
  return tensor(logits, [...ids.shape, 2]);
};

/** A row with another token at one place. */
export const put = (row: readonly number[], i: number, v: number) => row.map((id, at) => (at === i ? v : id));

/** A model from what it says at each place. */
export function table(ids: Tensor, say: (row: ArrayLike<number>, i: number) => number[]): Tensor {
  const rows = ids.arraySync() as number[][];
  return tensor(rows.map((row) => row.map((_, i) => say(row, i))));
}

export const empty = (n: number) => Array.from({ length: n }, () => [] as number[]);

/** How often each sequence came. */
export function frequencies(rows: readonly ArrayLike<number>[]): number[] {
  const counts = probabilities.map(() => 0);
  for (const row of rows) counts[indexOf(row)]++;
  return counts.map((count) => count / rows.length);
}

export function totalVariation(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, p, i) => sum + Math.abs(p - b[i]), 0) / 2;
}

/** Pearson's statistic of `n` draws; above 24.3 it has probability 0.001 with 7 degrees of freedom. */
export function chiSquare(seen: readonly number[], expected: readonly number[], n: number): number {
  return seen.reduce((sum, p, i) => sum + (n * (p - expected[i]) ** 2) / expected[i], 0);
}
export const LIMIT = 24.3;

/** Nodes and weights of Gauss-Legendre quadrature on [0, 1], by Newton's method on the polynomial. */
export function quadrature(n: number): { at: number; weight: number }[] {
  return Array.from({ length: n }, (_, i) => {
    let x = Math.cos((Math.PI * (i + 0.75)) / (n + 0.5));
    let slope = 0;
    for (let step = 0; step < 50; step++) {
      let [p0, p1] = [1, x];
      for (let k = 2; k <= n; k++) [p0, p1] = [p1, ((2 * k - 1) * x * p1 - (k - 1) * p0) / k];
      slope = (n * (x * p1 - p0)) / (x * x - 1);
      x -= p1 / slope;
    }
    return { at: (x + 1) / 2, weight: 1 / ((1 - x * x) * slope * slope) };
  });
}
