import { memory, type Tensor, tensor, tidy, train, variableGrads } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { attentionTransferLoss, type LinearizeOptions, linearize, type Model } from '../../src/models';
import { checkpoint, type Stored } from './checkpoint';
import { distance, distanceInParts, idsOf } from './harness';

let stored: Stored;
let ids: Tensor;
beforeAll(async () => {
  stored = await checkpoint('llama');
  ids = stored.inputIds;
});
afterAll(() => stored.model.dispose());

const gapOf = (model: Model) => tidy(() => distance(model.forward(ids), stored.logits));
const lossOf = (model: Model) => tidy(() => attentionTransferLoss(model, ids).dataSync()[0]);

const recipes: LinearizeOptions[] = [
  { mixer: 't2r' },
  { mixer: 'hedgehog' },
  { mixer: 'performer', features: 24 },
  { mixer: 'lolcats', window: 4 },
  { mixer: 'liger', window: 4 },
];

describe.each(recipes)('$mixer', (options) => {
  it('trains: the loss falls and the logits come closer', () => {
    const before = memory().numTensors;
    const model = linearize(stored.model, options);
    const [loss, gap] = [lossOf(model), gapOf(model)];
    const optimizer = train.adam(0.02);
    for (let i = 0; i < 60; i++)
      tidy(() => void optimizer.minimize(() => attentionTransferLoss(model, ids), false, model.variables));
    if (process.env.SHOW_ERRORS) console.log(options.mixer, loss, lossOf(model), gap, gapOf(model));
    expect(lossOf(model)).toBeLessThan(0.5 * loss);
    expect(gapOf(model)).toBeLessThan(0.8 * gap);
    optimizer.dispose();
    model.dispose();
    expect(memory().numTensors - before).toBeLessThanOrEqual(2); // Adam's own
  });

  it('is the same whole, in parts and token by token, in constant memory', () => {
    const model = linearize(stored.model, options);
    const T = ids.shape[1]!;
    const logits = model.forward(ids);
    for (const sizes of [Array(T).fill(1), [7, 1, 2, T - 10]])
      expect(distanceInParts(model, ids, logits, sizes)).toBeLessThan(1e-5);
    const cache = model.createCache();
    const bytes = Array.from({ length: 20 }, (_, i) => {
      tidy(() => model.forward(idsOf([[i], [i + 1]]), { cache }));
      return cache.bytes;
    });
    expect(new Set(bytes).size).toBe(1);
    cache.dispose();
    logits.dispose();
    model.dispose();
  });

  it('has the gradients of differences', () => {
    const model = linearize(stored.model, options);
    const { grads } = variableGrads(() => attentionTransferLoss(model, ids), model.variables);
    for (const variable of model.variables) {
      const gradient = Array.from(grads[variable.name].dataSync());
      const norm = Math.hypot(...gradient);
      const values = Array.from(variable.dataSync());
      const step = 0.01;
      // along the gradient the loss grows by its norm
      const lossAt = (distance: number) =>
        tidy(() => {
          const moved = values.map((x, i) => x + (distance * gradient[i]) / norm);
          variable.assign(tensor(moved, variable.shape));
          return lossOf(model);
        });
      const slope = (lossAt(step) - lossAt(-step)) / (2 * step);
      lossAt(0);
      expect(norm).toBeGreaterThan(0);
      expect(Math.abs(slope / norm - 1), variable.name).toBeLessThan(0.03);
    }
    model.dispose();
  });
});

describe('linearize', () => {
  it('is softmax attention while all tokens are in the window of LoLCATs', () => {
    const model = linearize(stored.model, { mixer: 'lolcats', window: ids.shape[1] });
    expect(gapOf(model)).toBeLessThan(1e-4);
    expect(lossOf(model)).toBeLessThan(1e-12);
    model.dispose();
  });

  it('comes to softmax attention with more random features', () => {
    const losses = [8, 64, 512, 4096].map((features) => {
      const model = linearize(stored.model, { mixer: 'performer', features });
      const loss = lossOf(model);
      model.dispose();
      return loss;
    });
    for (let i = 1; i < losses.length; i++) expect(losses[i]).toBeLessThan(0.5 * losses[i - 1]);
  });

  it('starts closer than features without weights of softmax', () => {
    const model = linearize(stored.model, { mixer: 'hedgehog' });
    const first = lossOf(model);
    for (const variable of model.variables)
      variable.assign(tidy(() => tensor(new Float32Array(variable.size), variable.shape)));
    expect(first).toBeLessThan(0.5 * lossOf(model));
    model.dispose();
  });

  it('changes the chosen layers only and shares the weights', () => {
    const before = memory().numTensors;
    const model = linearize(stored.model, { mixer: 'hedgehog', layers: [1] });
    expect(model.spec.layers.map(({ token }) => token.mixer.type)).toEqual(['attention', 'linearized']);
    expect(model.variables.map(({ shape }) => shape)).toEqual([
      [4, 8, 8],
      [4, 8, 8],
    ]);
    const given = new Set(stored.model.parameters.map(({ value }) => value.dataId));
    expect(model.parameters.filter(({ value }) => !given.has(value.dataId)).length).toBe(2);
    const again = linearize(model, { mixer: 't2r' });
    expect(again.spec.layers.map(({ token }) => token.mixer.type)).toEqual(['linearized', 'linearized']);
    again.dispose();
    model.dispose();
    expect(memory().numTensors).toBe(before);
    expect(gapOf(stored.model)).toBeLessThan(1e-4);
  });

  it('says what is wrong', () => {
    const { model } = stored;
    expect(() => linearize(model, { mixer: 't2r', layers: [2] })).toThrow(
      'linearize: layers hold 2; expected indices of the 2 layers',
    );
    expect(() => linearize(model, { mixer: 't2r', features: 0 })).toThrow(
      'linearize: features is 0; expected a positive integer',
    );
    expect(() => linearize(model, { mixer: 'liger', features: 4 })).toThrow(
      'linearize: features is 4; expected headDim = 8 with gates',
    );
    expect(() => attentionTransferLoss(model, ids)).toThrow(
      'attentionTransferLoss: the model has no linearized layers',
    );
    const linear = linearize(model, { mixer: 't2r' });
    expect(() => linearize(linear, { mixer: 't2r', layers: [0] })).toThrow(
      'linearize: layer 0 mixes tokens by linearized; expected attention',
    );
    linear.dispose();
  });
});
