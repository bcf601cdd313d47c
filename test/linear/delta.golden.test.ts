import type { Tensor } from '@tensorflow/tfjs-core';
import { describe, it } from 'vitest';
import { DELTA_RULE } from '../../src/catalog/bounds';
import type { Recurrent } from '../../src/linear';
import * as linnet from '../../src/ops';
import * as reference from '../../src/reference';
import { expectGolden, type GoldenCase, golden } from '../golden';

type Inputs = Record<string, Tensor>;
type Options = { scale: number; initialState?: Tensor; outputFinalState: true; cuSeqlens?: Tensor };

/** How each golden op is called here; `in` has its tensors under their own names. */
const calls: Record<string, (ops: typeof linnet, x: Inputs, options: Options, c: GoldenCase) => Recurrent> = {
  delta_rule: (ops, { q, k, v, beta }, options) => ops.deltaRule(q, k, v, beta, options),
  gated_delta_rule: (ops, { q, k, v, g, beta }, options) => ops.gatedDeltaRule(q, k, v, g, beta, options),
  kda: (ops, { q, k, v, g, beta }, options) => ops.kda(q, k, v, g, beta, options),
  comba: (ops, { q, k, v, p, g, beta }, options) => ops.comba(q, k, v, p, g, beta, options),
  dplr_delta_rule: (ops, { q, k, v, a, b, gk }, options) => ops.dplrDeltaRule(q, k, v, a, b, gk, options),
  iplr_delta_rule: (ops, { q, k, v, a, b }, options) => ops.iplrDeltaRule(q, k, v, a, b, options),
  rwkv7: (ops, { r, w, k, v, a, b }, options) => ops.rwkv7(r, w, k, v, a, b, options),
  gated_oja_rule: (ops, { q, k, v, g, beta }, options) => ops.gatedOjaRule(q, k, v, g, beta, options),
  gated_delta_product: (ops, { q, k, v, g, beta }, options, { attrs }) =>
    ops.gatedDeltaProduct(q, k, v, g, beta, { ...options, ...attrs }),
};

function run(ops: typeof linnet, c: GoldenCase, x: Inputs): Inputs {
  if (c.op === 'kda_gate') {
    const gate = ops.kdaGate(x.g, x.A_log, x.dt_bias);
    const bounded = ops.kdaGate(x.g, x.A_log, x.dt_bias, { lowerBound: c.attrs.lowerBound });
    return { gate, lowerbound_gate: bounded };
  }
  const { scale } = c.attrs;
  const options = {
    scale,
    initialState: x.initial_state,
    outputFinalState: true,
    cuSeqlens: x.cu_seqlens,
  } as const;
  const { output, finalState } = calls[c.op](ops, x, options, c);
  return { o: output, final_state: finalState };
}

const cases = [...golden('delta'), ...golden('rwkv').filter(({ op }) => op === 'rwkv7')];

for (const [library, ops, bounds] of [
  ['kernel', linnet, DELTA_RULE],
  ['reference', reference, { r: 3e-7, m: 3e-7, gradient: 3e-7 }],
] as const) {
  describe(`golden vectors, ${library}`, () => {
    it.each(cases.map((c) => [`${c.op} ${c.case}`, c] as const))('%s', (_, c) => {
      expectGolden(c, (inputs) => run(ops, c, inputs), bounds);
    });
  });
}
