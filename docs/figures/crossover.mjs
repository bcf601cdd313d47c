// Prints the tables of docs/guide/choosing.md: times of ways to mix tokens by length, on one thread. Each is the least CPU time of
// turns that all of them take. Run it after a build: npm run build && node docs/figures/crossover.mjs

import { dispose, randomNormal, randomUniform } from '@tensorflow/tfjs-core';
import * as linnet from '../../dist/index.js';

const [H, D] = [8, 64];
const LENGTHS = [64, 128, 256, 512, 1024, 2048, 4096];
const CACHES = [64, 256, 1024, 4096, 16384];

/** Least milliseconds of CPU time of each, in turns; a turn repeats a call until it has taken 2 ms or so. */
function least(calls, turns = 9) {
  const times = calls.map((call) => {
    call();
    return Number.POSITIVE_INFINITY;
  });
  for (let turn = 0; turn < turns; turn++) {
    calls.forEach((call, i) => {
      const count = Math.min(1000, Math.max(1, Math.ceil(2 / times[i])));
      const before = process.cpuUsage();
      for (let n = 0; n < count; n++) call();
      const { user, system } = process.cpuUsage(before);
      times[i] = Math.min(times[i], (user + system) / 1000 / count);
    });
  }
  return times;
}

const row = (cells) => console.log(`| ${cells.join(' | ')} |`);
const shown = (ms) => (ms < 1 ? ms.toPrecision(2) : ms.toFixed(1));
const draw = (...shape) => randomNormal([1, ...shape]);

await linnet.ready();
const { scaledDotProductAttention, gla, simpleGla, gatedDeltaRule } = linnet;

row(['T', 'attention', 'window 256', '`simpleGla`', '`gla`', '`gatedDeltaRule`']);
for (const T of LENGTHS) {
  const [q, k, v] = [0, 1, 2].map(() => draw(T, H, D));
  const gates = randomUniform([1, T, H], -0.1, 0);
  const perChannel = randomUniform([1, T, H, D], -0.1, 0);
  const beta = randomUniform([1, T, H]);
  const times = least([
    () => scaledDotProductAttention(q, k, v, { isCausal: true }).dispose(),
    () => scaledDotProductAttention(q, k, v, { isCausal: true, window: 256 }).dispose(),
    () => simpleGla(q, k, v, gates).dispose(),
    () => gla(q, k, v, perChannel).dispose(),
    () => gatedDeltaRule(q, k, v, gates, beta, { useQkL2norm: true }).dispose(),
  ]);
  row([T, ...times.map(shown)]);
  dispose([q, k, v, gates, perChannel, beta]);
}

row(['keys before', 'attention', '`gatedDeltaRule`']);
const [q, k, v] = [0, 1, 2].map(() => draw(1, H, D));
const [g, beta] = [randomUniform([1, 1, H], -0.1, 0), randomUniform([1, 1, H])];
const initialState = draw(H, D, D);
for (const Tk of CACHES) {
  const [keys, values] = [0, 1].map(() => draw(Tk, H, D));
  const times = least([
    () => scaledDotProductAttention(q, keys, values, { isCausal: true }).dispose(),
    () =>
      dispose(gatedDeltaRule(q, k, v, g, beta, { useQkL2norm: true, initialState, outputFinalState: true })),
  ]);
  row([Tk, ...times.map(shown)]);
  dispose([keys, values]);
}
