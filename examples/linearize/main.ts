// Softmax attention becomes linear attention: every recipe starts from the weights of a small Llama, learns what is new
// from the outputs of softmax attention, and comes closer to the logits of the Llama on tokens it was not trained on.
import { readFile } from 'node:fs/promises';
import { mean, sqrt, square, sub, type Tensor, tensor, tidy, train } from '@tensorflow/tfjs-core';
import { ready } from 'linnet';
import {
  attentionTransferLoss,
  type LinearizeOptions,
  linearize,
  loadModel,
  type Model,
} from 'linnet/models';

const CHECKPOINT = 'test/models/checkpoints/llama';
const [BATCH, LENGTH] = [4, 32];
const STEPS = 60;
const recipes: LinearizeOptions[] = [
  { mixer: 't2r', features: 128 },
  { mixer: 'hedgehog', features: 64 },
  { mixer: 'lolcats', window: 8, features: 64 },
  { mixer: 'liger', window: 8 },
];

/** Token ids `[BATCH, LENGTH]` of a small random generator. */
function drawIds(seed: number, vocabSize: number): Tensor {
  let state = seed;
  const draw = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((vocabSize * state) / 2 ** 32);
  };
  return tensor(Int32Array.from({ length: BATCH * LENGTH }, draw), [BATCH, LENGTH], 'int32');
}

/** Root mean square difference of the logits. */
function gap(model: Model, teacher: Model, ids: Tensor): number {
  return tidy(() => {
    const squares = square(sub(model.forward(ids), teacher.forward(ids)));
    return sqrt(mean(squares)).dataSync()[0];
  });
}

await ready();
const { config } = JSON.parse(await readFile(`${CHECKPOINT}.json`, 'utf8'));
const teacher = await loadModel(config, `${CHECKPOINT}.safetensors`, { unknownTensors: /^__/ });
const { vocabSize } = teacher.spec;
const unseen = drawIds(0, vocabSize);

for (const recipe of recipes) {
  const model = linearize(teacher, recipe);
  const optimizer = train.adam(0.03);
  const report = (step: number) => {
    const loss = tidy(() => attentionTransferLoss(model, unseen).dataSync()[0]);
    const columns = [recipe.mixer.padEnd(8), `step ${step}`.padEnd(8), `loss ${loss.toFixed(5)}`];
    console.log(...columns, `gap of logits ${gap(model, teacher, unseen).toFixed(3)}`);
  };
  report(0);
  for (let step = 1; step <= STEPS; step++) {
    const ids = drawIds(step, vocabSize);
    optimizer.minimize(() => attentionTransferLoss(model, ids), false, model.variables);
    ids.dispose();
    if (step % 20 === 0) report(step);
  }
  optimizer.dispose();
  model.dispose();
}
teacher.dispose();
