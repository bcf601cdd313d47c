import type { NdArray } from '../op/define';
import type { OjaAttrs, OjaInput } from './gatedOjaRule';

type Inputs = { readonly [name in OjaInput | 'dOutput' | 'dFinal']?: NdArray };

/** x / sqrt(x.x + 1e-6) and the gradient that comes back through it. */
function unit(x: Float64Array, normalize: boolean) {
  const norm = normalize ? 1 / Math.sqrt(x.reduce((sum, value) => sum + value * value, 1e-6)) : 1;
  const y = x.map((value) => value * norm);
  const backward = (dy: Float64Array) => {
    if (!normalize) return dy;
    const along = dy.reduce((sum, value, i) => sum + value * y[i], 0);
    return dy.map((value, i) => norm * (value - along * y[i]));
  };
  return { y, backward };
}

function rowsOf(inputs: Inputs, attrs: OjaAttrs) {
  const [, , H, K] = inputs.k!.shape;
  const V = inputs.v!.shape[3];
  const at = (name: OjaInput | 'dOutput', t: number, head: number, width: number) =>
    inputs[name]!.data.subarray((t * H + head) * width, (t * H + head + 1) * width);
  return {
    H,
    K,
    V,
    at,
    step: (t: number, head: number) => ({
      q: unit(at('q', t, head, K), attrs.normalizeQ),
      k: unit(at('k', t, head, K), attrs.normalizeK),
      v: at('v', t, head, V),
      w: at('gv', t, head, V).map(Math.exp),
      beta: inputs.beta!.data[t * H + head],
    }),
  };
}
type Step = ReturnType<ReturnType<typeof rowsOf>['step']>;

/** S' = S diag(e^gv), S_t = S' + beta (k - S' v) v^T */
function advance(S: Float64Array, { k, v, w, beta }: Step): Float64Array {
  const V = v.length;
  const decayed = S.map((s, i) => s * w[i % V]);
  return decayed.map((s, i) => {
    const row = i - (i % V);
    let error = k.y[row / V];
    for (let j = 0; j < V; j++) error -= decayed[row + j] * v[j];
    return s + beta * error * v[i % V];
  });
}

/** o_t = scale S_t^T q_t, and the final states. */
export function gatedOjaRuleReference(inputs: Inputs, attrs: OjaAttrs): Float64Array[] {
  const { H, K, V, step } = rowsOf(inputs, attrs);
  const { offsets, scale } = attrs;
  const output = new Float64Array(inputs.v!.data.length);
  const finalState = new Float64Array((offsets.length - 1) * H * K * V);
  for (let n = 0; n + 1 < offsets.length; n++) {
    for (let head = 0; head < H; head++) {
      const state = (n * H + head) * K * V;
      let S: Float64Array = inputs.initialState?.data.slice(state, state + K * V) ?? new Float64Array(K * V);
      for (let t = offsets[n]; t < offsets[n + 1]; t++) {
        const now = step(t, head);
        S = advance(S, now);
        for (let i = 0; i < K * V; i++)
          output[(t * H + head) * V + (i % V)] += scale * now.q.y[Math.floor(i / V)] * S[i];
      }
      finalState.set(S, state);
    }
  }
  return attrs.finalState ? [output, finalState] : [output];
}

/**
 * Reverse in time with R the gradient of S_t: R += scale q do^T; with e = k - S' v, dk = beta R v, dbeta = e . R v,
 * dv = beta (R^T e - S'^T R v), R <- (R - beta (R v) v^T) diag(e^gv), dgv = columns of R S.
 */
export function gatedOjaRuleBackwardReference(inputs: Inputs, attrs: OjaAttrs): Float64Array[] {
  const { H, K, V, at, step } = rowsOf(inputs, attrs);
  const { offsets, scale } = attrs;
  const { q, k, v, gv, beta, initialState } = inputs;
  const [dq, dk, dv, dg, dBeta] = [q, k, v, gv, beta].map((input) => new Float64Array(input!.data.length));
  const dInitial = new Float64Array(initialState?.data.length ?? 0);
  for (let n = 0; n + 1 < offsets.length; n++) {
    for (let head = 0; head < H; head++) {
      const state = (n * H + head) * K * V;
      const states: Float64Array[] = [
        initialState?.data.slice(state, state + K * V) ?? new Float64Array(K * V),
      ];
      for (let t = offsets[n]; t < offsets[n + 1]; t++) states.push(advance(states.at(-1)!, step(t, head)));
      const R = inputs.dFinal?.data.slice(state, state + K * V) ?? new Float64Array(K * V);
      for (let t = offsets[n + 1] - 1; t >= offsets[n]; t--) {
        const now = step(t, head);
        const S = states[t - offsets[n]];
        const next = states[t - offsets[n] + 1];
        const dy = at('dOutput', t, head, V);
        const [dQuery, dKey] = [new Float64Array(K), new Float64Array(K)];
        const row = t * H + head;
        for (let i = 0; i < K; i++) {
          let written = 0;
          let error = now.k.y[i];
          for (let j = 0; j < V; j++) {
            R[i * V + j] += scale * now.q.y[i] * dy[j];
            dQuery[i] += scale * dy[j] * next[i * V + j];
            written += R[i * V + j] * now.v[j];
            error -= now.w[j] * S[i * V + j] * now.v[j];
          }
          dKey[i] = now.beta * written;
          dBeta[row] += error * written;
          for (let j = 0; j < V; j++) {
            const decayed = now.w[j] * S[i * V + j];
            dv[row * V + j] += now.beta * (error * R[i * V + j] - written * decayed);
            const dDecayed = R[i * V + j] - now.beta * written * now.v[j];
            dg[row * V + j] += dDecayed * decayed;
            R[i * V + j] = dDecayed * now.w[j];
          }
        }
        dq.set(now.q.backward(dQuery), row * K);
        dk.set(now.k.backward(dKey), row * K);
      }
      if (initialState) dInitial.set(R, state);
    }
  }
  const gradients = [dq, dk, dv, dg, dBeta];
  return initialState ? [...gradients, dInitial] : gradients;
}
