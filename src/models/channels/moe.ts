import { concat, mul, sigmoid, stack, type Tensor } from '@tensorflow/tfjs-core';
import { linear } from '../../nn/layers/linear';
import { type Activation, moeMlp, routerLogits, type TopkRoutingOptions, topkRouting } from '../../ops';
import type { MixerFactory } from '../mixers/mixer';
import type { Weights } from '../parameters';
import { feedForward } from './feedForward';

export interface MoeSpec {
  type: 'moe';
  size: number;
  /** Of each expert. */
  intermediate: number;
  experts: number;
  routing: Omit<TopkRoutingOptions, 'correctionBias'>;
  /** Default `'swiglu'`. */
  activation?: Activation;
  /** Default `{ name: 'gate' }`. */
  router?: { name: string; bias?: boolean; correctionBias?: string };
  /** Default `experts` with `gate_proj`, `up_proj` and `down_proj`. */
  names?: { experts: string; projections: readonly [gate: string, up: string, down: string] };
  /** Whether the experts are stored together as GPT-OSS does, `[E, D, 2F]` with biases. */
  packed?: boolean;
  /** A network all tokens go through besides; its gate is one number per token. */
  shared?: { name: string; intermediate: number; gate?: string };
}

/** Experts stored one by one, or together as `gate_up_proj` and `down_proj`. */
function expertWeights(weights: Weights, spec: MoeSpec) {
  const { size: D, intermediate: F, experts: E } = spec;
  const { experts, projections } = spec.names ?? {
    experts: 'experts',
    projections: ['gate_proj', 'up_proj', 'down_proj'] as const,
  };
  if (spec.packed) {
    return {
      gateUp: weights.tensor(`${experts}.gate_up_proj`, [E, D, 2 * F]),
      down: weights.tensor(`${experts}.down_proj`, [E, F, D]),
      gateUpBias: weights.tensor(`${experts}.gate_up_proj_bias`, [E, 2 * F]),
      downBias: weights.tensor(`${experts}.down_proj_bias`, [E, D]),
    };
  }
  const each = (projection: string, shape: readonly number[]) =>
    Array.from({ length: E }, (_, e) => ({ name: `${experts}.${e}.${projection}.weight`, shape }));
  const together = (name: string, shape: readonly number[]) => ({
    sources: [{ name: `${experts}.${name}`, shape }],
    prepare: ([t]: Tensor[]) => t.clone(),
  });
  const [gate, up, down] = projections;
  return {
    gateUp: weights.made(`${experts} gate and up`, [
      {
        sources: [...each(gate, [F, D]), ...each(up, [F, D])],
        prepare: (t) => stack(t.slice(0, E).map((gateOf, e) => concat([gateOf, t[E + e]], 0))),
      },
      together('gate_up_proj', [E, 2 * F, D]),
    ]),
    down: weights.made(`${experts} down`, [
      { sources: each(down, [D, F]), prepare: (t) => stack(t) },
      together('down_proj', [E, D, F]),
    ]),
  };
}

/** The best experts of each token, and shared ones. */
export const moe: MixerFactory<MoeSpec> = (weights, spec) => {
  const { size: D, experts: E, routing, activation, shared } = spec;
  const router: NonNullable<MoeSpec['router']> = spec.router ?? { name: 'gate' };
  const routerWeight = weights.tensor(`${router.name}.weight`, [E, D]);
  const routerBias = router.bias ? weights.tensor(`${router.name}.bias`, [E]) : undefined;
  const correction = router.correctionBias ? weights.tensor(router.correctionBias, [E]) : undefined;
  const { gateUp, down, ...biases } = expertWeights(weights, spec);
  const { gateUpBias, downBias } = { gateUpBias: undefined, downBias: undefined, ...biases };
  const everyToken =
    shared &&
    feedForward(weights.at(shared.name), {
      type: 'feedForward',
      size: D,
      intermediate: shared.intermediate,
    });
  const sharedGate = shared?.gate && weights.linear(shared.gate, D, 1);

  return (x, step) => {
    const logits = routerLogits(x, routerWeight.value, routerBias?.value);
    const routes = topkRouting(logits, { ...routing, correctionBias: correction?.value });
    const sharedOutput = everyToken?.(x, step);
    return moeMlp(
      x,
      {
        gateUp: gateUp.value,
        down: down.value,
        gateUpBias: gateUpBias?.value,
        downBias: downBias?.value,
      },
      routes,
      {
        activation,
        residual:
          sharedOutput && sharedGate ? mul(sharedOutput, sigmoid(linear(x, sharedGate))) : sharedOutput,
      },
    );
  };
};
