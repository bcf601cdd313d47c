import { add, mul, sigmoid, sub } from '@tensorflow/tfjs-core';
import { type ActivationName, activations } from '../../nn/layers/activation';
import { linear } from '../../nn/layers/linear';
import type { MixerFactory } from '../mixers/mixer';
import { shifted } from '../mixers/shift';
import type { Parameter } from '../parameters';

export interface RwkvChannelSpec {
  type: 'rwkvChannel';
  size: number;
  intermediate: number;
  /** Default squared ReLU. */
  activation?: ActivationName;
  /**
   * Name and shape of what mixes in the token before for keys, and, with a gate, for the receptance: shares of that token,
   * or, `ofToken`, of the token itself.
   */
  mix: { key: string; receptance?: string; shape: readonly number[]; ofToken?: boolean };
  /** Default `['key', 'receptance']`. */
  names?: readonly [key: string, receptance: string];
}

/** Channel mixing of RWKV: `value(f(key(x)))` of tokens mixed with the one before, gated by `receptance` if it is named. */
export const rwkvChannel: MixerFactory<RwkvChannelSpec> = (weights, spec) => {
  const { size, intermediate: F, activation = 'relu2', mix } = spec;
  const keyMix = weights.tensor(mix.key, mix.shape);
  const gateMix = mix.receptance === undefined ? undefined : weights.tensor(mix.receptance, mix.shape);
  const [keyName, receptanceName] = spec.names ?? ['key', 'receptance'];
  const key = weights.linear(keyName, size, F);
  const value = weights.linear('value', F, size);
  const receptance = gateMix && weights.linear(receptanceName, size, size);
  const before = (share: Parameter) => (mix.ofToken ? sub(1, share.value) : share.value);
  return (x, { state }) => {
    const delta = shifted(x, state, 'shift');
    const y = linear(activations[activation](linear(add(x, mul(delta, before(keyMix))), key)), value);
    if (gateMix === undefined || receptance === undefined) return y;
    return mul(sigmoid(linear(add(x, mul(delta, before(gateMix))), receptance)), y);
  };
};
