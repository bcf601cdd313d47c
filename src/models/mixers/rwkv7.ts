import { add, mul, neg, reshape, sigmoid, sub, sum, type Tensor } from '@tensorflow/tfjs-core';
import { type ActivationName, activations } from '../../nn/layers/activation';
import { linear } from '../../nn/layers/linear';
import { groupNorm } from '../../nn/layers/norm';
import { fromHeads, toHeads } from '../../nn/layers/shape';
import { l2Norm, rwkv7 as rwkv7Op } from '../../ops';
import type { Weights } from '../parameters';
import type { MixerFactory } from './mixer';
import { shifted } from './shift';

export interface Rwkv7Spec {
  type: 'rwkv7';
  size: number;
  headDim: number;
  valueSize: number;
  /** Of the low-rank projections of decay, learning rate, value residual and gate. */
  ranks: { w: number; a: number; v: number; g: number };
  /** Of the norm of the output. */
  eps: number;
  /** Added under the root of the norm of removal keys. */
  removalEps: number;
  /** Whether this is the first layer, whose values the others go back to. */
  first: boolean;
}

/** The decay is `exp(-exp(-0.5) sigmoid(w))`. */
const DECAY = -Math.exp(-0.5);
const SHIFTED = ['x_r', 'x_w', 'x_k', 'x_v', 'x_a', 'x_g'] as const;

interface LowRank {
  rank: number;
  out: number;
  activation: ActivationName;
  bias: boolean;
}

function lowRank(weights: Weights, name: string, size: number, { rank, out, activation, bias }: LowRank) {
  const down = weights.linear(`${name}.lora.0`, size, rank);
  const up = weights.linear(`${name}.lora.2`, rank, out, bias);
  return (x: Tensor) => linear(activations[activation](linear(x, down)), up);
}

/** The time mixing of RWKV-7. */
export const rwkv7: MixerFactory<Rwkv7Spec> = (weights, spec) => {
  const { size, headDim: D, valueSize, ranks, eps, first } = spec;
  const H = size / D;
  const vector = (name: string, shape: readonly number[] = [size]) => weights.tensor(name, shape);
  const mixes = SHIFTED.map((name) => vector(name, [1, 1, size]));
  const [kk, ka, rk] = [vector('k_k'), vector('k_a'), vector('r_k', [H, D])];
  const rProj = weights.linear('r_proj', size, size);
  const kProj = weights.linear('k_proj', size, size);
  const vProj = weights.linear('v_proj', size, valueSize);
  const oProj = weights.linear('o_proj', valueSize, size);
  const low = (name: string, rank: number, out: number, activation: ActivationName, bias = true) =>
    lowRank(weights, `${name}_lora`, size, { rank, out, activation, bias });
  const wLow = low('w', ranks.w, size, 'tanh');
  const aLow = low('a', ranks.a, size, 'identity');
  const gLow = low('g', ranks.g, valueSize, 'sigmoid', false);
  const vLow = first ? undefined : low('v', ranks.v, valueSize, 'identity');
  const norm = { weight: vector('g_norm.weight', [valueSize]), bias: vector('g_norm.bias', [valueSize]) };

  return (x, { state, shared }) => {
    const delta = shifted(x, state, 'shift');
    const [xr, xw, xk, xv, xa, xg] = mixes.map((mix) => add(x, mul(delta, mix.value)));
    const w = mul(DECAY, sigmoid(wLow(xw)));
    const ownValues = linear(xv, vProj);
    let values = ownValues;
    if (vLow === undefined) shared.set('rwkv7.values', ownValues);
    else values = add(ownValues, mul(sub(shared.get('rwkv7.values')!, ownValues), sigmoid(vLow(xv))));
    const a = sigmoid(aLow(xa));
    const keys = linear(xk, kProj);
    const removal = l2Norm(toHeads(mul(keys, kk.value), D), { eps: spec.removalEps });
    const k = toHeads(mul(keys, add(1, mul(sub(a, 1), ka.value))), D);
    const [r, v] = [toHeads(linear(xr, rProj), D), toHeads(values, valueSize / H)];
    const { output, finalState } = rwkv7Op(
      r,
      toHeads(w, D),
      k,
      v,
      neg(removal),
      mul(removal, toHeads(a, D)),
      {
        initialState: state.get('state'),
        outputFinalState: true,
      },
    );
    state.set('state', finalState);
    const normed = groupNorm(
      fromHeads(output),
      H,
      { weight: norm.weight.value, bias: norm.bias.value },
      { eps },
    );
    const direct = mul(sum(mul(mul(r, k), reshape(rk.value, [1, 1, H, D])), -1, true), v);
    return linear(mul(add(normed, fromHeads(direct)), gLow(xg)), oProj);
  };
};
