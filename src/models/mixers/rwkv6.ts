import { add, exp, mul, neg, reshape, slice, tanh, transpose } from '@tensorflow/tfjs-core';
import { splitChannels } from '../../nn/channels';
import { type ActivationName, activations } from '../../nn/layers/activation';
import { type LinearWeights, linear } from '../../nn/layers/linear';
import { groupNorm } from '../../nn/layers/norm';
import { fromHeads, toHeads } from '../../nn/layers/shape';
import { rwkv6 as rwkv6Op } from '../../ops';
import type { MixerFactory } from './mixer';
import { shifted } from './shift';

export interface Rwkv6Spec {
  type: 'rwkv6';
  size: number;
  heads: number;
  keyDim: number;
  valueDim: number;
  /** Of the projections that mix in the token before, and that decays come from. */
  mixRank: number;
  decayRank: number;
  /** Of the gate. */
  activation: ActivationName;
  eps: number;
}

const INPUTS = ['r', 'w', 'k', 'v', 'g'] as const;

/** The time mixing of RWKV-6: shares of the token before that depend on the tokens. */
export const rwkv6: MixerFactory<Rwkv6Spec> = (weights, spec) => {
  const { size, heads: H, keyDim, valueDim, mixRank, decayRank, activation, eps } = spec;
  const [keys, values] = [H * keyDim, H * valueDim];
  const share = weights.tensor('x_proj.0.mu', [size]);
  const mixDown = weights.linear('x_proj.0.linear', size, 5 * mixRank);
  const mixUp = weights.made('x_proj.2 by input', [
    {
      sources: [{ name: 'x_proj.2.weight', shape: [size, 5 * mixRank] }],
      prepare: ([w]) => transpose(reshape(w, [size, 5, mixRank]), [1, 2, 0]),
    },
  ]);
  const mixBias = weights.tensor('x_bias', [5, size]);
  const plain = (name: string, out: number) => weights.linear(`${name}_proj.linear`, size, out);
  const [r, k, v, g] = [plain('r', keys), plain('k', keys), plain('v', values), plain('g', values)];
  const decayDown = weights.linear('w_proj.linear.lora.0', size, decayRank);
  const decayUp = weights.linear('w_proj.linear.lora.2', decayRank, keys, true);
  const bonus = weights.tensor('bonus', [H, keyDim]);
  const norm = [weights.tensor('g_norm.weight', [values]), weights.tensor('g_norm.bias', [values])];
  const out = weights.linear('o_proj', values, size);
  return (x, { state }) => {
    const delta = shifted(x, state, 'shift');
    const low = splitChannels(
      tanh(linear(add(x, mul(delta, share.value)), mixDown)),
      INPUTS.map(() => mixRank),
    );
    const [xr, xw, xk, xv, xg] = low.map((part, i) => {
      const up: LinearWeights = {
        weight: reshape(slice(mixUp.value, [i, 0, 0], [1, mixRank, size]), [mixRank, size]),
        bias: reshape(slice(mixBias.value, [i, 0], [1, size]), [size]),
      };
      return add(x, mul(delta, linear(part, up)));
    });
    const w = neg(exp(linear(tanh(linear(xw, decayDown)), decayUp)));
    const { output, finalState } = rwkv6Op(
      toHeads(linear(xr, r), keyDim),
      toHeads(linear(xk, k), keyDim),
      toHeads(linear(xv, v), valueDim),
      toHeads(w, keyDim),
      bonus.value,
      { scale: 1, initialState: state.get('state'), outputFinalState: true },
    );
    state.set('state', finalState);
    const normed = groupNorm(fromHeads(output), H, { weight: norm[0].value, bias: norm[1].value }, { eps });
    return linear(mul(normed, activations[activation](linear(xg, g))), out);
  };
};
