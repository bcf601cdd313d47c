// What every app computes: causal attention against its reference.

import { randomNormal } from '@tensorflow/tfjs-core';
import { info, scaledDotProductAttention } from 'linnet';
import * as reference from 'linnet/reference';

export function check() {
  const [q, k, v] = Array.from({ length: 3 }, () => randomNormal([1, 300, 4, 32]));
  const [output, expected] = [scaledDotProductAttention, reference.scaledDotProductAttention].map((op) =>
    op(q, k, v, { isCausal: true }).dataSync(),
  );
  const error = output.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i])), 0);
  const { count: threads, reason } = info().threads;
  return { error, size: output.length, backend: info().backend, threads, reason };
}
