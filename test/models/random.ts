import { abs, keep, max, memory, tensor, tidy } from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { createModel, loadModel, type Model } from '../../src/models';
import { uniform } from '../../src/random';
import { distance, distanceInParts, idsOf } from './harness';
import { randomWeights, writeSafetensors } from './write';

const sources = (model: Model) => model.parameters.flatMap(({ recipes }) => recipes[0].sources);

/** A model of a config or description with random weights. */
export function randomModel(config: object): Promise<Model> {
  return loadModel(config, writeSafetensors(randomWeights(sources(createModel(config)))));
}

/** Token ids below 17. */
export function randomRows(B: number, T: number): number[][] {
  const random = uniform(3);
  return Array.from({ length: B }, () => Array.from({ length: T }, () => Math.floor(17 * random())));
}

/** Checks a model of 17 tokens with random weights, and the names and shapes of some of them. */
export function testRandomModel(config: object, tensors: Record<string, readonly number[]>): void {
  const rows = randomRows(2, 13);

  it('asks for the tensors of published checkpoints', () => {
    const shapes = Object.fromEntries(sources(createModel(config)).map(({ name, shape }) => [name, shape]));
    expect(shapes).toMatchObject(tensors);
  });

  it('is the same whole, in parts and token by token, and every weight shows', async () => {
    const before = memory().numTensors;
    const model = await randomModel(config);
    tidy(() => {
      const ids = idsOf(rows);
      const logits = model.forward(ids);
      const largest = max(abs(logits)).dataSync()[0];
      expect(largest).toBeGreaterThan(0.01);
      for (const sizes of [Array(13).fill(1), [6, 1, 4, 2]]) {
        expect(distanceInParts(model, ids, logits, sizes), `${sizes}`).toBeLessThan(1e-5 * (1 + largest));
      }
      for (const parameter of model.parameters) {
        const { shape } = parameter.value;
        const kept = parameter.value.dataSync().slice();
        parameter.value = keep(
          tensor(
            kept.map((x, i) => x + 0.1 * (1 + (i % 3))),
            shape,
          ),
        );
        const changed = tidy(() => distance(model.forward(ids), logits));
        // latent attention has its second projection twice, once for later tokens
        if (!/kv_b_proj/.test(parameter.name)) expect(changed, parameter.name).toBeGreaterThan(1e-7);
        parameter.value = keep(tensor(kept, shape));
      }
    });
    model.dispose();
    expect(memory().numTensors).toBe(before);
  });
}
