import { grads, memory, type Tensor, tensor, tensor2d } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import {
  diffusionLmLoss,
  diffusionLmSample,
  type EmbeddingDenoiser,
  gaussianSchedules,
  plaidLoss,
  roundToEmbeddings,
} from '../../../src/models';
import { project } from '../../../src/models/diffusion/differentiable';
import { empty, frequencies, probabilities, put, sequences, T, totalVariation } from './world';

const value = (loss: Tensor) => loss.dataSync()[0];
/** The two symbols as numbers. */
const E = [-1, 1];
const embeddings = tensor2d(E, [2, 1]);

/** Weights of the eight sequences given `x = scale e + deviation noise`. */
function posteriors(
  x: ArrayLike<number>,
  begin: number,
  scale: number,
  variance: number,
  known: readonly number[] = [],
): number[] {
  const logs = sequences.map((row, n) =>
    row.reduce((sum, v, i) => {
      if (i < known.length) return v === known[i] ? sum : Number.NEGATIVE_INFINITY;
      return sum - (x[begin + i] - scale * E[v]) ** 2 / (2 * variance);
    }, Math.log(probabilities[n])),
  );
  const max = Math.max(...logs);
  const weights = logs.map((log) => Math.exp(log - max));
  const total = weights.reduce((a, b) => a + b);
  return weights.map((w) => w / total);
}

/** The exact mean of what was noised. */
const exactMean =
  (schedule: Float64Array): EmbeddingDenoiser =>
  (x, time) => {
    const [values, times] = [x.dataSync(), time.dataSync()];
    const output = new Float32Array(values.length);
    for (let b = 0; b * T < values.length; b++) {
      const share = schedule[times[b]];
      posteriors(values, b * T, Math.sqrt(share), 1 - share).forEach((p, n) => {
        for (let i = 0; i < T; i++) output[b * T + i] += p * E[sequences[n][i]];
      });
    }
    return tensor(output, x.shape);
  };

/** Gradients against central differences, within what float32 leaves of them. */
function checkGradients(
  loss: (a: Tensor, b: Tensor) => Tensor,
  ...given: [a: number[], shapeA: number[], b: number[], shapeB: number[]]
): void {
  const [a, shapeA, b, shapeB] = given;
  const [da, db] = grads(loss)([tensor(a, shapeA), tensor(b, shapeB)]).map((g) => g.dataSync());
  const at = (x: number[], y: number[]) => value(loss(tensor(x, shapeA), tensor(y, shapeB)));
  const h = 0.01;
  a.forEach((x, i) => {
    const slope = (at(put(a, i, x + h), b) - at(put(a, i, x - h), b)) / (2 * h);
    expect(Math.abs(da[i] - slope)).toBeLessThan(2e-3 * Math.max(1, Math.abs(slope)));
  });
  b.forEach((x, i) => {
    const slope = (at(a, put(b, i, x + h)) - at(a, put(b, i, x - h))) / (2 * h);
    expect(Math.abs(db[i] - slope)).toBeLessThan(2e-3 * Math.max(1, Math.abs(slope)));
  });
}

describe('gaussianSchedules', () => {
  it.each(['sqrt', 'cosine', 'linear'] as const)('%s goes from all signal to none', (name) => {
    const schedule = gaussianSchedules[name](1000);
    expect(schedule.every((share, i) => share > 0 && share < (i === 0 ? 1 : schedule[i - 1]))).toBe(true);
    expect(schedule[0]).toBeGreaterThan(0.95);
    expect(schedule[999]).toBeLessThan(1e-3);
  });

  it('sqrt is 1 - sqrt(t / T + 1e-4), relative to its beginning', () => {
    const schedule = gaussianSchedules.sqrt(2000);
    expect(schedule[499]).toBeCloseTo((1 - Math.sqrt(0.25 + 1e-4)) / (1 - 0.01), 10);
  });
});

describe('diffusionLmLoss', () => {
  const schedule = gaussianSchedules.sqrt(200);

  it('shows the model the noise of the step', () => {
    const B = 4000;
    for (const t of [0, 60, 199]) {
      let seen: ArrayLike<number> = [];
      const spy: EmbeddingDenoiser = (x, time) => {
        expect(time.dataSync()[0]).toBe(t);
        seen = x.dataSync();
        return x;
      };
      const ids = Array.from({ length: B }, () => [0, 1]);
      diffusionLmLoss(spy, ids, embeddings, { schedule, times: new Array(B).fill(t) });
      for (const i of [0, 1]) {
        const own = Array.from({ length: B }, (_, b) => seen[2 * b + i]);
        const mean = own.reduce((a, b) => a + b) / B;
        const variance = own.reduce((a, x) => a + (x - mean) ** 2, 0) / B;
        // x_0 has the noise of the first step already
        const expected = schedule[t] * (1 - schedule[0]) + 1 - schedule[t];
        expect(Math.abs(mean - Math.sqrt(schedule[t]) * E[i])).toBeLessThan(0.06);
        expect(Math.abs(variance / expected - 1)).toBeLessThan(0.1);
      }
    }
  });

  it('is the sum of its three terms', () => {
    // hardly any noise at the first step, so that x_0 is the embedding
    const sharp = Float64Array.of(1 - 1e-12, 0.5, 0.25);
    const ids = [
      [0, 1, 1],
      [1, 0, 0],
    ];
    const off: EmbeddingDenoiser = (x) =>
      tensor(
        ids.flat().map((id, i) => E[id] + 0.1 * i),
        x.shape,
      );
    const rounding = Math.log(1 + Math.exp(-2));
    for (const times of [
      [1, 2],
      [0, 0],
    ]) {
      const loss = diffusionLmLoss(off, ids, embeddings, { schedule: sharp, times });
      const squares = [0, 1, 2, 3, 4, 5].reduce((sum, i) => sum + (0.1 * i) ** 2, 0) / 6;
      expect(value(loss)).toBeCloseTo(squares + 0.25 + rounding, 5);
    }
    const partial = diffusionLmLoss(off, ids, embeddings, {
      schedule: sharp,
      times: [1, 2],
      sourceLengths: [2, 1],
    });
    expect(value(partial)).toBeCloseTo((0.2 ** 2 + (0.4 ** 2 + 0.5 ** 2) / 2) / 2 + 0.25 + rounding, 5);
  });

  it('leaves the source of a sequence as it is', () => {
    let seen: number[][][] = [];
    const spy: EmbeddingDenoiser = (x) => {
      seen = x.arraySync() as number[][][];
      return x;
    };
    const sharp = Float64Array.of(1 - 1e-14, 0.2);
    diffusionLmLoss(spy, [[0, 1, 1]], embeddings, {
      schedule: sharp,
      times: [1],
      sourceLengths: [2],
      seed: 1,
    });
    expect(seen[0][0][0]).toBeCloseTo(-1, 5);
    expect(seen[0][1][0]).toBeCloseTo(1, 5);
    expect(Math.abs(seen[0][2][0] - 1)).toBeGreaterThan(0.05);
  });

  it('the exact mean has the least loss', () => {
    const ids = Array.from({ length: 800 }, (_, n) => sequences[n % 2 === 0 ? 0 : 7]);
    const loss = (f: EmbeddingDenoiser) => value(diffusionLmLoss(f, ids, embeddings, { schedule, seed: 2 }));
    const mean = exactMean(schedule);
    expect(loss(mean)).toBeLessThan(loss((x) => x));
    const moved: EmbeddingDenoiser = (x, t) =>
      tensor(
        mean(x, t)
          .dataSync()
          .map((v) => v * 0.5),
        x.shape,
      );
    expect(loss(mean)).toBeLessThan(loss(moved));
  });

  it('is differentiable in the embeddings and the model, with tfjs-core alone', () => {
    const table = [0.4, -0.3, 0.8, 0.1, -0.9, 0.5];
    const weight = [0.7, -0.2, 0.4, 0.9];
    const ids = [
      [0, 2, 1],
      [1, 1, 0],
    ];
    const options = { schedule, times: [0, 90], seed: 3, sourceLengths: [1, 0] };
    const loss = (e: Tensor, w: Tensor) => diffusionLmLoss((x) => project(x, w), ids, e, options);
    checkGradients(loss, table, [3, 2], weight, [1, 2, 2]);
  });

  it('says what is wrong', () => {
    const same: EmbeddingDenoiser = (x) => x;
    expect(() => diffusionLmLoss(same, [[0, 2]], embeddings)).toThrow(
      'diffusionLmLoss: ids hold 2; expected tokens below V = 2',
    );
    expect(() => diffusionLmLoss(same, [[0, 1]], embeddings, { schedule, times: [200] })).toThrow(
      'diffusionLmLoss: times is [200]; expected B = 1 steps from 0 to 199',
    );
  });
});

describe('diffusionLmSample', () => {
  const schedule = gaussianSchedules.sqrt(200);
  const N = 3000;

  it('draws from the model', async () => {
    const options = { schedule, length: T, seed: 1, steps: 100 };
    const rows = await diffusionLmSample(exactMean(schedule), empty(N), embeddings, options);
    expect(totalVariation(frequencies(rows), probabilities)).toBeLessThan(0.04);
  });

  it('a wrong sampler is seen', async () => {
    const independent: EmbeddingDenoiser = (x, time) => {
      const [values, times] = [x.dataSync(), time.dataSync()];
      const p1 = [0, 1, 2].map((i) => sequences.reduce((s, row, n) => s + row[i] * probabilities[n], 0));
      const output = Float32Array.from(values, (v, at) => {
        const share = schedule[times[Math.floor(at / T)]];
        const odds = (p1[at % T] / (1 - p1[at % T])) * Math.exp((2 * Math.sqrt(share) * v) / (1 - share));
        return odds === Number.POSITIVE_INFINITY ? 1 : (odds - 1) / (odds + 1);
      });
      return tensor(output, x.shape);
    };
    const rows = await diffusionLmSample(independent, empty(N), embeddings, {
      schedule,
      length: T,
      steps: 50,
    });
    expect(totalVariation(frequencies(rows), probabilities)).toBeGreaterThan(0.2);
  });

  it('a source stays and conditions what is written', async () => {
    const source = Array.from({ length: N }, () => [1]);
    let anchored = true;
    const exact: EmbeddingDenoiser = (x, time) => {
      const [values, times] = [x.dataSync(), time.dataSync()];
      const output = new Float32Array(values.length);
      for (let b = 0; b < N; b++) {
        const share = schedule[times[b]];
        anchored &&= values[b * T] === 1;
        posteriors(values, b * T, Math.sqrt(share), 1 - share, [1]).forEach((p, n) => {
          for (let i = 0; i < T; i++) output[b * T + i] += p * E[sequences[n][i]];
        });
      }
      return tensor(output, x.shape);
    };
    const rows = await diffusionLmSample(exact, source, embeddings, { schedule, length: 2, steps: 100 });
    expect(anchored).toBe(true);
    const total = probabilities.slice(4).reduce((a, b) => a + b);
    const expected = probabilities.map((p, n) => (n < 4 ? 0 : p / total));
    expect(totalVariation(frequencies(rows), expected)).toBeLessThan(0.06);
  });

  it('clamped, the model sees nothing but what embeddings make', async () => {
    // without noise left the mean of the last step is the rounded prediction itself
    const half: EmbeddingDenoiser = (x) => tensor(new Float32Array(x.size).fill(0.1), x.shape);
    const last: number[][] = [];
    const spy = (clamp: boolean) => {
      const two: EmbeddingDenoiser = (x, time) => {
        if (time.dataSync()[0] === 0) last.push(Array.from(x.dataSync()));
        return half(x, time);
      };
      return diffusionLmSample(two, empty(200), embeddings, {
        schedule: Float64Array.of(0.9999, 0.3),
        length: 1,
        clamp,
      });
    };
    await spy(false);
    await spy(true);
    const mean = last.map((row) => row.reduce((a, b) => a + b) / row.length);
    expect(Math.abs(mean[0] - 0.1)).toBeLessThan(0.1);
    expect(Math.abs(mean[1] - 1)).toBeLessThan(0.1);
  });

  it('is the same for the same seed, and leaves nothing behind', async () => {
    const before = memory().numTensors;
    const run = (seed: number) =>
      diffusionLmSample(exactMean(schedule), empty(30), embeddings, { schedule, length: T, steps: 10, seed });
    expect(await run(1)).toEqual(await run(1));
    expect(await run(1)).not.toEqual(await run(2));
    expect(memory().numTensors).toBe(before);
    await expect(
      diffusionLmSample(exactMean(schedule), [[]], embeddings, { schedule, length: 1, steps: 201 }),
    ).rejects.toThrow('diffusionLmSample: steps is 201; expected at most 200 as of the schedule');
  });

  it('rounds to the nearest, the first of equals', () => {
    const table = tensor2d([0, 0, 2, 0, 0, 2], [3, 2]);
    const x = tensor([
      [
        [0.9, 0.2],
        [1, 0],
        [1, 1.5],
      ],
    ]);
    expect(roundToEmbeddings(x, table)).toEqual([Int32Array.of(0, 0, 2)]);
  });
});

describe('plaidLoss', () => {
  const sigmoid = (g: number) => 1 / (1 + Math.exp(-g));
  const exactLogits: EmbeddingDenoiser = (z, gamma) => {
    const [values, gammas] = [z.dataSync(), gamma.dataSync()];
    const output = new Float32Array(values.length * 2);
    for (let b = 0; b * T < values.length; b++) {
      const weights = posteriors(values, b * T, Math.sqrt(sigmoid(-gammas[b])), sigmoid(gammas[b]));
      for (let i = 0; i < T; i++) {
        for (const v of [0, 1]) {
          const p = weights.reduce((sum, w, n) => sum + (sequences[n][i] === v ? w : 0), 0);
          output[(b * T + i) * 2 + v] = Math.log(Math.max(p, 1e-30));
        }
      }
    }
    return tensor(output, [...z.shape.slice(0, 2), 2]);
  };

  it.each([0, 1, 5, 7])('of the exact model is the negative log likelihood (%i)', (n) => {
    const ids = Array.from({ length: 6000 }, () => sequences[n]);
    const loss = plaidLoss(exactLogits, ids, embeddings, { gamma: [-5, 6], seed: 4 });
    expect(Math.abs(value(loss) * T + Math.log(probabilities[n]))).toBeLessThan(0.12);
  });

  it('is differentiable in the embeddings and the model, with tfjs-core alone', () => {
    const ids = [
      [0, 2, 1],
      [1, 1, 0],
    ];
    const options = { times: [0.2, 0.7], seed: 3, gamma: [-1, 2] as const };
    const loss = (e: Tensor, w: Tensor) => plaidLoss((z) => project(z, w), ids, e, options);
    checkGradients(
      loss,
      [0.4, -0.3, 0.8, 0.1, -0.9, 0.5],
      [3, 2],
      [0.7, -0.2, 0.4, 0.9, -0.5, 0.3],
      [1, 2, 3],
    );
  });

  it('says what is wrong', () => {
    expect(() => plaidLoss(exactLogits, [[0, 1, 1]], embeddings, { gamma: [2, 1] })).toThrow(
      'plaidLoss: gamma is [2,1]; expected ascending numbers',
    );
  });
});
