import type { Tensor } from '@tensorflow/tfjs-core';
import type { AdditiveOptions } from './additive';
import { deltaRule } from './deltaRule';
import { dplrDeltaRule } from './dplrDeltaRule';
import { gatedDeltaRule } from './gatedDeltaRule';
import { gla } from './gla';
import { iplrDeltaRule } from './iplrDeltaRule';
import { kda } from './kda';
import { linearAttention } from './linearAttention';
import type { Recurrent } from './recurrent';
import { rwkv6 } from './rwkv6';
import { simpleGla } from './simpleGla';

/** Which of the linear recurrences it is; every combination offered is the op named beside it. */
export interface LinearRecurrenceOptions extends AdditiveOptions {
  /**
   * What a token does to the state: `additive` (default) `S' + k v^T`, `delta` `S' + beta k (v - S'^T k)^T`, or
   * `generalizedDelta` `S' + b (a^T S) + k v^T`, where S' is the state after its decay.
   */
  update?: 'additive' | 'delta' | 'generalizedDelta';
  /** Log decay: none, `[B, T, HV]` for one per head or `[B, T, HV, K]` for one per channel. */
  g?: Tensor;
  /** `[B, T, HV]`, step sizes of `delta`. */
  beta?: Tensor;
  /** `[B, T, H, K]`, of `generalizedDelta`. */
  a?: Tensor;
  /** `[B, T, H, K]`, of `generalizedDelta`. */
  b?: Tensor;
  /** `[H, K]`: the state is read before the token is written, which meets itself through u. Additive with a decay per channel. */
  u?: Tensor;
}

const NAME = 'linearRecurrence';

function need<T>(value: T | undefined, name: string, why: string): T {
  if (value === undefined) throw new TypeError(`${NAME}: ${why} needs options.${name}`);
  return value;
}

/**
 * The unified view: nearly every linear-time sequence model is `S_t = decay(S_{t-1}) + update`, `o_t = scale S_t^T q_t`, and
 * differs in its decay, its update and its read-out. The named ops are what this calls.
 *
 * | update             | no decay          | per head         | per channel                 |
 * | ------------------ | ----------------- | ---------------- | --------------------------- |
 * | `additive`         | `linearAttention` | `simpleGla`      | `gla`, with u `rwkv6`       |
 * | `delta`            | `deltaRule`       | `gatedDeltaRule` | `kda`                       |
 * | `generalizedDelta` | `iplrDeltaRule`   |                  | `dplrDeltaRule`             |
 *
 * @param q `[B, T, H, K]`
 * @param k `[B, T, H, K]`
 * @param v `[B, T, HV, V]`
 * @param options.update `additive` (default), `delta` or `generalizedDelta`
 * @param options.g log decay `[B, T, HV]` or `[B, T, HV, K]`; none by default
 * @param options.beta, options.a, options.b, options.u what the update or the read-out takes
 * @param options.scale, options.initialState, options.outputFinalState, options.cuSeqlens as the named ops have them
 * @param options.reverse of `additive` only
 * @returns `[B, T, HV, V]`
 * @throws TypeError for an input that is missing or has no place in the combination; what the named op throws
 * @see Yang et al., "Parallelizing Linear Transformers with the Delta Rule over Sequence Length", table 4
 * @example
 * ```ts
 * import { randomNormal, randomUniform } from '@tensorflow/tfjs-core';
 * import { l2Norm, linearRecurrence, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 64, 2, 16]);
 * const k = l2Norm(randomNormal([1, 64, 2, 16]));
 * const v = randomNormal([1, 64, 4, 32]);
 * const g = randomUniform([1, 64, 4], -0.1, 0);
 * const beta = randomUniform([1, 64, 4]);
 * const output = linearRecurrence(q, k, v, { update: 'delta', g, beta }); // [1, 64, 4, 32]
 * ```
 */
export function linearRecurrence(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: LinearRecurrenceOptions & { outputFinalState: true },
): Recurrent;
export function linearRecurrence(q: Tensor, k: Tensor, v: Tensor, options?: LinearRecurrenceOptions): Tensor;
export function linearRecurrence(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  { update = 'additive', g, beta, a, b, u, ...options }: LinearRecurrenceOptions = {},
): Tensor | Recurrent {
  const perChannel = g?.rank === 4;
  const takes = {
    beta: update === 'delta',
    a: update === 'generalizedDelta',
    b: update === 'generalizedDelta',
  };
  const given = { beta, a, b };
  for (const name of ['beta', 'a', 'b'] as const) {
    if (given[name] !== undefined && !takes[name])
      throw new TypeError(`${NAME}: update '${update}' takes no ${name}`);
  }
  if (u !== undefined && !(update === 'additive' && perChannel))
    throw new TypeError(`${NAME}: u needs update 'additive' and g [B, T, HV, K]`);
  if (options.reverse && update !== 'additive')
    throw new TypeError(`${NAME}: reverse needs update 'additive'`);
  switch (update) {
    case 'additive':
      if (g === undefined) return linearAttention(q, k, v, options);
      if (u !== undefined) return rwkv6(q, k, v, g, u, options);
      return perChannel ? gla(q, k, v, g, options) : simpleGla(q, k, v, g, options);
    case 'delta': {
      const rate = need(beta, 'beta', "update 'delta'");
      if (g === undefined) return deltaRule(q, k, v, rate, options);
      return perChannel ? kda(q, k, v, g, rate, options) : gatedDeltaRule(q, k, v, g, rate, options);
    }
    case 'generalizedDelta': {
      const read = need(a, 'a', "update 'generalizedDelta'");
      const write = need(b, 'b', "update 'generalizedDelta'");
      if (g === undefined) return iplrDeltaRule(q, k, v, read, write, options);
      return dplrDeltaRule(q, k, v, read, write, g, options);
    }
    default:
      throw new TypeError(`${NAME}: update is '${update}'; expected additive, delta or generalizedDelta`);
  }
}
