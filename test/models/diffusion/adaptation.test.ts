import { grad, type Tensor, tensor } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import {
  annealedMask,
  createModel,
  type Denoiser,
  DiffusionTransformer,
  loadModel,
  type ModelSpec,
  maskedDiffusionLoss,
  maskedDiffusionSample,
  shiftLogits,
} from '../../../src/models';
import { randomWeights, writeSafetensors } from '../write';
import { T, table } from './world';

const value = (loss: Tensor) => loss.dataSync()[0];

describe('annealedMask', () => {
  const rows = (progress: number, seed = 0) =>
    annealedMask({ length: 40, progress, seed }).arraySync() as unknown as number[][];

  it('goes from causal to full', () => {
    expect(rows(0)).toEqual(rows(0).map((row, q) => row.map((_, kv) => +(kv <= q))));
    expect(
      rows(1)
        .flat()
        .every((seen) => seen === 1),
    ).toBe(true);
  });

  it('opens a share of the later keys that grows with progress, none twice', () => {
    const later = (mask: number[][]) => mask.flatMap((row, q) => row.slice(q + 1));
    const share = (mask: number[][]) => later(mask).reduce((a, b) => a + b) / later(mask).length;
    expect(Math.abs(share(rows(0.3)) - 0.3)).toBeLessThan(0.05);
    const [some, more] = [rows(0.3).flat(), rows(0.6).flat()];
    expect(some.every((seen, i) => seen <= more[i])).toBe(true);
    expect(rows(0.3)).toEqual(rows(0.3));
    expect(rows(0.3)).not.toEqual(rows(0.3, 1));
  });

  it('says what is wrong', () => {
    expect(() => annealedMask({ length: 4, progress: 2 })).toThrow(
      'annealedMask: progress is 2; expected a number from 0 to 1',
    );
  });
});

describe('shiftLogits', () => {
  const logits = tensor(
    Array.from({ length: 12 }, (_, i) => Math.sin(i)),
    [1, T, 4],
  );

  it('takes each row from the one before, and its gradient goes there', () => {
    const [rows] = logits.arraySync() as number[][][];
    expect((shiftLogits(logits).arraySync() as number[][][])[0]).toEqual([rows[0], rows[0], rows[1]]);
    const dy = tensor(
      Array.from({ length: 12 }, (_, i) => i),
      [1, T, 4],
    );
    const gradient = grad(shiftLogits)(logits, dy).arraySync() as number[][][];
    expect(gradient[0]).toEqual([
      [4, 6, 8, 10],
      [8, 9, 10, 11],
      [0, 0, 0, 0],
    ]);
  });

  it('is what losses and samplers do with shift', async () => {
    const model: Denoiser = (ids) => table(ids, (row, i) => [row[i] - 1, i * 0.7, 0.2, 0.1 * i]);
    const shifted: Denoiser = (ids, time) => shiftLogits(model(ids, time));
    const options = { maskToken: 3, noised: [[3, 0, 3, 3]], times: [0.6] };
    const ids = [[1, 0, 2, 1]];
    expect(value(maskedDiffusionLoss(model, ids, { ...options, shift: true }))).toBeCloseTo(
      value(maskedDiffusionLoss(shifted, ids, options)),
      6,
    );
    const sampling = { maskToken: 3, length: 4, temperature: 1, seed: 4 };
    expect(await maskedDiffusionSample(model, [[0]], { ...sampling, shift: true })).toEqual(
      await maskedDiffusionSample(shifted, [[0]], sampling),
    );
  });
});

it('an autoregressive model is where adaptation begins: its own loss, shifted and causal', () => {
  const model = new DiffusionTransformer({ vocabSize: 5, size: 16, layers: 2, heads: 2 });
  const mask = annealedMask({ length: 4, progress: 0 });
  const ids = [[1, 0, 3, 2]];
  const logits = (model.forward(tensor(ids, undefined, 'int32'), { mask }).arraySync() as number[][][])[0];
  // with a causal mask the last token is told by the clean ones before it, as a next token is
  const next = logits[2];
  const logZ = Math.log(next.slice(0, 4).reduce((s, x) => s + Math.exp(x), 0));
  const loss = maskedDiffusionLoss((noised) => model.forward(noised, { mask }), ids, {
    maskToken: 4,
    shift: true,
    weighting: 'none',
    noised: [[1, 0, 3, 4]],
  });
  expect(value(loss) * 4).toBeCloseTo(logZ - next[2], 5);
  model.dispose();
});

it('a model that is loaded and not causal is a denoiser', async () => {
  const norm = (name: string) => ({ type: 'rms', name, size: 16, eps: 1e-6 }) as const;
  const mixer = { type: 'attention', size: 16, heads: 2, kvHeads: 2, headDim: 8, causal: false } as const;
  const spec: ModelSpec = {
    vocabSize: 4,
    size: 16,
    embedding: { name: 'embed' },
    layers: [{ name: 'layers.0', token: { name: 'mixer', preNorm: norm('norm1'), mixer } }],
    norm: norm('norm'),
    head: { name: 'head' },
  };
  const sources = createModel(spec).parameters.flatMap(({ recipes }) => recipes[0].sources);
  const model = await loadModel(spec, writeSafetensors(randomWeights(sources)));
  const options = { maskToken: 3, length: 6, blockLength: 3, steps: 4 };
  const [row] = await maskedDiffusionSample((ids) => model.forward(ids), [[0, 1]], options);
  expect(Array.from(row.subarray(0, 2))).toEqual([0, 1]);
  expect(row.every((id) => id < 3)).toBe(true);
  model.dispose();
});
