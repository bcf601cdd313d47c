import type { NdArray } from '../op/define';
import { type DeltaAttrs, type DeltaInput, gradientNames } from './delta';

type Inputs = { readonly [name in DeltaInput | 'dOutput' | 'dFinal']?: NdArray };
type Gradients = { [name in DeltaInput]?: Float64Array };

/** The vectors over K of one step S_t = diag(w) S + b (a^T S) + k v^T; of its adjoint, their gradients. */
interface Step {
  w: Float64Array;
  a: Float64Array;
  b: Float64Array;
  k: Float64Array;
}

/** Positions of a step's rows in the inputs: `key` in k, a, b; `gate` in g; `head` in beta. */
interface Place {
  key: number;
  gate: number;
  head: number;
  /** A token of several steps decays before its first one only. */
  decays: boolean;
}

interface Sizes {
  H: number;
  HV: number;
  K: number;
  V: number;
}

function sizesOf({ k, v }: Inputs): Sizes {
  return { H: k!.shape[2], HV: v!.shape[2], K: k!.shape[3], V: v!.shape[3] };
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

/**
 * Delta rule: S' = diag(e^g) S, S_t = S' + beta k (v - S'^T k)^T.
 * Comba: S_t = S' + beta k (v - S^T p)^T. DPLR: S_t = S' + b (a^T S) + k v^T.
 */
function stepOf(inputs: Inputs, { form, betaSigmoid }: DeltaAttrs, { HV, K }: Sizes) {
  const { k, g, beta, a, b } = inputs;
  const vectorGate = g !== undefined && g.shape.length === 4;
  const logDecay = (at: Place, i: number) =>
    g === undefined || !at.decays ? 0 : g.data[vectorGate ? at.gate * K + i : at.gate];
  const betaOf = (at: Place) => (betaSigmoid ? sigmoid(beta!.data[at.head]) : beta!.data[at.head]);

  function forward(at: Place, step: Step): void {
    for (let i = 0; i < K; i++) {
      const key = k!.data[at.key + i];
      step.w[i] = Math.exp(logDecay(at, i));
      if (form === 'dplr') {
        step.a[i] = a!.data[at.key + i];
        step.b[i] = b!.data[at.key + i];
        step.k[i] = key;
      } else {
        step.a[i] = form === 'comba' ? a!.data[at.key + i] : step.w[i] * key;
        step.b[i] = -betaOf(at) * key;
        step.k[i] = betaOf(at) * key;
      }
    }
  }

  /** Adds the gradients of the inputs of a step, given those of its vectors. */
  function backward(at: Place, d: Step, gradients: Gradients): void {
    for (let i = 0; i < K; i++) {
      const key = k!.data[at.key + i];
      const w = Math.exp(logDecay(at, i));
      let dw = d.w[i];
      if (form === 'dplr') {
        gradients.a![at.key + i] += d.a[i];
        gradients.b![at.key + i] += d.b[i];
        gradients.k![at.key + i] += d.k[i];
      } else {
        const rate = betaOf(at);
        const written = d.k[i] - d.b[i];
        gradients.k![at.key + i] += rate * written;
        gradients.beta![at.head] += key * written * (betaSigmoid ? rate * (1 - rate) : 1);
        if (form === 'comba') gradients.a![at.key + i] += d.a[i];
        else {
          gradients.k![at.key + i] += w * d.a[i];
          dw += key * d.a[i];
        }
      }
      if (g !== undefined && at.decays) gradients.g![vectorGate ? at.gate * K + i : at.gate] += w * dw;
    }
  }
  return { forward, backward, placeOf };

  function placeOf(step: number, head: number, steps: number, H: number): Place {
    return {
      key: (step * H + Math.floor((head * H) / HV)) * K,
      gate: Math.floor(step / steps) * HV + head,
      head: step * HV + head,
      decays: step % steps === 0,
    };
  }
}

const NORMALIZED = ['q', 'k', 'a'] as const;

function reciprocalNorm(x: Float64Array, row: number, K: number): number {
  let sum = 1e-6;
  for (let i = 0; i < K; i++) sum += x[row + i] ** 2;
  return 1 / Math.sqrt(sum);
}

/** q, k and Comba's second key as x / sqrt(x.x + 1e-6). */
function normalized(inputs: Inputs): Inputs {
  const result: { -readonly [name in keyof Inputs]: Inputs[name] } = { ...inputs };
  for (const name of NORMALIZED) {
    if (inputs[name] === undefined) continue;
    const { data, shape } = inputs[name];
    const K = shape.at(-1)!;
    const unit = new Float64Array(data.length);
    for (let row = 0; row < data.length; row += K) {
      const norm = reciprocalNorm(data, row, K);
      for (let i = row; i < row + K; i++) unit[i] = data[i] * norm;
    }
    result[name] = { data: unit, shape };
  }
  return result;
}

/** With y = x / norm: dx = (dy - y (y . dy)) / norm, in place. */
function normGradients(inputs: Inputs, gradients: Gradients): void {
  for (const name of NORMALIZED) {
    if (inputs[name] === undefined) continue;
    const { data, shape } = inputs[name];
    const dy = gradients[name]!;
    const K = shape.at(-1)!;
    for (let row = 0; row < data.length; row += K) {
      const norm = reciprocalNorm(data, row, K);
      let along = 0;
      for (let i = 0; i < K; i++) along += data[row + i] * norm * dy[row + i];
      for (let i = 0; i < K; i++) dy[row + i] = norm * (dy[row + i] - data[row + i] * norm * along);
    }
  }
}

function newStep(K: number): Step {
  return { w: new Float64Array(K), a: new Float64Array(K), b: new Float64Array(K), k: new Float64Array(K) };
}

/** S <- diag(w) S + b (a^T S) + k v^T */
function advance(S: Float64Array, { w, a, b, k }: Step, v: Float64Array): void {
  const V = v.length;
  const read = new Float64Array(V);
  for (let i = 0; i < a.length; i++) for (let j = 0; j < V; j++) read[j] += a[i] * S[i * V + j];
  for (let i = 0; i < a.length; i++)
    for (let j = 0; j < V; j++) S[i * V + j] = w[i] * S[i * V + j] + b[i] * read[j] + k[i] * v[j];
}

/** o_t = scale S_t^T q_t after the last step of every token, and the final states. */
export function deltaReference(given: Inputs, attrs: DeltaAttrs): Float64Array[] {
  const inputs = attrs.l2norm ? normalized(given) : given;
  const { q, v, initialState } = inputs;
  const sizes = sizesOf(inputs);
  const { H, HV, K, V } = sizes;
  const { offsets, steps, scale } = attrs;
  const rule = stepOf(inputs, attrs, sizes);
  const output = new Float64Array(offsets.at(-1)! * HV * V);
  const finalState = new Float64Array((offsets.length - 1) * HV * K * V);
  const step = newStep(K);
  for (let n = 0; n + 1 < offsets.length; n++) {
    for (let head = 0; head < HV; head++) {
      const state = (n * HV + head) * K * V;
      const S = finalState.subarray(state, state + K * V);
      if (initialState) S.set(initialState.data.subarray(state, state + K * V));
      for (let t = offsets[n] * steps; t < offsets[n + 1] * steps; t++) {
        const at = rule.placeOf(t, head, steps, H);
        rule.forward(at, step);
        advance(S, step, v!.data.subarray(at.head * V, (at.head + 1) * V));
        if (t % steps !== steps - 1) continue;
        const query = (at.key % (H * K)) + Math.floor(t / steps) * H * K;
        for (let i = 0; i < K; i++)
          for (let j = 0; j < V; j++) output[at.gate * V + j] += scale * q!.data[query + i] * S[i * V + j];
      }
    }
  }
  return attrs.finalState ? [output, finalState] : [output];
}

/** States kept while going forward; those between are computed again on the way back. */
const CHECKPOINT = 64;

/**
 * Reverse in time, with R the gradient of S_t: R += scale q do^T, then dw = rows of R S, dk = R v, dv = R^T k,
 * db = R S^T a, da = S R^T b and R <- diag(w) R + a (b^T R), where S is S_{t-1}.
 */
export function deltaBackwardReference(given: Inputs, attrs: DeltaAttrs): Float64Array[] {
  const inputs = attrs.l2norm ? normalized(given) : given;
  const { q, v, initialState, dOutput, dFinal } = inputs;
  const sizes = sizesOf(inputs);
  const { H, HV, K, V } = sizes;
  const { offsets, steps, scale } = attrs;
  const rule = stepOf(inputs, attrs, sizes);
  const names = gradientNames(inputs);
  const gradients: Gradients = Object.fromEntries(
    names.map((name) => [name, new Float64Array(inputs[name]!.data.length)]),
  );
  const step = newStep(K);
  const d = newStep(K);
  const read = new Float64Array(V);
  const dRead = new Float64Array(V);

  for (let n = 0; n + 1 < offsets.length; n++) {
    for (let head = 0; head < HV; head++) {
      const state = (n * HV + head) * K * V;
      const [first, last] = [offsets[n] * steps, offsets[n + 1] * steps];
      const values = (t: number) => v!.data.subarray((t * HV + head) * V, (t * HV + head + 1) * V);
      /** S_{from - 1}, S_from, ..., S_{to - 1} */
      const statesFrom = (S: Float64Array, from: number, to: number) => {
        const states = [S];
        for (let t = from; t < to; t++) {
          const next = Float64Array.from(states.at(-1)!);
          rule.forward(rule.placeOf(t, head, steps, H), step);
          advance(next, step, values(t));
          states.push(next);
        }
        return states;
      };
      const checkpoints: Float64Array[] = [
        initialState?.data.slice(state, state + K * V) ?? new Float64Array(K * V),
      ];
      for (let t = first; t + CHECKPOINT < last; t += CHECKPOINT)
        checkpoints.push(statesFrom(checkpoints.at(-1)!, t, t + CHECKPOINT).at(-1)!);

      const R = dFinal?.data.slice(state, state + K * V) ?? new Float64Array(K * V);
      for (let segment = checkpoints.length - 1; segment >= 0; segment--) {
        const from = first + segment * CHECKPOINT;
        const to = Math.min(last, from + CHECKPOINT);
        const states = statesFrom(checkpoints[segment], from, to);
        for (let t = to - 1; t >= from; t--) {
          const at = rule.placeOf(t, head, steps, H);
          backwardStep(t, at, states[t - from], states[t - from + 1], R, values(t));
        }
      }
      if (initialState) gradients.initialState!.set(R, state);
    }
  }
  if (attrs.l2norm) normGradients(given, gradients);
  return names.map((name) => gradients[name]!);

  function backwardStep(
    t: number,
    at: Place,
    S: Float64Array,
    next: Float64Array,
    R: Float64Array,
    value: Float64Array,
  ): void {
    rule.forward(at, step);
    if (t % steps === steps - 1) {
      const query = (at.key % (H * K)) + Math.floor(t / steps) * H * K;
      for (let i = 0; i < K; i++)
        for (let j = 0; j < V; j++) {
          const dy = scale * dOutput!.data[at.gate * V + j];
          gradients.q![query + i] += dy * next[i * V + j];
          R[i * V + j] += dy * q!.data[query + i];
        }
    }
    read.fill(0);
    dRead.fill(0);
    for (let i = 0; i < K; i++)
      for (let j = 0; j < V; j++) {
        read[j] += step.a[i] * S[i * V + j];
        dRead[j] += step.b[i] * R[i * V + j];
        gradients.v![at.head * V + j] += step.k[i] * R[i * V + j];
      }
    for (let i = 0; i < K; i++) {
      d.w[i] = d.a[i] = d.b[i] = d.k[i] = 0;
      for (let j = 0; j < V; j++) {
        const r = R[i * V + j];
        d.w[i] += r * S[i * V + j];
        d.a[i] += S[i * V + j] * dRead[j];
        d.b[i] += r * read[j];
        d.k[i] += r * value[j];
        R[i * V + j] = step.w[i] * r + step.a[i] * dRead[j];
      }
    }
    rule.backward(at, d, gradients);
  }
}
