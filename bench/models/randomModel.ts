import { keep, type Tensor, tensor, tidy } from '@tensorflow/tfjs-core';
import { createModel, type Model } from '../../src/models';
import { uniform } from '../../src/random';

/** A model whose matrices have unit gain and whose vectors are around 1 for norms, else around 0. */
export function randomModel(config: object, seed = 1): Model {
  const model = createModel(config);
  const random = uniform(seed);
  // some parameters are made of one tensor of the checkpoint
  const drawn = new Map<string, Float32Array>();
  const draw = ({ name, shape }: { name: string; shape: readonly number[] }): Tensor => {
    const size = shape.reduce((n, d) => n * d, 1);
    const gain = shape.length < 2 ? 0.1 : Math.sqrt(3 / shape.at(-1)!);
    const shift = shape.length < 2 && /norm.*weight$/.test(name) ? 1 : 0;
    const values =
      drawn.get(name) ?? Float32Array.from({ length: size }, () => shift + gain * (2 * random() - 1));
    drawn.set(name, values);
    return tensor(values, [...shape]);
  };
  for (const parameter of model.parameters) {
    const [{ sources, prepare }] = parameter.recipes;
    parameter.value = tidy(() => keep(prepare(sources.map(draw))));
  }
  return model;
}

export const parametersOf = (model: Model) => model.parameters.reduce((n, { value }) => n + value.size, 0);
