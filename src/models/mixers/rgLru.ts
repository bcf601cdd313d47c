import { mul, tensor } from '@tensorflow/tfjs-core';
import { type ActivationName, activations } from '../../nn/layers/activation';
import { linear } from '../../nn/layers/linear';
import { rgLru as rgLruOp } from '../../ops';
import { convolution } from './convolution';
import type { MixerFactory } from './mixer';

export interface RgLruSpec {
  type: 'rgLru';
  size: number;
  width: number;
  heads: number;
  convolution: { width: number };
  activation: ActivationName;
}

const firstTokens = (B: number, T: number) =>
  tensor(
    Int32Array.from({ length: B * T }, (_, i) => (i % T === 0 ? 1 : 0)),
    [B, T],
    'int32',
  );

/** RecurrentGemma's block: a convolution and a real-gated linear recurrent unit, opened by a gate. */
export const rgLru: MixerFactory<RgLruSpec> = (weights, spec) => {
  const { size, width: W, heads: H, activation } = spec;
  const gate = weights.linear('linear_y', size, W, true);
  const into = weights.linear('linear_x', size, W, true);
  const out = weights.linear('linear_out', W, size, true);
  const conv = convolution(weights, { parts: [['conv_1d', W]], width: spec.convolution.width, bias: true });
  const unit = weights.at('rg_lru');
  const recurrentParam = unit.tensor('recurrent_param', [W]);
  const inputGateWeight = unit.tensor('input_gate_weight', [H, W / H, W / H]);
  const inputGateBias = unit.tensor('input_gate_bias', [H, W / H]);
  const recurrentGateWeight = unit.tensor('recurrent_gate_weight', [H, W / H, W / H]);
  const recurrentGateBias = unit.tensor('recurrent_gate_bias', [H, W / H]);
  return (x, { state, position }) => {
    const opening = activations[activation](linear(x, gate));
    const inner = conv(linear(x, into), state);
    const [B, T] = inner.shape as [number, number];
    const { output, finalState } = rgLruOp(
      inner,
      recurrentParam.value,
      inputGateWeight.value,
      inputGateBias.value,
      recurrentGateWeight.value,
      recurrentGateBias.value,
      {
        reset: position > 0 ? undefined : firstTokens(B, T),
        initialState: state.get('state'),
        outputFinalState: true,
      },
    );
    state.set('state', finalState);
    return linear(mul(output, opening), out);
  };
};
