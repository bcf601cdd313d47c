import { slice, type Tensor, tensor, tidy } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { drawInputs } from '../../src/catalog/numerics';
import type { InputSpec, Tensors } from '../../src/catalog/types';
import * as linnet from '../../src/ops';

const [T, H, K, V] = [45, 2, 12, 20];
const SPECS: Record<string, InputSpec> = {
  q: { shape: [1, T, H, K] },
  k: { shape: [1, T, H, K], draw: 'unit' },
  v: { shape: [1, T, H, V] },
  g: { shape: [1, T, H], draw: 'logSigmoid' },
  gk: { shape: [1, T, H, K], draw: 'logSigmoid' },
  beta: { shape: [1, T, H], draw: 'sigmoid' },
  a: { shape: [1, T, H, K], draw: 'unit' },
  b: { shape: [1, T, H, K], scale: 0.2 },
  u: { shape: [H, K] },
};
const inputs = drawInputs(SPECS);

const rules: Record<string, [names: string[], call: (x: Tensors) => Tensor]> = {
  linearAttention: [['q', 'k', 'v'], ({ q, k, v }) => linnet.linearAttention(q, k, v)],
  retention: [['q', 'k', 'v'], ({ q, k, v }) => linnet.retention(q, k, v)],
  simpleGla: [['q', 'k', 'v', 'g'], ({ q, k, v, g }) => linnet.simpleGla(q, k, v, g)],
  gla: [['q', 'k', 'v', 'gk'], ({ q, k, v, gk }) => linnet.gla(q, k, v, gk)],
  rwkv6: [['q', 'k', 'v', 'gk'], ({ q, k, v, gk, u }) => linnet.rwkv6(q, k, v, gk, u)],
  deltaRule: [['q', 'k', 'v', 'beta'], ({ q, k, v, beta }) => linnet.deltaRule(q, k, v, beta)],
  gatedDeltaRule: [
    ['q', 'k', 'v', 'g', 'beta'],
    ({ q, k, v, g, beta }) => linnet.gatedDeltaRule(q, k, v, g, beta, { useQkL2norm: true }),
  ],
  kda: [['q', 'k', 'v', 'gk', 'beta'], ({ q, k, v, gk, beta }) => linnet.kda(q, k, v, gk, beta)],
  iplrDeltaRule: [['q', 'k', 'v', 'a', 'b'], ({ q, k, v, a, b }) => linnet.iplrDeltaRule(q, k, v, a, b)],
  dplrDeltaRule: [
    ['q', 'k', 'v', 'a', 'b', 'gk'],
    ({ q, k, v, a, b, gk }) => linnet.dplrDeltaRule(q, k, v, a, b, gk),
  ],
};

/** x with `value` in the first channel of one token, or in all of them. */
function spoiled(x: Tensor, token: number, value: number, all: boolean): Tensor {
  const values = x.dataSync().slice();
  const size = values.length / T;
  values.fill(value, token * size, token * size + (all ? size : 1));
  return tensor(values, x.shape);
}

describe.each(Object.entries(rules))('%s', (_, [names, call]) => {
  it('has the same bits before a NaN or an Infinity as without', () => {
    tidy(() => {
      const expected = call(inputs);
      const upTo = (output: Tensor, token: number) =>
        slice(output, [0, 0, 0, 0], [1, token, H, V]).dataSync();
      for (const name of names)
        for (const token of [1, 3, 7, 13, 15, 16, 22, 33, 44])
          for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])
            for (const all of [false, true]) {
              const output = call({ ...inputs, [name]: spoiled(inputs[name], token, value, all) });
              expect(upTo(output, token), `${name} ${value} at ${token}`).toEqual(upTo(expected, token));
            }
    });
  });
});
