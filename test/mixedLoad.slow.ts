import { dispose, memory, type Tensor, tidy } from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { catalog } from '../src/catalog';
import { drawInputs } from '../src/catalog/numerics';
import { info } from '../src/index';
import * as linnet from '../src/ops';

/** How long the load lasts: `LOAD_SECONDS=60`. */
const SECONDS = Number(process.env.LOAD_SECONDS ?? 600);

/** Every case of every op once. */
function round(): void {
  for (const { cases } of catalog) {
    for (const { inputs: specs, call } of cases) {
      const inputs = drawInputs(specs);
      tidy(() => {
        for (const output of [call(linnet, inputs)].flat() as Tensor[]) output.dataSync();
      });
      dispose(Object.values(inputs));
    }
  }
}

function stateOf(when: string): string {
  const { numTensors, numDataBuffers } = memory();
  const { heapUsed, rss } = process.memoryUsage();
  const [heap, script, resident] = [info().heapBytes, heapUsed, rss].map((bytes) =>
    Math.round(bytes / 2 ** 20),
  );
  return `${when}: ${numTensors} tensors, ${numDataBuffers} buffers, wasm heap ${heap} MiB, JavaScript ${script} MiB, process ${resident} MiB`;
}

it(
  'the heap stays as it is after the first rounds of all ops',
  () => {
    for (let i = 0; i < 3; i++) round();
    const sizes = () => [memory().numTensors, memory().numDataBuffers, info().heapBytes];
    const before = sizes();
    console.log(stateOf('start'));
    const end = performance.now() + 1000 * SECONDS;
    while (performance.now() < end) {
      round();
      expect(sizes()).toEqual(before);
    }
    console.log(stateOf('end'));
  },
  1000 * SECONDS + 300_000,
);
