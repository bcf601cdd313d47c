import { memory, slice, type Tensor, tensor, tidy, train, variableGrads } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import {
  annealedMask,
  type BlockDiffusionModel,
  type BlockReader,
  blockDiffusionLoss,
  blockDiffusionSample,
  DiffusionTransformer,
  maskedDiffusionLoss,
  maskedDiffusionSample,
} from '../../../src/models';
import { uniform } from '../../../src/random';
import {
  chiSquare,
  empty,
  exact,
  frequencies,
  LIMIT,
  MASK,
  posterior,
  probabilities,
  quadrature,
  sequences,
  T,
  table,
} from './world';

const value = (loss: Tensor) => loss.dataSync()[0];

/** The exact model: a noised token given its own block and the clean ones before it. */
const exactBlocks =
  (block: number): BlockDiffusionModel =>
  (ids) =>
    table(ids, (row, i) => {
      const begin = Math.floor((i % T) / block) * block;
      const seen = [0, 1, 2].map((t) => (t < begin ? row[T + t] : t < begin + block ? row[t] : MASK));
      return [0, 1].map((v) => Math.log(posterior(seen, i % T, v)));
    });

/** The exact model that reads block by block. */
function exactReader(n: number): BlockReader & { reads: number[] } {
  const read = Array.from({ length: n }, () => [] as number[]);
  const reads: number[] = [];
  return {
    reads,
    predict: (ids) => {
      const rows = ids.arraySync() as number[][];
      const seen = rows.map((row, b) => [...read[b], ...row, MASK, MASK, MASK].slice(0, T));
      const begin = read[0].length;
      const logits = exact(tensor(seen, undefined, 'int32'), tensor(0));
      return slice(logits, [0, begin, 0], [n, rows[0].length, 2]);
    },
    read: (ids) => {
      const rows = ids.arraySync() as number[][];
      reads.push(rows[0].length);
      rows.forEach((row, b) => {
        read[b].push(...row);
      });
    },
  };
}

describe('blockDiffusionLoss', () => {
  it.each([1, 2, 3])('of the exact model is the negative log likelihood (blocks of %i)', (blockLength) => {
    sequences.forEach((row, n) => {
      let total = 0;
      for (const { at, weight } of quadrature(8)) {
        for (let bits = 0; bits < 8; bits++) {
          const mask = [0, 1, 2].map((i) => (bits >> i) & 1);
          const chance = mask.reduce((p, bit) => p * (bit ? at : 1 - at), 1);
          const times = [new Array(Math.ceil(T / blockLength)).fill(at)];
          const noised = [row.map((id, i) => (mask[i] ? MASK : id))];
          const options = { maskToken: MASK, blockLength, times, noised };
          total += weight * chance * T * value(blockDiffusionLoss(exactBlocks(blockLength), [row], options));
        }
      }
      expect(Math.abs(total + Math.log(probabilities[n]))).toBeLessThan(2e-6);
    });
  });

  it('of one block is that of masked diffusion; drawn noise has the right expectation', () => {
    const noised = [[MASK, 0, MASK]];
    const shared = { maskToken: MASK, noised };
    const blocks = blockDiffusionLoss(exactBlocks(3), [[1, 0, 0]], {
      ...shared,
      blockLength: 3,
      times: [[0.3]],
    });
    const masked = maskedDiffusionLoss(exact, [[1, 0, 0]], { ...shared, times: [0.3] });
    expect(value(blocks)).toBeCloseTo(value(masked), 6);
    const many = Array.from({ length: 3000 }, () => sequences[5]);
    const drawn = blockDiffusionLoss(exactBlocks(2), many, { maskToken: MASK, blockLength: 2, seed: 1 });
    expect(Math.abs(value(drawn) * T + Math.log(probabilities[5]))).toBeLessThan(0.3);
  });

  it('says what is wrong', () => {
    const loss = (more: object) =>
      blockDiffusionLoss(exactBlocks(2), [[0, 1, 1]], { maskToken: MASK, blockLength: 2, ...more });
    expect(() => loss({ blockLength: 0 })).toThrow(
      'blockDiffusionLoss: blockLength is 0; expected an integer of at least 1',
    );
    expect(() => loss({ times: [[0.5]] })).toThrow(
      'blockDiffusionLoss: times has not [B, blocks] = [1,2] numbers',
    );
    expect(() => loss({ timeRange: [0.5, 0.2] })).toThrow(
      'blockDiffusionLoss: timeRange is 0.5; expected a number from 0 to 0.2',
    );
    expect(() => loss({ maskToken: 1 })).toThrow(
      'blockDiffusionLoss: ids hold maskToken = 1; expected clean tokens',
    );
  });
});

describe('blockDiffusionSample', () => {
  const N = 12000;
  const options = { maskToken: MASK, length: T, temperature: 1, seed: 5 };

  it.each([1, 2, 3])(
    'one token at a time in random order draws from the model (blocks of %i)',
    async (blockLength) => {
      const reader = exactReader(N);
      const rows = await blockDiffusionSample(reader, empty(N), {
        ...options,
        blockLength,
        remasking: 'random',
      });
      expect(chiSquare(frequencies(rows), probabilities, N)).toBeLessThan(LIMIT);
      expect(reader.reads).toEqual(new Array(Math.ceil(T / blockLength) - 1).fill(blockLength));
    },
  );

  it('whole blocks at once take their tokens as independent', async () => {
    const rows = await blockDiffusionSample(exactReader(N), empty(N), {
      ...options,
      blockLength: 2,
      steps: 1,
      remasking: 'random',
    });
    const first = (i: number, v: number) => posterior([MASK, MASK, MASK], i, v);
    const expected = sequences.map(([a, b, c]) => first(0, a) * first(1, b) * posterior([a, b, MASK], 2, c));
    expect(chiSquare(frequencies(rows), expected, N)).toBeLessThan(LIMIT);
    expect(chiSquare(frequencies(rows), probabilities, N)).toBeGreaterThan(50 * LIMIT);
  });

  it('goes on from a prompt that ends within a block', async () => {
    const prompt = Array.from({ length: N }, () => [1]);
    const more = { ...options, length: 2, blockLength: 2, remasking: 'ancestral' as const, steps: 4 };
    const rows = await blockDiffusionSample(exactReader(N), prompt, more);
    const total = probabilities.slice(4).reduce((a, b) => a + b);
    const expected = probabilities.map((p, n) => (n < 4 ? 0 : p / total));
    const seen = frequencies(rows);
    expect(seen.slice(0, 4)).toEqual([0, 0, 0, 0]);
    expect(chiSquare(seen.slice(4), expected.slice(4), N)).toBeLessThan(16.3);
  });

  it('says what is wrong', async () => {
    const wrong = (more: object, prompt = [[1]]) =>
      expect(blockDiffusionSample(exactReader(1), prompt, { ...options, length: 2, blockLength: 2, ...more }))
        .rejects;
    await wrong({ blockLength: 0 }).toThrow(
      'blockDiffusionSample: blockLength is 0; expected an integer of at least 1',
    );
    await wrong({}, [[MASK]]).toThrow(
      'blockDiffusionSample: prompt holds maskToken = 2; expected clean tokens',
    );
  });
});

describe('DiffusionTransformer', () => {
  const vocabSize = 7;
  const options = { vocabSize, size: 16, layers: 2, heads: 2, seed: 1 };
  const draw = uniform(3);
  const ids = (B: number, n: number) =>
    tensor(
      Array.from({ length: B }, () => Array.from({ length: n }, () => Math.floor(draw() * 6))),
      undefined,
      'int32',
    );

  const close = (a: Tensor, b: Tensor, most = 1e-5) => {
    expect(a.shape).toEqual(b.shape);
    const [x, y] = [a, b].map((t) => t.dataSync() as Float32Array);
    expect(x.reduce((worst, v, i) => Math.max(worst, Math.abs(v - y[i])), 0)).toBeLessThan(most);
  };

  it('cached blocks give the logits of the whole', () => {
    const model = new DiffusionTransformer(options);
    const tokens = ids(2, 10);
    const whole = model.forwardBlocks(tokens, 4);
    const before = memory().numTensors;
    const reader = model.reader({ batch: 2, capacity: 10 });
    for (const [begin, n] of [
      [0, 4],
      [4, 4],
      [8, 2],
    ]) {
      tidy(() => {
        const block = slice(tokens, [0, begin], [2, n]);
        const logits = reader.predict(block);
        close(logits, slice(whole, [0, begin, 0], [2, n, vocabSize]));
        close(reader.predict(block), logits, 1e-9);
        reader.read(block);
      });
    }
    reader.dispose();
    expect(memory().numTensors).toBe(before);
    model.dispose();
  });

  it('trained blocks are the ones that are sampled', () => {
    const model = new DiffusionTransformer(options);
    const [noised, clean] = [ids(1, 6), ids(1, 6)];
    const [n, c] = [noised, clean].map((t) => (t.arraySync() as number[][])[0]);
    blockDiffusionLoss(
      (both, view) => {
        const logits = model.forward(both, view);
        for (const begin of [0, 3]) {
          const seen = tensor([[...c.slice(0, begin), ...n.slice(begin, begin + 3)]], undefined, 'int32');
          const alone = slice(model.forwardBlocks(seen, 3), [0, begin, 0], [1, 3, vocabSize]);
          close(slice(logits, [0, begin, 0], [1, 3, vocabSize]), alone);
        }
        return logits;
      },
      clean,
      { maskToken: 6, blockLength: 3, noised },
    );
    model.dispose();
  });

  it('has the gradient of its loss in every parameter, with tfjs-core alone', () => {
    const model = new DiffusionTransformer(options);
    const tokens = ids(2, 5);
    const mask = annealedMask({ length: 5, progress: 0.5 });
    const loss = () =>
      maskedDiffusionLoss((noised) => model.forward(noised, { mask }), tokens, { maskToken: 6, seed: 2 });
    const { grads } = variableGrads(loss as never);
    for (const [name, parameter] of Object.entries(model.parameters)) {
      const gradient = grads[parameter.name].dataSync() as Float32Array;
      const values = parameter.dataSync().slice() as Float32Array;
      // along the gradient's own direction
      const norm = Math.sqrt(gradient.reduce((s, g) => s + g * g, 0));
      const moved = (h: number) => {
        parameter.assign(
          tensor(
            values.map((x, i) => x + (h * gradient[i]) / norm),
            parameter.shape,
          ),
        );
        return value(loss());
      };
      const slope = (moved(5e-3) - moved(-5e-3)) / 1e-2;
      parameter.assign(tensor(values, parameter.shape));
      expect(norm, name).toBeGreaterThan(0);
      expect(Math.abs(slope / norm - 1), name).toBeLessThan(0.02);
    }
    model.dispose();
  });

  it('learns the world: losses come near its entropy, and samples to its distribution', async () => {
    const model = new DiffusionTransformer({ vocabSize: 3, size: 16, layers: 1, heads: 2 });
    const optimizers = [train.adam(0.01), train.adam(0.002)];
    const random = uniform(9);
    const cumulative = probabilities.map((_, n) => probabilities.slice(0, n + 1).reduce((a, b) => a + b));
    const batch = () =>
      Array.from({ length: 128 }, () => {
        const at = random();
        return sequences[cumulative.filter((end) => end <= at).length % 8];
      });
    const losses: number[] = [];
    for (let step = 0; step < 160; step++) {
      const rows = batch();
      const cost = optimizers[step < 120 ? 0 : 1].minimize(
        () =>
          maskedDiffusionLoss((ids) => model.forward(ids), rows, { maskToken: MASK, seed: step }) as never,
        true,
      )!;
      losses.push(value(cost) * T);
      cost.dispose();
    }
    const mean = (list: number[]) => list.reduce((a, b) => a + b) / list.length;
    const entropy = -probabilities.reduce((s, p) => s + p * Math.log(p), 0);
    expect(mean(losses.slice(-40))).toBeGreaterThan(entropy - 0.15);
    expect(mean(losses.slice(-40))).toBeLessThan(entropy + 0.2);
    const rows = await maskedDiffusionSample((ids) => model.forward(ids), empty(4000), {
      maskToken: MASK,
      length: T,
      temperature: 1,
      remasking: 'random',
    });
    const distance = frequencies(rows).reduce((s, p, i) => s + Math.abs(p - probabilities[i]), 0) / 2;
    expect(distance).toBeLessThan(0.1);
    for (const optimizer of optimizers) optimizer.dispose();
    model.dispose();
  });
});
