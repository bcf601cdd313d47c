import { cast, grad, memory, type Tensor, tensor } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import {
  type Denoiser,
  maskedDiffusionLoss,
  maskedDiffusionSample,
  maskSchedules,
} from '../../../src/models';
import {
  chiSquare,
  empty,
  exact,
  frequencies,
  LIMIT,
  MASK,
  posterior,
  probabilities,
  put,
  quadrature,
  sequences,
  T,
  table,
  totalVariation,
} from './world';

const N = 20000;
const subsets = Array.from({ length: 1 << T }, (_, bits) => [0, 1, 2].map((i) => (bits >> i) & 1));
const cover = (row: readonly number[], mask: readonly number[]) => row.map((id, i) => (mask[i] ? MASK : id));
const value = (loss: Tensor) => loss.dataSync()[0];

/** The expectation of the loss over times and masks: quadrature over t, enumeration of the masks. */
function expectedLoss(denoiser: Denoiser, row: number[], schedule = maskSchedules.linear): number {
  let total = 0;
  for (const { at, weight } of quadrature(12)) {
    const masked = 1 - schedule.alpha(at);
    for (const mask of subsets) {
      const chance = mask.reduce((p, bit) => p * (bit ? masked : 1 - masked), 1);
      const noised = [cover(row, mask)];
      const options = { maskToken: MASK, schedule, times: [at], noised };
      total += weight * chance * value(maskedDiffusionLoss(denoiser, [row], options));
    }
  }
  return total * T;
}

describe('maskedDiffusionLoss', () => {
  it.each(['linear', 'cosine'] as const)('of the exact model is the negative log likelihood (%s)', (name) => {
    sequences.forEach((row, n) => {
      expect(
        Math.abs(expectedLoss(exact, row, maskSchedules[name]) + Math.log(probabilities[n])),
      ).toBeLessThan(2e-6);
    });
  });

  it('of another model is above it on average', () => {
    const flat: Denoiser = (ids) => table(ids, () => [0.3, -0.2]);
    const mean = (denoiser: Denoiser) =>
      sequences.reduce((sum, row, n) => sum + probabilities[n] * expectedLoss(denoiser, row), 0);
    expect(mean(flat)).toBeGreaterThan(mean(exact) + 0.1);
  });

  it('drawn times and masks have that expectation', () => {
    const ids = Array.from({ length: 4000 }, () => sequences[1]);
    for (const schedule of [maskSchedules.linear, maskSchedules.cosine, maskSchedules.polynomial(2)]) {
      const loss = value(
        maskedDiffusionLoss(exact, ids, { maskToken: MASK, schedule, seed: 7, minTime: 1e-5 }),
      );
      expect(Math.abs(loss * T + Math.log(probabilities[1]))).toBeLessThan(0.15);
    }
  });

  it('counts each masked token once without weights, never a prompt', () => {
    const options = {
      maskToken: MASK,
      times: [0.25, 0.25],
      noised: [
        [0, MASK, 1],
        [MASK, 1, MASK],
      ],
    };
    const half: Denoiser = (ids) => table(ids, () => [0, 0]);
    const ids = [
      [0, 0, 1],
      [1, 1, 0],
    ];
    expect(value(maskedDiffusionLoss(half, ids, { ...options, weighting: 'none' }))).toBeCloseTo(
      (3 * Math.LN2) / 6,
      6,
    );
    expect(value(maskedDiffusionLoss(half, ids, options))).toBeCloseTo((4 * 3 * Math.LN2) / 6, 6);
    let seen: number[][] = [];
    const spy: Denoiser = (noised) => {
      seen = noised.arraySync() as number[][];
      return half(noised, noised);
    };
    maskedDiffusionLoss(spy, ids, { maskToken: MASK, times: [1, 1], promptLengths: [1, 2] });
    expect(seen).toEqual([
      [0, MASK, MASK],
      [1, 1, MASK],
    ]);
  });

  it('leaves the mask out and looks one place back when shifted', () => {
    const biased: Denoiser = (ids) => table(ids, (_, i) => [Math.log(i + 1), 0, 50]);
    const options = { maskToken: MASK, times: [1], noised: [[MASK, MASK, MASK]] };
    const nll = (rows: number[]) => rows.reduce((sum, i) => sum - Math.log((i + 1) / (i + 2)), 0) / T;
    expect(value(maskedDiffusionLoss(biased, [[0, 0, 0]], options))).toBeCloseTo(nll([0, 1, 2]), 6);
    expect(value(maskedDiffusionLoss(biased, [[0, 0, 0]], { ...options, shift: true }))).toBeCloseTo(
      nll([0, 0, 1]),
      6,
    );
  });

  it('is differentiable with tfjs-core alone, as central differences say', () => {
    const start = [0.3, -1, 0.2, 0.7, 0, 0.4, -0.2, 0.1, 2];
    const options = { maskToken: MASK, times: [0.5], noised: [[MASK, 1, MASK]] };
    const loss = (logits: Tensor) => maskedDiffusionLoss(() => logits, [[0, 1, 1]], options);
    const gradient = grad(loss)(tensor(start, [1, T, 3])).dataSync();
    start.forEach((x, i) => {
      const moved = (h: number) => value(loss(tensor(put(start, i, x + h), [1, T, 3])));
      expect(Math.abs(gradient[i] - (moved(0.01) - moved(-0.01)) / 0.02)).toBeLessThan(1e-4);
    });
  });

  it('is the same for the same seed and leaves nothing behind', () => {
    const before = memory().numTensors;
    const of = (seed: number) => {
      const loss = maskedDiffusionLoss(exact, sequences, { maskToken: MASK, seed });
      const number = value(loss);
      loss.dispose();
      return number;
    };
    expect(of(3)).toBe(of(3));
    expect(of(3)).not.toBe(of(4));
    expect(memory().numTensors).toBe(before);
  });

  it('says what is wrong', () => {
    const loss = (ids: number[][], options = {}) =>
      maskedDiffusionLoss(exact, ids, { maskToken: MASK, ...options });
    expect(() => loss([[0, MASK, 1]])).toThrow(
      'maskedDiffusionLoss: ids hold maskToken = 2; expected clean tokens',
    );
    expect(() => loss([[0, 1], [1]])).toThrow(
      'maskedDiffusionLoss: ids has rows of 2 and 1 tokens; expected one length',
    );
    expect(() => loss([[0, 1, 1]], { times: [2] })).toThrow(
      'maskedDiffusionLoss: times is 2; expected a number from 0 to 1',
    );
    expect(() => loss([[0, 1, 1]], { promptLengths: [4] })).toThrow(
      'maskedDiffusionLoss: promptLengths is [4]; expected B = 1 lengths from 0 to T = 3',
    );
    expect(() => loss([[0, 1, 1]], { noised: [[0, 1]] })).toThrow(
      'maskedDiffusionLoss: noised has shape [1,2]; expected [1,3] as ids',
    );
  });
});

/** The distribution of the sampler that keeps its most confident token, by enumeration of all it can draw. */
function confidentSampler(): number[] {
  const reached = probabilities.map(() => 0);
  const visit = (ids: number[], chance: number) => {
    const places = [0, 1, 2].filter((i) => ids[i] === MASK);
    if (places.length === 0) {
      reached[ids[0] * 4 + ids[1] * 2 + ids[2]] += chance;
      return;
    }
    for (let bits = 0; bits < 1 << places.length; bits++) {
      const drawn = places.map((i, n) => {
        const token = (bits >> n) & 1;
        return { i, token, p: posterior(ids, i, token) };
      });
      const best = drawn.reduce((a, b) => (b.p > a.p ? b : a));
      visit(
        put(ids, best.i, best.token),
        drawn.reduce((product, { p }) => product * p, chance),
      );
    }
  };
  visit([MASK, MASK, MASK], 1);
  return reached;
}

describe('maskedDiffusionSample', () => {
  const options = { maskToken: MASK, length: T, temperature: 1, seed: 11 };
  const sample = async (more: object, n = N) =>
    frequencies(await maskedDiffusionSample(exact, empty(n), { ...options, ...more }));

  it('one token at a time in random order draws from the model', async () => {
    expect(chiSquare(await sample({ remasking: 'random' }), probabilities, N)).toBeLessThan(LIMIT);
    expect(chiSquare(await sample({ remasking: 'random', blockLength: 1 }), probabilities, N)).toBeLessThan(
      LIMIT,
    );
  });

  it('all tokens at once are independent, and a wrong sampler is seen', async () => {
    const marginal = [0, 1, 2].map((i) => posterior([MASK, MASK, MASK], i, 1));
    const independent = sequences.map((row) =>
      row.reduce((p, v, i) => p * (v ? marginal[i] : 1 - marginal[i]), 1),
    );
    const seen = await sample({ remasking: 'random', steps: 1 });
    expect(chiSquare(seen, independent, N)).toBeLessThan(LIMIT);
    expect(chiSquare(seen, probabilities, N)).toBeGreaterThan(50 * LIMIT);
  });

  it('confident tokens first is another distribution, and the right one', async () => {
    const expected = confidentSampler();
    const seen = await sample({ remasking: 'lowConfidence' });
    expect(chiSquare(seen, expected, N)).toBeLessThan(LIMIT);
    expect(chiSquare(seen, probabilities, N)).toBeGreaterThan(5 * LIMIT);
  });

  it.each(['linear', 'cosine'] as const)(
    'ancestral sampling comes to the model with more steps (%s)',
    async (name) => {
      const distance = async (steps: number) =>
        totalVariation(
          await sample({ remasking: 'ancestral', steps, schedule: maskSchedules[name] }, 8000),
          probabilities,
        );
      const [two, many] = [await distance(2), await distance(40)];
      expect(two).toBeGreaterThan(0.05);
      expect(many).toBeLessThan(0.025);
    },
  );

  it('fills in what a prompt lacks, and goes on from it', async () => {
    const rows = await maskedDiffusionSample(
      exact,
      Array.from({ length: N }, () => [MASK, 1]),
      { ...options, length: 1, steps: 2, remasking: 'random' },
    );
    const expected = probabilities.map((p, n) => (sequences[n][1] === 1 ? p : 0));
    const total = expected.reduce((a, b) => a + b);
    const conditional = expected.map((p) => p / total);
    expect(totalVariation(frequencies(rows), conditional)).toBeLessThan(0.012);
  });

  it('blocks are written in order, one at a time', async () => {
    const masks: string[] = [];
    const onStep = (rows: readonly Int32Array[]) =>
      masks.push(Array.from(rows[0], (id) => +(id === 9)).join(''));
    const model: Denoiser = (ids) => table(ids, () => [0, 1, 2]);
    await maskedDiffusionSample(model, [[1]], { maskToken: 9, length: 4, blockLength: 2, steps: 4, onStep });
    expect(masks.map((mask) => mask.slice(0, 3))).toEqual([expect.any(String), '000', '000', '000']);
    expect(masks[1]).toBe('00011');
    expect(masks[3]).toBe('00000');
  });

  it('keeps an even share of the tokens at each step', async () => {
    const left: number[] = [];
    const onStep = ([row]: readonly Int32Array[]) => left.push(row.filter((id) => id === 9).length);
    const model: Denoiser = (ids) => table(ids, () => [0, 1, 2]);
    await maskedDiffusionSample(model, [[]], { maskToken: 9, length: 8, steps: 3, onStep });
    expect(left).toEqual([5, 2, 0]);
  });

  it('takes the places in the order of margin and entropy', async () => {
    // probabilities of three symbols at three places: the margins order them 1 0 2, the entropies 0 1 2
    const at = [
      [0.58, 0.42, 1e-9],
      [0.55, 0.225, 0.225],
      [0.34, 0.33, 0.33],
    ];
    const model: Denoiser = (ids) => table(ids, (_, i) => at[i].map(Math.log));
    const order = async (remasking: 'margin' | 'entropy' | 'lowConfidence') => {
      const places: number[] = [];
      const onStep = ([row]: readonly Int32Array[]) => {
        for (const i of [0, 1, 2]) if (row[i] !== 9 && !places.includes(i)) places.push(i);
      };
      await maskedDiffusionSample(model, [[]], { maskToken: 9, length: 3, remasking, onStep });
      return places;
    };
    expect(await order('margin')).toEqual([1, 0, 2]);
    expect(await order('entropy')).toEqual([0, 1, 2]);
    expect(await order('lowConfidence')).toEqual([0, 1, 2]);
  });

  it('guidance sharpens what the prompt says', async () => {
    const prompt = Array.from({ length: N }, () => [1]);
    const more = { ...options, length: 2, remasking: 'random' as const, cfgScale: 0.7 };
    const rows = await maskedDiffusionSample(exact, prompt, more);
    const share = (i: number, given: number[]) => {
      const logit = (row: number[]) => Math.log(posterior(row, i, 1) / posterior(row, i, 0));
      const [with_, without] = [logit(given), logit(put(given, 0, MASK))];
      return 1 / (1 + Math.exp(-(without + 1.7 * (with_ - without))));
    };
    // either place comes first half of the time
    const expected = probabilities.map(() => 0);
    for (const [a, b] of [
      [1, 2],
      [2, 1],
    ]) {
      for (const bits of [0, 1, 2, 3]) {
        const [va, vb] = [bits & 1, bits >> 1];
        const first = share(a, [1, MASK, MASK]);
        const second = share(b, put([1, MASK, MASK], a, va));
        const row = put(put([1, 0, 0], a, va), b, vb);
        expected[row[0] * 4 + row[1] * 2 + row[2]] +=
          0.5 * (va ? first : 1 - first) * (vb ? second : 1 - second);
      }
    }
    expect(totalVariation(frequencies(rows), expected)).toBeLessThan(0.012);
  });

  it('is greedy by default, the same for the same seed, and never draws the mask', async () => {
    const model: Denoiser = (ids) => table(ids, () => [0, 0.1, 99]);
    expect(await maskedDiffusionSample(model, [[]], { maskToken: 2, length: 3 })).toEqual([
      Int32Array.of(1, 1, 1),
    ]);
    const drawn = (seed: number) => maskedDiffusionSample(exact, empty(40), { ...options, seed });
    expect(await drawn(1)).toEqual(await drawn(1));
    expect(await drawn(1)).not.toEqual(await drawn(2));
  });

  it('shifted, a place is told by the one before', async () => {
    const model: Denoiser = (ids) => table(ids, (_, i) => (i === 0 ? [0, 9] : [9, 0]));
    const rows = await maskedDiffusionSample(model, [[0]], { maskToken: 2, length: 2, shift: true });
    expect(rows).toEqual([Int32Array.of(0, 1, 0)]);
  });

  it('can be aborted, leaves nothing behind, and says what is wrong', async () => {
    const before = memory().numTensors;
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(maskedDiffusionSample(exact, [[]], { ...options, signal })).rejects.toThrow('enough');
    await maskedDiffusionSample(exact, [[]], options);
    expect(memory().numTensors).toBe(before);
    const wrong = (more: object) =>
      expect(maskedDiffusionSample(exact, [[]], { ...options, ...more })).rejects;
    await wrong({ blockLength: 2 }).toThrow(
      'maskedDiffusionSample: blockLength is 2; expected a divisor of length = 3',
    );
    await wrong({ blockLength: 1, steps: 4 }).toThrow(
      'maskedDiffusionSample: steps is 4; expected a multiple of the 3 blocks',
    );
    await wrong({ remasking: 'none' }).toThrow(
      "maskedDiffusionSample: remasking is 'none'; expected one of lowC",
    );
    await wrong({ temperature: -1 }).toThrow(
      'maskedDiffusionSample: temperature is -1; expected a number from 0',
    );
    await expect(maskedDiffusionSample((ids) => cast(ids, 'float32'), [[]], options)).rejects.toThrow(
      'maskedDiffusionSample: logits has shape [1,3]; expected [1, 3, V]',
    );
  });
});
