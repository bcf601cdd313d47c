import { customGrad, grads, scalar, type Tensor, tidy } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { DELTA_RULE } from '../../src/catalog/bounds';
import { deviation, float64 } from '../../src/catalog/numerics';
import type { Recurrent } from '../../src/linear';
import * as linnet from '../../src/ops';
import * as reference from '../../src/reference';
import { type GoldenCase, golden } from '../golden';

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

function run(ops: typeof linnet, c: GoldenCase, x: Inputs): Tensor[] {
  if (c.op === 'kda_gate') {
    const gate = ops.kdaGate(x.g, x.A_log, x.dt_bias);
    const bounded = ops.kdaGate(x.g, x.A_log, x.dt_bias, { lowerBound: c.attrs.lowerBound });
    return [gate, bounded];
  }
  const { scale } = c.attrs;
  const options = {
    scale,
    initialState: x.initial_state,
    outputFinalState: true,
    cuSeqlens: x.cu_seqlens,
  } as const;
  const { output, finalState } = calls[c.op](ops, x, options, c);
  return [output, finalState];
}

const namesOf = ({ op }: GoldenCase) =>
  op === 'kda_gate' ? ['gate', 'lowerbound_gate'] : ['o', 'final_state'];

function gradientsOf(ops: typeof linnet, c: GoldenCase): Record<string, Float64Array> {
  const names = Object.keys(c.grad);
  const weights = namesOf(c).map((output) => c.in[`d${output}`]);
  const loss = (...values: Tensor[]) => {
    const outputs = run(ops, c, {
      ...c.in,
      ...Object.fromEntries(names.map((name, i) => [name, values[i]])),
    });
    return customGrad(() => ({ value: scalar(0), gradFunc: () => weights }))(...outputs);
  };
  const result: Record<string, Float64Array> = {};
  tidy(() => {
    grads(loss)(names.map((name) => c.in[name])).forEach((gradient, i) => {
      result[names[i]] = float64(gradient);
    });
  });
  return result;
}

const cases = [...golden('delta'), ...golden('rwkv').filter(({ op }) => op === 'rwkv7')];

for (const [library, ops, bounds] of [
  ['kernel', linnet, DELTA_RULE],
  ['reference', reference, { r: 3e-7, m: 3e-7, gradient: 3e-7 }],
] as const) {
  describe(`golden vectors, ${library}`, () => {
    it.each(cases.map((c) => [`${c.op} ${c.case}`, c] as const))('%s', (_, c) => {
      tidy(() => {
        run(ops, c, c.in).forEach((output, i) => {
          const { r, m } = deviation(float64(output), float64(c.out[namesOf(c)[i]]));
          expect(r, namesOf(c)[i]).toBeLessThan(bounds.r);
          expect(m, namesOf(c)[i]).toBeLessThan(bounds.m);
        });
      });
      if (Object.keys(c.grad).length === 0) return;
      for (const [name, gradient] of Object.entries(gradientsOf(ops, c))) {
        expect(deviation(gradient, float64(c.grad[name])).r, `d${name}`).toBeLessThan(bounds.gradient);
      }
    });
  });
}
