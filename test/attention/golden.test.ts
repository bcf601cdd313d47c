import { cast, customGrad, grads, scalar, type Tensor, tensor1d, tidy } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import type { AttentionOptions } from '../../src/attention';
import { SOFTMAX_ATTENTION } from '../../src/catalog/bounds';
import { deviation, float64 } from '../../src/catalog/numerics';
import * as linnet from '../../src/ops';
import * as reference from '../../src/reference';
import { type GoldenCase, golden } from '../golden';

type Inputs = Record<string, Tensor>;

function run(ops: typeof linnet, { attrs, in: given }: GoldenCase, x: Inputs) {
  const { scale, isCausal, softcap, window, windowRight, alibiSlopes } = attrs as Record<string, never>;
  const options: AttentionOptions & { returnLse: true } = {
    scale,
    isCausal,
    softcap,
    window: windowRight === undefined ? window : [window, windowRight],
    bias: x.bias,
    sink: x.sink,
    mask: given.mask && cast(given.mask, 'bool'),
    alibiSlopes: alibiSlopes && tensor1d(alibiSlopes),
    kvLengths: given.kv_lens,
    cuSeqlens: given.cu_seqlens,
    returnLse: true,
  };
  const { output, lse } = ops.scaledDotProductAttention(x.q, x.k, x.v, options);
  return { o: output, lse };
}

function gradients(ops: typeof linnet, c: GoldenCase): Record<string, Float64Array> {
  const names = Object.keys(c.grad);
  const result: Record<string, Float64Array> = {};
  if (names.length === 0) return result;
  tidy(() => {
    const loss = (...values: Tensor[]) => {
      const { o, lse } = run(ops, c, { ...c.in, ...Object.fromEntries(names.map((n, i) => [n, values[i]])) });
      const outputs = c.in.dlse ? [o, lse] : [o];
      const weights = c.in.dlse ? [c.in.do, c.in.dlse] : [c.in.do];
      return customGrad(() => ({ value: scalar(0), gradFunc: () => weights }))(...outputs);
    };
    grads(loss)(names.map((name) => c.in[name])).forEach((gradient, i) => {
      result[names[i]] = float64(gradient);
    });
  });
  return result;
}

const cases = golden('attention').filter(({ op }) => op === 'attention' || op === 'attention_lse');

describe.each([
  ['kernel', linnet],
  ['reference', reference as typeof linnet],
])('%s', (_, ops) => {
  it.each(cases.map((c) => [`${c.op}/${c.case}`, c] as const))('equals PyTorch: %s', (_name, c) => {
    tidy(() => {
      for (const [name, actual] of Object.entries(run(ops, c, c.in))) {
        if (c.out[name] === undefined) continue;
        expect(deviation(float64(actual), float64(c.out[name])).r, name).toBeLessThanOrEqual(
          SOFTMAX_ATTENTION.r,
        );
      }
    });
    for (const [name, values] of Object.entries(gradients(ops, c))) {
      expect(deviation(values, float64(c.grad[name])).r, `d${name}`).toBeLessThanOrEqual(
        SOFTMAX_ATTENTION.gradient,
      );
    }
  });
});
