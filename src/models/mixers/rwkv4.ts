import { add, mul, sigmoid, sub } from '@tensorflow/tfjs-core';
import { linear } from '../../nn/layers/linear';
import { rwkv4 as rwkv4Op } from '../../ops';
import type { MixerFactory } from './mixer';
import { shifted } from './shift';

export interface Rwkv4Spec {
  type: 'rwkv4';
  size: number;
  /** Channels within. */
  width: number;
}

/** The time mixing of RWKV-4. */
export const rwkv4: MixerFactory<Rwkv4Spec> = (weights, { size, width: C }) => {
  const shares = ['key', 'value', 'receptance'].map((name) =>
    weights.tensor(`time_mix_${name}`, [1, 1, size]),
  );
  const [key, value, receptance] = ['key', 'value', 'receptance'].map((name) =>
    weights.linear(name, size, C),
  );
  const [decay, first] = ['time_decay', 'time_first'].map((name) => weights.tensor(name, [C]));
  const out = weights.linear('output', C, size);
  return (x, { state }) => {
    const delta = shifted(x, state, 'shift');
    const [k, v, r] = shares.map((share) => add(x, mul(delta, sub(1, share.value))));
    const { output, finalState } = rwkv4Op(decay.value, first.value, linear(k, key), linear(v, value), {
      initialState: state.get('state'),
      outputFinalState: true,
    });
    state.set('state', finalState);
    return linear(mul(sigmoid(linear(r, receptance)), output), out);
  };
};
