import { grad, memory, type Tensor, tensor } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import {
  absorbingGraph,
  absorbingRatios,
  type Denoiser,
  type DiffusionGraph,
  maskedDiffusionLoss,
  type NoiseSchedule,
  noiseSchedules,
  scoreEntropyLoss,
  seddSample,
  uniformGraph,
} from '../../../src/models';
import {
  chiSquare,
  empty,
  exact,
  frequencies,
  LIMIT,
  MASK,
  probabilities,
  put,
  quadrature,
  sequences,
  T,
  totalVariation,
} from './world';

const graphs = { absorbing: absorbingGraph(2), uniform: uniformGraph(2) };
const names = ['absorbing', 'uniform'] as const;
const value = (loss: Tensor) => loss.dataSync()[0];
const states = (N: number) =>
  Array.from({ length: N ** T }, (_, n) => [Math.floor(n / (N * N)), Math.floor(n / N) % N, n % N]);

/** `p(noised | clean)` and, over all sequences, `p(noised)`. */
const given = (graph: DiffusionGraph, clean: number[], noised: number[], sigma: number) =>
  noised.reduce((p, to, i) => p * graph.transition(clean[i], to, sigma), 1);
const marginal = (graph: DiffusionGraph, noised: number[], sigma: number) =>
  sequences.reduce((sum, clean, n) => sum + probabilities[n] * given(graph, clean, noised, sigma), 0);

/** The exact log ratios of the noised world. */
function exactRatios(graph: DiffusionGraph): Denoiser {
  const N = graph.size;
  return (ids, sigmas) => {
    const values = ids.dataSync();
    const output = new Float32Array(values.length * N);
    const known = new Map<string, number[]>();
    sigmas.dataSync().forEach((sigma, b) => {
      const row = Array.from(values.subarray(b * T, (b + 1) * T));
      const key = `${row} ${sigma}`;
      const ratios =
        known.get(key) ??
        row.flatMap((_, i) =>
          Array.from({ length: N }, (_, y) =>
            Math.log(marginal(graph, put(row, i, y), sigma) / marginal(graph, row, sigma)),
          ),
        );
      known.set(key, ratios);
      output.set(ratios, b * T * N);
    });
    return tensor(output, [...ids.shape, N]);
  };
}

/** Q as a matrix, column by column what leaves a state, and its exponential by its series: the textbook. */
function exponential(graph: DiffusionGraph, sigma: number): number[][] {
  const N = graph.size;
  const all = Array.from({ length: N }, (_, i) => i);
  const Q = all.map((to) =>
    all.map((from) =>
      to === from
        ? -all.reduce((s, y) => s + (y === from ? 0 : graph.rate(from, y)), 0)
        : graph.rate(from, to),
    ),
  );
  let power = all.map((i) => all.map((j) => +(i === j)));
  const sum = power.map((row) => [...row]);
  for (let n = 1; n < 60; n++) {
    power = power.map((row) => all.map((j) => (row.reduce((s, x, k) => s + x * Q[k][j], 0) * sigma) / n));
    for (const i of all) for (const j of all) sum[i][j] += power[i][j];
  }
  return sum;
}

describe('graphs', () => {
  it.each([absorbingGraph(3), uniformGraph(4)])('are exponentials of their rates', (graph) => {
    for (const sigma of [0, 0.3, 2]) {
      const [matrix, inverse] = [exponential(graph, sigma), exponential(graph, -sigma)];
      const ratios = Float64Array.from([0.3, 1, 2.5, 0.7]);
      const before = graph.staggered(ratios, sigma);
      for (let to = 0; to < graph.size; to++) {
        for (let from = 0; from < graph.size; from++) {
          expect(graph.transition(from, to, sigma)).toBeCloseTo(matrix[to][from], 12);
        }
        expect(before[to]).toBeCloseTo(
          inverse[to].reduce((sum, m, from) => sum + m * ratios[from], 0),
          10,
        );
      }
    }
  });

  it.each([noiseSchedules.logLinear(), noiseSchedules.geometric()])(
    'schedules grow at their rate',
    (noise) => {
      for (const t of [0.1, 0.5, 0.9]) {
        const slope = (noise.sigma(t + 1e-6) - noise.sigma(t - 1e-6)) / 2e-6;
        expect(noise.rate(t) / slope).toBeCloseTo(1, 5);
      }
    },
  );
});

/** Loss by enumeration of the noised sequences and quadrature of the times, plus the KL divergence of the last noise. */
function bound(graph: DiffusionGraph, model: Denoiser, clean: number[], noise: NoiseSchedule): number {
  let total = 0;
  for (const { at, weight } of quadrature(24)) {
    for (const noised of states(graph.size)) {
      const chance = given(graph, clean, noised, noise.sigma(at));
      if (chance === 0) continue;
      const options = { graph, noise, times: [at], noised: [noised] };
      total += weight * chance * value(scoreEntropyLoss(model, [clean], options));
    }
  }
  for (const last of states(graph.size)) {
    const p = given(graph, clean, last, noise.sigma(1));
    if (p > 0) total += p * Math.log(p / marginal(graph, last, noise.sigma(1)));
  }
  return total;
}

describe('scoreEntropyLoss', () => {
  // noise from 0, so that there is no gap at time 0
  const noise: NoiseSchedule = { sigma: (t) => 4 * t * t, rate: (t) => 8 * t };

  it.each(names)('of the exact model is the negative log likelihood (%s)', (name) => {
    for (const n of [0, 1, 4, 7]) {
      const nll = bound(graphs[name], exactRatios(graphs[name]), sequences[n], noise);
      expect(Math.abs(nll + Math.log(probabilities[n]))).toBeLessThan(2e-3);
    }
  });

  it.each(names)('of another model is above it on average (%s)', (name) => {
    const graph = graphs[name];
    const right = exactRatios(graph);
    const off: Denoiser = (ids, sigma) => {
      const ratios = right(ids, sigma);
      return tensor(
        ratios.dataSync().map((x) => x + 0.3),
        ratios.shape,
      );
    };
    const gap = [0, 1, 2, 3, 4, 5, 6, 7].reduce(
      (sum, n) =>
        sum +
        probabilities[n] *
          (bound(graph, off, sequences[n], noise) - bound(graph, right, sequences[n], noise)),
      0,
    );
    expect(gap).toBeGreaterThan(0.05);
  });

  it('of an absorbing graph is that of masked diffusion', () => {
    // equal term by term up to what the ratios of the clean tokens contribute: softmax sums to 1
    const [t, noised] = [0.4, [[MASK, 1, MASK]]];
    const log = noiseSchedules.logLinear(0);
    const score = scoreEntropyLoss(absorbingRatios(exact, 2), [[0, 1, 1]], {
      graph: graphs.absorbing,
      noise: log,
      times: [t],
      noised,
    });
    const masked = maskedDiffusionLoss(exact, [[0, 1, 1]], { maskToken: MASK, times: [t], noised });
    expect(value(score)).toBeCloseTo(T * value(masked), 4);
  });

  it('drawn noise has that expectation', () => {
    const clean = Array.from({ length: 3000 }, () => sequences[3]);
    const graph = graphs.uniform;
    const loss = value(scoreEntropyLoss(exactRatios(graph), clean, { graph, noise, seed: 5, minTime: 0 }));
    const expected = bound(graph, exactRatios(graph), sequences[3], noise);
    const prior = states(2).reduce((sum, last) => {
      const p = given(graph, sequences[3], last, noise.sigma(1));
      return sum + p * Math.log(p / marginal(graph, last, noise.sigma(1)));
    }, 0);
    expect(Math.abs(loss - (expected - prior))).toBeLessThan(0.35);
  });

  it.each(names)('is differentiable, as central differences say (%s)', (name) => {
    const graph = graphs[name];
    const shape = [1, T, graph.size];
    const start = Array.from({ length: T * graph.size }, (_, i) => Math.sin(3 * i));
    const options = { graph, times: [0.5], noised: [[graph.size - 1, 1, 0]] };
    const loss = (logRatios: Tensor) => scoreEntropyLoss(() => logRatios, [[0, 1, 1]], options);
    const gradient = grad(loss)(tensor(start, shape)).dataSync();
    expect(gradient.some((x) => x !== 0)).toBe(true);
    start.forEach((x, i) => {
      const moved = (h: number) => value(loss(tensor(put(start, i, x + h), shape)));
      expect(Math.abs(gradient[i] - (moved(0.01) - moved(-0.01)) / 0.02)).toBeLessThan(1e-3);
    });
  });

  it('of absorbingRatios is differentiable too', () => {
    const start = [0.3, -1, 0.2, 0.7, 0, 0.4];
    const graph = graphs.absorbing;
    const options = { graph, times: [0.5], noised: [[MASK, 1, MASK]] };
    const loss = (logits: Tensor) =>
      scoreEntropyLoss(
        absorbingRatios(() => logits, 2),
        [[0, 1, 1]],
        options,
      );
    const gradient = grad(loss)(tensor(start, [1, T, 2])).dataSync();
    start.forEach((x, i) => {
      const moved = (h: number) => value(loss(tensor(put(start, i, x + h), [1, T, 2])));
      expect(Math.abs(gradient[i] - (moved(0.01) - moved(-0.01)) / 0.02)).toBeLessThan(1e-3);
    });
  });

  it('says what is wrong', () => {
    const graph = graphs.absorbing;
    expect(() => scoreEntropyLoss(exact, [[0, 2]], { graph })).toThrow(
      'scoreEntropyLoss: ids hold 2; expected tokens below 2',
    );
    expect(() => scoreEntropyLoss(exact, [[0, 1, 1]], { graph })).toThrow(
      'scoreEntropyLoss: logRatios has shape [1,3,2]; expected [1, 3, 3]',
    );
  });
});

describe('seddSample', () => {
  const N = 6000;
  const sample = async (name: (typeof names)[number], more: object, model = exactRatios(graphs[name])) => {
    const noise = name === 'uniform' ? noiseSchedules.geometric(1e-4, 6) : noiseSchedules.logLinear();
    const options = { graph: graphs[name], noise, length: T, seed: 3, ...more };
    return frequencies(await seddSample(model, empty(N), options));
  };

  it.each([
    ['absorbing', 'tauLeaping', 64],
    ['absorbing', 'analytic', 32],
    ['uniform', 'tauLeaping', 64],
    ['uniform', 'analytic', 48],
  ] as const)('%s, %s: draws from the model', async (name, predictor, steps) => {
    expect(totalVariation(await sample(name, { predictor, steps }), probabilities)).toBeLessThan(0.03);
  });

  it.each(names)('a wrong sampler is seen (%s)', async (name) => {
    const flat: Denoiser = (ids) =>
      tensor(new Float32Array(ids.size * graphs[name].size), [...ids.shape, graphs[name].size]);
    expect(totalVariation(await sample(name, { steps: 32 }, flat), probabilities)).toBeGreaterThan(0.2);
    expect(totalVariation(await sample(name, { steps: 1 }), probabilities)).toBeGreaterThan(0.1);
  });

  it('one place is exact in few analytic steps', async () => {
    // one token that is 1 with probability 0.3
    for (const name of names) {
      const graph = graphs[name];
      const p = (y: number, sigma: number) =>
        0.7 * graph.transition(0, y, sigma) + 0.3 * graph.transition(1, y, sigma);
      const model: Denoiser = (ids, sigmas) => {
        const [values, at] = [ids.dataSync(), sigmas.dataSync()];
        const logs = Array.from(values, (x, b) =>
          Array.from({ length: graph.size }, (_, y) => Math.log(p(y, at[b]) / p(x, at[b]))),
        );
        return tensor([logs].flatMap((rows) => rows.map((row) => [row])));
      };
      const options = { graph, length: 1, steps: 2, predictor: 'analytic' as const };
      const rows = await seddSample(model, empty(N), {
        ...options,
        noise: noiseSchedules.geometric(1e-4, 12),
      });
      const ones = rows.filter((row) => row[0] === 1).length / N;
      expect(chiSquare([1 - ones, ones], [0.7, 0.3], N)).toBeLessThan(10.9);
    }
  });

  it('a model of masked diffusion is one of ratios', async () => {
    const seen = await sample('absorbing', { predictor: 'analytic' }, absorbingRatios(exact, 2));
    expect(totalVariation(seen, probabilities)).toBeLessThan(0.03);
    expect(chiSquare(seen, probabilities, N)).toBeLessThan(2 * LIMIT);
  });

  it.each(['tauLeaping', 'analytic'] as const)(
    '%s: half of the time leaves its share of masks',
    async (predictor) => {
      const shares: number[] = [];
      const onStep = (rows: readonly Int32Array[]) => {
        const masks = rows.reduce((n, row) => n + row.filter((id) => id === MASK).length, 0);
        shares.push(masks / (rows.length * T));
      };
      const options = { graph: graphs.absorbing, length: T, steps: 40, predictor, seed: 2, onStep };
      await seddSample(absorbingRatios(exact, 2), empty(2000), options);
      expect(Math.abs(shares[19] - 0.5)).toBeLessThan(0.03);
      expect(shares[40]).toBe(0);
    },
  );

  it('keeps the prompt, is the same for the same seed, and leaves nothing behind', async () => {
    const before = memory().numTensors;
    const graph = graphs.absorbing;
    const run = (seed: number) =>
      seddSample(
        absorbingRatios(exact, 2),
        Array.from({ length: 50 }, () => [1]),
        { graph, length: 2, steps: 8, seed },
      );
    const rows = await run(1);
    expect(rows.every((row) => row[0] === 1 && row.every((id) => id < 2))).toBe(true);
    expect(await run(1)).toEqual(rows);
    expect(await run(2)).not.toEqual(rows);
    expect(memory().numTensors).toBe(before);
    const wrong = seddSample(exact, [[]], { graph, length: 3, predictor: 'euler' as 'analytic' });
    await expect(wrong).rejects.toThrow("seddSample: predictor is 'euler'; expected tauLeaping or analytic");
  });
});
