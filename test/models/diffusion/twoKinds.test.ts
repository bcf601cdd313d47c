import {
  add,
  cast,
  customGrad,
  equal,
  mul,
  type Scalar,
  type Tensor,
  tensor,
  train,
} from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { DiffusionTransformer, maskedDiffusionLoss, maskedDiffusionSample } from '../../../src/models';

// Two words make an image of three codes: code j is first + j second, modulo 2. Words follow from the image.
const [WORDS, CODES, TEXT, IMAGE] = [2, 2, 2, 3];
const [maskToken, T] = [WORDS + CODES, TEXT + IMAGE];
/** A mask is another token at each place, else all places of a text of masks would be alike. */
const V = maskToken + T;
const pairs = Array.from({ length: WORDS * WORDS }, (_, i) => {
  const words = [Math.floor(i / WORDS), i % WORDS];
  return [...words, ...Array.from({ length: IMAGE }, (_, j) => WORDS + ((words[0] + j * words[1]) % CODES))];
});
const right = (drawn: readonly Int32Array[]) =>
  drawn.filter((row, i) => row.join() === pairs[i].join()).length;

it('one model of words and codes draws images to words, words to images, and both at once', async () => {
  const model = new DiffusionTransformer({ vocabSize: V, size: 32, layers: 2, heads: 2, seed: 1 });
  const ofKind = tensor(
    Float32Array.from({ length: T * V }, (_, i) => {
      const [place, id] = [Math.floor(i / V), i % V];
      return id < maskToken && id < WORDS === place < TEXT ? 0 : Number.NEGATIVE_INFINITY;
    }),
    [1, T, V],
  );
  const places = tensor([Array.from({ length: T }, (_, i) => i)], undefined, 'int32');
  const onlyOwn = customGrad((logits) => ({
    value: add(logits as Tensor, ofKind),
    gradFunc: (dy: Tensor) => dy.clone(),
  }));
  const denoiser = (ids: Tensor) =>
    onlyOwn(model.forward(add(ids, mul(cast(equal(ids, maskToken), 'int32'), places))));

  const batch = Array.from({ length: 8 }, () => pairs).flat();
  for (const [rate, steps] of [
    [0.005, 120],
    [0.0015, 60],
  ]) {
    const optimizer = train.adam(rate);
    for (let step = 0; step < steps; step++) {
      const loss = () =>
        maskedDiffusionLoss(denoiser, batch, { maskToken, seed: steps * step, weighting: 'none' }) as Scalar;
      optimizer.minimize(loss, false, Object.values(model.parameters));
    }
    optimizer.dispose();
  }

  const words = pairs.map((pair) => pair.slice(0, TEXT));
  const images = await maskedDiffusionSample(denoiser, words, { maskToken, length: IMAGE });
  expect(right(images)).toBe(pairs.length);
  const unnamed = pairs.map((pair) => [maskToken, maskToken, ...pair.slice(TEXT)]);
  const captions = await maskedDiffusionSample(denoiser, unnamed, { maskToken, length: 0, steps: TEXT });
  expect(right(captions)).toBe(pairs.length);

  const nothing = Array.from({ length: 180 }, () => []);
  const drawn = await maskedDiffusionSample(denoiser, nothing, {
    ...{ maskToken, length: T, temperature: 1, remasking: 'random', seed: 3 },
  });
  const counts = pairs.map((pair) => drawn.filter((row) => row.join() === pair.join()).length);
  // by chance an eighth of 180 would be pairs; of those there are as many of each
  expect(counts.reduce((a, b) => a + b)).toBeGreaterThan(150);
  expect(Math.min(...counts)).toBeGreaterThan(20);
  for (const one of [ofKind, places]) one.dispose();
  model.dispose();
}, 60_000);

it('each sequence of a batch is noised at any time, whatever its place in the batch', () => {
  const sums = [0, 0, 0];
  for (let seed = 0; seed < 200; seed++) {
    maskedDiffusionLoss(
      (ids, times) => {
        const drawn = Array.from(times!.dataSync()).sort((a, b) => a - b);
        // evenly spread
        expect(drawn[2] - drawn[0]).toBeCloseTo(2 / 3, 2);
        times!.dataSync().forEach((time, b) => {
          sums[b] += time / 200;
        });
        return tensor(new Float32Array(ids.size * 3), [3, 1, 3]);
      },
      [[0], [1], [0]],
      { maskToken: 2, seed },
    ).dispose();
  }
  for (const mean of sums) expect(Math.abs(mean - 0.5)).toBeLessThan(0.1);
});
