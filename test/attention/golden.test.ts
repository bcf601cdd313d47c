import { cast, type Tensor, tensor1d } from '@tensorflow/tfjs-core';
import { describe, it } from 'vitest';
import type { AttentionOptions } from '../../src/attention';
import { SOFTMAX_ATTENTION } from '../../src/catalog/bounds';
import * as linnet from '../../src/ops';
import * as reference from '../../src/reference';
import { expectGolden, type GoldenCase, golden } from '../golden';

type Inputs = Record<string, Tensor>;

function run(ops: typeof linnet, c: GoldenCase, x: Inputs): Inputs {
  const { attrs, in: given } = c;
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
  return c.out.lse === undefined ? { o: output } : { o: output, lse };
}

function runForgetting(ops: typeof linnet, { attrs }: GoldenCase, { q, k, v, g }: Inputs): Inputs {
  const { scale, window } = attrs as Record<string, never>;
  return { o: ops.forgettingAttention(q, k, v, g, { scale, window }) };
}

const cases = golden('attention').filter(({ op }) => op !== 'sage_attention');

describe.each([
  ['kernel', linnet],
  ['reference', reference as typeof linnet],
])('%s', (_, ops) => {
  it.each(cases.map((c) => [`${c.op}/${c.case}`, c] as const))(
    'equals other implementations: %s',
    (_name, c) => {
      const call = c.op === 'forgetting_attn' ? runForgetting : run;
      expectGolden(c, (inputs) => call(ops, c, inputs), SOFTMAX_ATTENTION);
    },
  );
});
