import type { Tensor } from '@tensorflow/tfjs-core';
import { describe, it } from 'vitest';
import { DELTA_RULE } from '../../src/catalog/bounds';
import * as linnet from '../../src/ops';
import * as reference from '../../src/reference';
import { expectGolden, type GoldenCase, golden } from '../golden';

type Inputs = Record<string, Tensor>;
const WITH_STATE = { outputFinalState: true } as const;

/** How each golden op is called here; `in` has its tensors under their own names. */
const calls: Record<string, (ops: typeof linnet, x: Inputs, attrs: GoldenCase['attrs']) => Inputs> = {
  ttt_linear: (ops, { q, k, v, w, b, eta, ...x }, { scale, eps, miniBatchSize }) => {
    const { output, finalState, finalStateBias } = ops.tttLinear(q, k, v, w, b, eta, {
      scale,
      eps,
      chunkSize: miniBatchSize,
      initialState: x.initial_state,
      initialStateBias: x.initial_state_bias,
      ...WITH_STATE,
    });
    return { o: output, final_state: finalState, final_state_bias: finalStateBias };
  },
  titans_linear: (ops, { q, k, v, w, b, theta, alpha, eta, ...x }, { eps, chunkSize }) => {
    const { output, finalState } = ops.titansLinear(q, k, v, w, b, theta, alpha, eta, {
      eps,
      chunkSize,
      initialState: x.initial_state,
      ...WITH_STATE,
    });
    return { o: output, final_state: finalState };
  },
  mesa_net: (ops, { q, k, v, g, beta, lamb, ...x }) => {
    const { output, hKk, hKv } = ops.mesaNet(q, k, v, g, beta, lamb, {
      hKkInit: x.h_kk_init,
      hKvInit: x.h_kv_init,
      ...WITH_STATE,
    });
    return { o: output, h_kk: hKk, h_kv: hKv };
  },
  log_linear_attn: (ops, { q, k, v, g, level_scales }, { scale }) => ({
    o: ops.logLinearAttention(q, k, v, g, level_scales, { scale }),
  }),
  path_attn: (ops, { q, k, v, w, beta, g }, { scale }) => ({
    o: ops.pathAttention(q, k, v, w, beta, { g, scale }),
  }),
};

const cases = golden('linear_ext').filter(({ op }) => op in calls);

for (const [library, ops, bounds] of [
  ['kernel', linnet, DELTA_RULE],
  ['reference', reference, { r: 3e-7, m: 3e-7, gradient: 3e-7 }],
] as const) {
  describe(`golden vectors, ${library}`, () => {
    it.each(cases.map((c) => [`${c.op} ${c.case}`, c] as const))('%s', (_, c) => {
      expectGolden(c, (inputs) => calls[c.op](ops, inputs, c.attrs), bounds);
    });
  });
}
