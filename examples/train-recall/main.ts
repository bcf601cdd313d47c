// Which mixers can recall what they have read? Two-layer models learn multi-query associative recall from sequences of few
// to many pairs; all have the same sizes and are asked about fresh sequences:
//   npm run example -- train-recall [--quick] [--mixer gla] [--steps 1000]
import { parseArgs } from 'node:util';
import { dispose, tidy, train } from '@tensorflow/tfjs-core';
import { ready } from 'linnet';
import { type MixerName, mixers, RecallModel, type Sizes } from './model';
import { accuracyOf, type Batch, drawBatch, lossOf, type Task, uniform, vocabularySize } from './recall';

interface Plan {
  task: Task;
  /** Numbers of pairs, in turns. */
  pairs: number[];
  steps: number;
  /** Tokens of a batch. */
  tokens: number;
  learningRate: number;
  /** Answers asked for at the end, for each number of pairs. */
  asked: number;
  sizes: Omit<Sizes, 'vocabulary' | 'seed'>;
}

const FULL: Plan = {
  task: { keys: 64, tokensPerPair: 4 },
  pairs: [4, 8, 16, 32],
  steps: 1000,
  tokens: 1024,
  learningRate: 0.01,
  asked: 4096,
  sizes: { size: 64, heads: 1, keyDim: 16, valueDim: 32, window: 16 },
};
const QUICK: Plan = {
  task: { keys: 8, tokensPerPair: 4 },
  pairs: [2, 4],
  steps: 100,
  tokens: 256,
  learningRate: 0.02,
  asked: 512,
  sizes: { size: 32, heads: 1, keyDim: 8, valueDim: 16, window: 8 },
};
const SEED = 1;

const { values } = parseArgs({
  options: { quick: { type: 'boolean' }, mixer: { type: 'string' }, steps: { type: 'string' } },
});
const plan = values.quick ? QUICK : FULL;
const { task, pairs } = plan;
const steps = Number(values.steps ?? plan.steps);
const names = Object.keys(mixers).filter((name) => values.mixer === undefined || name === values.mixer);
if (names.length === 0)
  throw new Error(
    `train-recall: no mixer ${values.mixer}; expected one of ${Object.keys(mixers).join(', ')}`,
  );

function batchOf(count: number, tokens: number, random: () => number): Batch {
  return drawBatch(task, count, Math.max(1, Math.round(tokens / (task.tokensPerPair * count))), random);
}

/** Share of right answers for each number of pairs. */
function evaluate(model: RecallModel): number[] {
  const random = uniform(SEED + 1);
  return pairs.map((count) => {
    const batch = batchOf(count, plan.asked * task.tokensPerPair, random);
    const accuracy = tidy(() => accuracyOf(model.forward(batch.ids), batch.answers));
    batch.ids.dispose();
    return accuracy;
  });
}

/** Trains a model and prints its row of the table. */
function run(name: MixerName): void {
  const model = new RecallModel(name, { ...plan.sizes, vocabulary: vocabularySize(task), seed: SEED });
  const optimizer = train.adam(plan.learningRate, 0.9, 0.98);
  const random = uniform(SEED);
  const losses: number[] = [];
  const start = performance.now();
  const seconds = () => `${((performance.now() - start) / 1000).toFixed(0)} s`;
  for (let step = 0; step < steps; step++) {
    const batch = batchOf(pairs[step % pairs.length], plan.tokens, random);
    // the first pass draws the weights, which the optimizer must know
    if (step === 0) dispose(tidy(() => model.forward(batch.ids)));
    const loss = optimizer.minimize(
      () => lossOf(model.forward(batch.ids), batch.answers),
      true,
      model.variables,
    )!;
    losses.push(loss.dataSync()[0]);
    dispose([loss, batch.ids]);
    if (process.stderr.isTTY)
      process.stderr.write(
        `\r\u001b[K${name}: step ${step + 1}, loss ${losses.at(-1)!.toFixed(2)}, ${seconds()}`,
      );
  }
  if (process.stderr.isTTY) process.stderr.write('\r\u001b[K');
  const loss = [losses.slice(0, pairs.length), losses.slice(-pairs.length)].map(mean);
  const columns = [...loss.map((x) => x.toFixed(2)), ...evaluate(model).map(percent), seconds()];
  console.log(name.padEnd(16) + columns.map((text) => text.padStart(9)).join(''));
  optimizer.dispose();
  model.dispose();
}

const mean = (list: number[]) => list.reduce((a, b) => a + b, 0) / list.length;
const percent = (share: number) => `${(100 * share).toFixed(1)}%`;

await ready();
const { keyDim, valueDim, heads, window } = plan.sizes;
console.log(
  `right answers by number of pairs; ${steps} steps, ${task.keys} keys, ${heads} head with a state of ${keyDim} x ${valueDim}, window ${window}, chance ${percent(1 / task.keys)}\n`,
);
const head = ['loss', 'then', ...pairs.map((count) => `${count} pairs`), 'time'];
console.log(`${'mixer'.padEnd(16)}${head.map((text) => text.padStart(9)).join('')}`);
for (const name of names) run(name as MixerName);
