// Runs in any engine: attention and a gradient against the references, then threads.
import { grad, randomNormal } from '@tensorflow/tfjs-core';
import { gla, info, ready, scaledDotProductAttention, setThreads } from 'linnet';
import * as reference from 'linnet/reference';

const threads = Number(process.argv[2] ?? 1);
await ready({ threads });
const farthest = (a, b) => {
  const [x, y] = [a.dataSync(), b.dataSync()];
  return x.reduce((most, value, i) => Math.max(most, Math.abs(value - y[i])), 0);
};
const [q, k, v] = Array.from({ length: 3 }, () => randomNormal([1, 96, 4, 32]));
const g = randomNormal([1, 96, 4, 32], -1, 0.1);
const attention = farthest(
  scaledDotProductAttention(q, k, v, { isCausal: true }),
  reference.scaledDotProductAttention(q, k, v, { isCausal: true }),
);
const gradient = farthest(grad((x) => gla(x, k, v, g))(q), grad((x) => reference.gla(x, k, v, g))(q));
const passed = attention < 1e-5 && gradient < 1e-4;
console.log(
  JSON.stringify({ passed, attention, gradient, simd: info().simd.level, threads: info().threads.count }),
);
if (threads > 1) await setThreads(1);
process.exit(passed && info().threads.count === 1 ? 0 : 1);
