// A small classifier of handwritten digits learns with each of four mixers of image tokens: softmax attention, neighborhood
// attention, a selective scan along four paths, and linear attention after a shift in four directions.
//
//   npm run example -- vision [mixer ...] [--epochs 4] [--quick]
import { parseArgs } from 'node:util';
import { type Scalar, tidy, train } from '@tensorflow/tfjs-core';
import { ready } from 'linnet';
import { type Image, load, numbers, windows } from './data';
import { crossEntropy } from './layers';
import { Classifier, mixers } from './model';

const { values, positionals } = parseArgs({
  args: process.argv.slice(2),
  options: { epochs: { type: 'string', default: '4' }, quick: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const BATCH = 16;
const epochs = values.quick ? 1 : Number(values.epochs);
const names = positionals.length > 0 ? positionals : Object.keys(mixers);
const unknown = names.find((name) => !Object.hasOwn(mixers, name));
if (unknown !== undefined)
  throw new RangeError(`vision: no mixer ${unknown}; expected ${Object.keys(mixers).join(', ')}`);

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const result = [...items];
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [result[i], result[j]] = [result[j], result[i]];
  }
  return result;
}

/** The images in batches. */
const batches = (images: readonly Image[]) =>
  Array.from({ length: Math.ceil(images.length / BATCH) }, (_, i) =>
    images.slice(i * BATCH, (i + 1) * BATCH),
  );

/** The share of images whose best score is that of their digit. */
function accuracy(model: Classifier, images: readonly Image[]): number {
  let right = 0;
  for (const batch of batches(images)) {
    const scores = tidy(() => model.forward(windows(batch)).arraySync() as number[][]);
    right += scores.filter((row, i) => row.indexOf(Math.max(...row)) === batch[i].digit).length;
  }
  return right / images.length;
}

function learn(name: string, training: readonly Image[], test: readonly Image[]): void {
  const model = new Classifier(mixers[name]);
  const random = numbers(7);
  const began = performance.now();
  let optimizer = train.adam(2e-3);
  for (let epoch = 1; epoch <= epochs; epoch++) {
    if (epoch === epochs && epochs > 1) {
      optimizer.dispose();
      optimizer = train.adam(4e-4);
    }
    const all = batches(shuffled(training, random));
    const losses = all.map((batch) => {
      const labels = batch.map(({ digit }) => digit);
      const loss = () => crossEntropy(model.forward(windows(batch, 1, random)), labels) as Scalar;
      const cost = optimizer.minimize(loss, true)!;
      const [value] = cost.dataSync();
      cost.dispose();
      return value;
    });
    const tail = Math.ceil(losses.length / 4);
    const mean = (part: number[]) => (part.reduce((a, b) => a + b) / part.length).toFixed(3);
    const columns = [
      name.padEnd(12),
      `epoch ${epoch}/${epochs}`,
      `loss ${mean(losses.slice(0, tail))} to ${mean(losses.slice(-tail))}`,
      `accuracy ${(100 * accuracy(model, test)).toFixed(2)} %`,
      `${((performance.now() - began) / 1000).toFixed(0)} s`,
    ];
    console.log(columns.join('  '));
  }
  optimizer.dispose();
  model.dispose();
}

await ready();
const { training, test } = load();
const random = numbers(3);
const [some, few] = values.quick
  ? [shuffled(training, random).slice(0, 48 * BATCH), shuffled(test, random).slice(0, 8 * BATCH)]
  : [training, test];
console.log(`${some.length} images to learn from, ${few.length} held out`);
for (const name of names) learn(name, some, few);
