import { concat, customGrad, grads, reshape, scalar, type Tensor, tensor, tidy } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { MOE } from '../../src/catalog/bounds';
import { deviation, float64 } from '../../src/catalog/numerics';
import type { TopkRoutingOptions } from '../../src/moe';
import * as linnet from '../../src/ops';
import * as reference from '../../src/reference';
import { type GoldenCase, golden } from '../golden';

type Inputs = Record<string, Tensor>;
interface Attrs {
  kind: string;
  topk: number;
  groups: number;
  topkGroups: number;
  routedScaling: number;
  capacity: number;
  masked: boolean;
}

function routingOf({ kind, topk: topK, ...rest }: Attrs, correctionBias?: Tensor): TopkRoutingOptions {
  switch (kind) {
    case 'olmoe':
      return { topK };
    case 'gpt_oss':
      return { topK, softmaxAfterTopK: true };
    case 'deepseek_v3':
      return {
        topK,
        scoring: 'sigmoid',
        normTopkProb: true,
        correctionBias,
        numGroups: rest.groups,
        topkGroups: rest.topkGroups,
        routedScalingFactor: rest.routedScaling,
      };
    default:
      return { topK, normTopkProb: true };
  }
}

/** Outputs of each golden op under its own names. */
const calls: Record<string, (ops: typeof linnet, x: Inputs, attrs: Attrs) => Record<string, Tensor>> = {
  router: (ops, { hidden, weight, bias, correction_bias }, attrs) => {
    const logits = ops.routerLogits(hidden, weight, bias);
    return { logits, ...ops.topkRouting(logits, routingOf(attrs, correction_bias)) };
  },
  moe_block: (ops, x, attrs) => {
    const logits = ops.routerLogits(x.hidden, x.router_weight, x.router_bias);
    const routing = ops.topkRouting(logits, routingOf(attrs, x.router_correction_bias));
    const experts = {
      gateUp: x.gate_up,
      down: x.down,
      gateUpBias: x.gate_up_bias,
      downBias: x.down_bias,
    };
    const activation = attrs.kind === 'gpt_oss' ? 'swigluOss' : 'swiglu';
    const shared = x.shared_down && { gateUp: x.shared_gate_up, down: x.shared_down };
    return { o: ops.moeMlp(x.hidden, experts, routing, { activation, shared }) };
  },
  expert_choice: (ops, { hidden, weight }, { capacity }) => {
    const { weights, tokens } = ops.expertChoiceRouting(ops.routerLogits(hidden, weight), { capacity });
    return { weights, indices: tokens };
  },
  soft_moe: (ops, { hidden, phi, w }) => ({
    o: ops.softMoe(hidden, phi, (slots, sizes) => ops.groupedMatMul(slots, w, sizes)),
  }),
  switch_moe: (ops, { hidden, classifier, wi, wo }, { capacity }) => {
    const routing = ops.switchRouting(ops.routerLogits(hidden, classifier), { capacity });
    const experts = { gateUp: wi, down: wo };
    return { o: ops.moeMlp(hidden, experts, routing, { activation: 'relu' }), expert: routing.indices };
  },
  switch_losses: (ops, { logits }) => {
    const { indices } = ops.topkRouting(logits, { topK: 1 });
    return {
      z_loss: ops.routerZLoss(logits),
      aux_loss: ops.loadBalancingLoss(logits, indices, { perSequence: true }),
    };
  },
  load_balancing_loss: (ops, { logits, mask }, { topk, masked }) => {
    const { indices } = ops.topkRouting(logits, { topK: topk });
    const perLayer = reshape(mask, [1, mask.size]);
    const layers = masked ? concat(Array<Tensor>(logits.shape[0]).fill(perLayer)) : undefined;
    return { loss: ops.loadBalancingLoss(logits, indices, { mask: layers }) };
  },
};

/** The golden shared expert has gate and up apart; here they are one tensor, in the inputs and in the gradients. */
function withSharedGateUp(tensors: Inputs): Inputs {
  const { shared_gate, shared_up, ...rest } = tensors;
  return shared_gate ? { ...rest, shared_gate_up: concat([shared_gate, shared_up]) } : tensors;
}

/** Golden choices of DeepSeek-V3 come by weight, these by score and bias: the rows in the order of `indices`. */
function inOrderOf(mine: number[][], c: GoldenCase, rows: Tensor): Tensor {
  const theirs = c.out.indices.arraySync() as number[][];
  const values = rows.arraySync() as number[][];
  return tensor(
    mine.map((row, i) => row.map((e) => values[i][theirs[i].indexOf(e)])),
    rows.shape as [number, number],
    rows.dtype,
  );
}

function gradientsOf(ops: typeof linnet, c: GoldenCase, names: string[]): Record<string, Float64Array> {
  const result: Record<string, Float64Array> = {};
  const loss = (...values: Tensor[]) => {
    const inputs = { ...c.in, ...Object.fromEntries(names.map((name, i) => [name, values[i]])) };
    const outputs = calls[c.op](ops, inputs, c.attrs as never);
    const weighed = Object.keys(outputs).filter((name) => `d${name}` in c.in);
    const mine = c.op === 'router' ? (outputs.indices.arraySync() as number[][]) : undefined;
    const weightOf = (name: string) => (mine ? inOrderOf(mine, c, c.in[`d${name}`]) : c.in[`d${name}`]);
    return customGrad(() => ({
      value: scalar(0),
      gradFunc: () => weighed.map((name) => reshape(weightOf(name), outputs[name].shape)),
    }))(...weighed.map((name) => outputs[name]));
  };
  grads(loss)(names.map((name) => c.in[name])).forEach((gradient, i) => {
    result[names[i]] = float64(gradient);
  });
  return result;
}

const cases = golden('moe').map((c) => ({
  ...c,
  attrs: { ...c.attrs, masked: c.case === 'masked' } as unknown as GoldenCase['attrs'],
  in: withSharedGateUp(c.in),
  grad: withSharedGateUp(c.grad),
}));

describe.each([
  ['kernels', linnet],
  ['references', reference],
])('golden vectors, %s', (_, ops) => {
  for (const c of cases) {
    it(`${c.op} ${c.case}`, () => {
      tidy(() => {
        const outputs = calls[c.op](ops, c.in, c.attrs as never);
        for (const [name, output] of Object.entries(outputs)) {
          const mine = c.op === 'router' ? (outputs.indices.arraySync() as number[][]) : undefined;
          const want = mine && name !== 'logits' ? inOrderOf(mine, c, c.out[name]) : c.out[name];
          const { r, m } = deviation(float64(output), float64(want));
          expect(r, name).toBeLessThanOrEqual(MOE.r);
          expect(m, name).toBeLessThanOrEqual(MOE.m);
        }
        const gradients = gradientsOf(ops, c, Object.keys(c.grad));
        for (const [name, gradient] of Object.entries(gradients)) {
          expect(deviation(gradient, float64(c.grad[name])).r, `d${name}`).toBeLessThanOrEqual(MOE.gradient);
        }
      });
    });
  }
});
