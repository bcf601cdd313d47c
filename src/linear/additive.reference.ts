import type { NdArray } from '../op/define';
import { type AdditiveAttrs, type AdditiveInput, gradientNames, readersOf } from './additive';

type Inputs = { readonly [name in AdditiveInput | 'dOutput' | 'dFinal']?: NdArray };

function sizesOf({ q, k, v, g, beta }: Inputs, { logDecay }: AdditiveAttrs) {
  const [, , H, K] = k!.shape;
  const [, , HV, V] = v!.shape;
  /** Where the log decay of a channel stands in g; -1 if it is no input. */
  const gateAt = (row: number, i: number) =>
    g === undefined ? -1 : g.shape.length === 4 ? row * K + i : row;
  const decay = (row: number, i: number) =>
    logDecay ? Math.exp(logDecay[row % HV]) : g === undefined ? 1 : Math.exp(g.data[gateAt(row, i)]);
  const readers = readersOf({ q: q!.shape, k: k!.shape });
  /** Where q and output of the readers of a value head begin in a token. */
  const placesOf = (t: number, head: number) => {
    const key = t * H + Math.floor((head * H) / HV);
    return Array.from({ length: readers }, (_, r) => ({
      query: (key * readers + r) * K,
      output: ((t * HV + head) * readers + r) * V,
    }));
  };
  const strength = (row: number) => (beta ? beta.data[row] : 1);
  const valueAt = (row: number, j: number) => strength(row) * v!.data[row * V + j];
  return { H, HV, readers, K, V, placesOf, gateAt, decay, strength, valueAt };
}

/** The places of one token of one value head: rows of k and v, and the token before in the order of the recurrence. */
function tokensOf({ offsets, reverse }: AdditiveAttrs, n: number): number[] {
  const tokens = Array.from({ length: offsets[n + 1] - offsets[n] }, (_, i) => offsets[n] + i);
  return reverse ? tokens.reverse() : tokens;
}

/** S_t = diag(w_t) S_{t-1} + k_t v_t^T, o_t = scale S_t^T q_t, or scale (S_{t-1} + diag(u) k_t v_t^T)^T q_t; v times beta. */
export function additiveReference(inputs: Inputs, attrs: AdditiveAttrs): Float64Array[] {
  const { q, k, u, initialState } = inputs;
  const { H, HV, readers, K, V, placesOf, decay, valueAt } = sizesOf(inputs, attrs);
  const { offsets, scale } = attrs;
  const o = new Float64Array(offsets.at(-1)! * HV * readers * V);
  const finalState = new Float64Array((offsets.length - 1) * HV * K * V);
  for (let n = 0; n + 1 < offsets.length; n++) {
    for (let head = 0; head < HV; head++) {
      const at = (n * HV + head) * K * V;
      const S = finalState.subarray(at, at + K * V);
      if (initialState) S.set(initialState.data.subarray(at, at + K * V));
      const keyHead = Math.floor((head * H) / HV);
      for (const t of tokensOf(attrs, n)) {
        const row = t * HV + head;
        const key = (t * H + keyHead) * K;
        const places = placesOf(t, head);
        for (let i = 0; i < K; i++) {
          const w = decay(row, i);
          for (let j = 0; j < V; j++) {
            const before = S[i * V + j];
            const written = k!.data[key + i] * valueAt(row, j);
            S[i * V + j] = w * before + written;
            const read = u ? before + u.data[keyHead * K + i] * written : S[i * V + j];
            for (const { query, output } of places) o[output + j] += scale * q!.data[query + i] * read;
          }
        }
      }
    }
  }
  return attrs.finalState ? [o, finalState] : [o];
}

/** States kept while going forward; those between are computed again on the way back. */
const CHECKPOINT = 64;

/**
 * Reverse in time, with R the gradient of S_t: R += scale q do^T, then dk = R v, dv = R^T k, dw = rows of R S_{t-1} and
 * R <- diag(w) R; where tokens are read before they are written, scale q do^T is added last.
 */
export function additiveBackwardReference(inputs: Inputs, attrs: AdditiveAttrs): Float64Array[] {
  const { q, k, v, u, initialState, dOutput, dFinal } = inputs;
  const { H, HV, K, V, placesOf, gateAt, decay, strength, valueAt } = sizesOf(inputs, attrs);
  const { offsets, scale } = attrs;
  const names = gradientNames(inputs);
  const gradients = Object.fromEntries(
    names.map((name) => [name, new Float64Array(inputs[name]!.data.length)]),
  ) as Record<AdditiveInput, Float64Array>;
  for (let n = 0; n + 1 < offsets.length; n++) {
    const tokens = tokensOf(attrs, n);
    for (let head = 0; head < HV; head++) {
      const at = (n * HV + head) * K * V;
      const keyHead = Math.floor((head * H) / HV);
      /** S before each of the tokens [from, to), and after the last. */
      const statesFrom = (S: Float64Array, from: number, to: number) => {
        const states = [S];
        for (const t of tokens.slice(from, to)) {
          const next = new Float64Array(K * V);
          for (let i = 0; i < K; i++) {
            const w = decay(t * HV + head, i);
            const key = k!.data[(t * H + keyHead) * K + i];
            for (let j = 0; j < V; j++)
              next[i * V + j] = w * states.at(-1)![i * V + j] + key * valueAt(t * HV + head, j);
          }
          states.push(next);
        }
        return states;
      };
      const checkpoints: Float64Array[] = [
        initialState?.data.slice(at, at + K * V) ?? new Float64Array(K * V),
      ];
      for (let t = 0; t + CHECKPOINT < tokens.length; t += CHECKPOINT)
        checkpoints.push(statesFrom(checkpoints.at(-1)!, t, t + CHECKPOINT).at(-1)!);

      const R = dFinal?.data.slice(at, at + K * V) ?? new Float64Array(K * V);
      for (let segment = checkpoints.length - 1; segment >= 0; segment--) {
        const from = segment * CHECKPOINT;
        const to = Math.min(tokens.length, from + CHECKPOINT);
        const states = statesFrom(checkpoints[segment], from, to);
        for (let i = to - 1; i >= from; i--)
          backwardStep(tokens[i], head, keyHead, states[i - from], states[i - from + 1], R);
      }
      gradients.initialState?.set(R, at);
    }
  }
  return names.map((name) => gradients[name]);

  function backwardStep(
    t: number,
    head: number,
    keyHead: number,
    S: Float64Array,
    next: Float64Array,
    R: Float64Array,
  ): void {
    const row = t * HV + head;
    const places = placesOf(t, head);
    for (let i = 0; i < K; i++) {
      const key = (t * H + keyHead) * K + i;
      const bonus = keyHead * K + i;
      const w = decay(row, i);
      for (let j = 0; j < V; j++) {
        const at = i * V + j;
        const value = valueAt(row, j);
        const written = k!.data[key] * value;
        const read = u ? S[at] + u.data[bonus] * written : next[at];
        let [query, dValue] = [0, 0];
        for (const place of places) {
          const dy = scale * dOutput!.data[place.output + j];
          query += dy * q!.data[place.query + i];
          gradients.q[place.query + i] += dy * read;
        }
        if (u) {
          gradients.u[bonus] += query * written;
          gradients.k[key] += query * u.data[bonus] * value;
          dValue += query * u.data[bonus] * k!.data[key];
        } else R[at] += query;
        gradients.k[key] += R[at] * value;
        dValue += R[at] * k!.data[key];
        gradients.v[row * V + j] += strength(row) * dValue;
        if (gradients.beta) gradients.beta[row] += dValue * v!.data[row * V + j];
        if (gradients.g) gradients.g[gateAt(row, i)] += w * R[at] * S[at];
        R[at] *= w;
        if (u) R[at] += query;
      }
    }
  }
}
