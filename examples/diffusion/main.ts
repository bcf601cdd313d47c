// Two small models of diffusion learn to write like a text, character by character: masked diffusion, which fills in places
// in any order, and block diffusion, which does so block after block with a cache.
//
// genesis.txt is Genesis 1 to 25 of the King James Bible (1611, public domain), as in Debian's package bible-kjv-text.
import { readFile } from 'node:fs/promises';
import { type Scalar, type Tensor, train } from '@tensorflow/tfjs-core';
import { ready } from 'linnet';
import {
  blockDiffusionLoss,
  blockDiffusionSample,
  DiffusionTransformer,
  maskedDiffusionLoss,
  maskedDiffusionSample,
} from 'linnet/models';

const STEPS = Number(process.env.STEPS ?? 1000);
const [BATCH, LENGTH, BLOCK] = [16, 64, 16];
const REPORTS = 10;

const text = (await readFile('examples/diffusion/genesis.txt', 'utf8')).toLowerCase();
const alphabet = [...new Set(text)].sort();
const maskToken = alphabet.length;
const encode = (part: string) => Array.from(part, (character) => alphabet.indexOf(character));
const decode = (ids: Int32Array) => Array.from(ids, (id) => alphabet[id]).join('');
const ids = encode(text);

/** Pieces of the text from places of a small random generator. */
function batch(step: number): number[][] {
  let state = step + 1;
  const draw = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return Array.from({ length: BATCH }, () => {
    const begin = Math.floor(draw() * (ids.length - LENGTH));
    return ids.slice(begin, begin + LENGTH);
  });
}

function learn(name: string, loss: (rows: number[][], step: number) => Tensor): void {
  const optimizer = train.adam(3e-3);
  const every = Math.ceil(STEPS / REPORTS);
  const began = performance.now();
  let sum = 0;
  for (let step = 1; step <= STEPS; step++) {
    const cost = optimizer.minimize(() => loss(batch(step), step) as Scalar, true)!;
    sum += cost.dataSync()[0];
    cost.dispose();
    if (step % every !== 0) continue;
    const seconds = ((performance.now() - began) / 1000).toFixed(0);
    console.log(
      `${name} step ${step}/${STEPS} loss ${(sum / every).toFixed(3)} nats per character, ${seconds} s`,
    );
    sum = 0;
  }
  optimizer.dispose();
}

await ready();
const sizes = { vocabSize: alphabet.length + 1, size: 96, layers: 2, heads: 4 };
const prompt = encode('and god said unto abram, ');
const sampling = { maskToken, temperature: 0.8, seed: 1 };

const masked = new DiffusionTransformer(sizes);
learn('masked', (rows, step) =>
  maskedDiffusionLoss((noised) => masked.forward(noised), rows, { maskToken, seed: step }),
);
const [written] = await maskedDiffusionSample((noised) => masked.forward(noised), [prompt], {
  ...sampling,
  length: LENGTH - prompt.length,
  remasking: 'random',
});
console.log('masked:', decode(written));
masked.dispose();

const blocks = new DiffusionTransformer(sizes);
learn('block', (rows, step) =>
  blockDiffusionLoss((both, view) => blocks.forward(both, view), rows, {
    maskToken,
    blockLength: BLOCK,
    seed: step,
  }),
);
const length = 4 * LENGTH - prompt.length;
const reader = blocks.reader({ batch: 1, capacity: 4 * LENGTH });
const [longer] = await blockDiffusionSample(reader, [prompt], {
  ...sampling,
  length,
  blockLength: BLOCK,
  remasking: 'random',
});
console.log('block:', decode(longer));
reader.dispose();
blocks.dispose();
