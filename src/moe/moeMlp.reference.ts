import type { NdArray } from '../op/define';
import { activationReference, type Form } from './activation.reference';
import { expertSizes, type MoeMlpAttrs } from './expertSizes';

interface Inputs {
  hidden?: NdArray;
  gateUp?: NdArray;
  down?: NdArray;
  gateUpBias?: NdArray;
  downBias?: NdArray;
  weights?: NdArray;
  indices?: NdArray;
  residual?: NdArray;
  dy?: NdArray;
}

/** One chosen (token, expert) pair; `at` is its place in the routing weights. */
interface Pair {
  token: number;
  expert: number;
  at: number;
}

function experts(inputs: Inputs, attrs: MoeMlpAttrs) {
  const { activation, layout, interleaved, by, alpha, limit } = attrs;
  const { hidden, gateUp, down, gateUpBias, downBias, indices } = inputs;
  const form: Form = { ...activation, alpha, limit };
  const { D, F1, F, M, columns } = expertSizes(
    { hidden: hidden!.shape, gateUp: gateUp!.shape, down: down!.shape, indices: indices!.shape },
    attrs,
  );
  const pairs: Pair[] = [];
  indices!.data.forEach((index, at) => {
    const row = Math.floor(at / columns);
    if (index >= 0) {
      pairs.push(by === 'token' ? { token: row, expert: index, at } : { token: index, expert: row, at });
    }
  });

  const gateRow = (f: number) => (interleaved ? 2 * f : f);
  const upRow = (f: number) => (interleaved ? 2 * f + 1 : F + f);
  const inAt = (e: number, r: number, d: number) =>
    e * F1 * D + (layout === 'outIn' ? r * D + d : d * F1 + r);
  const outAt = (e: number, m: number, f: number) => e * F * M + (layout === 'outIn' ? m * F + f : f * M + m);

  function preActivation(token: number, e: number, row: number): number {
    let sum = gateUpBias ? gateUpBias.data[e * F1 + row] : 0;
    for (let d = 0; d < D; d++) sum += gateUp!.data[inAt(e, row, d)] * hidden!.data[token * D + d];
    return sum;
  }
  /** The activation of every hidden feature, with its derivatives. */
  function hiddenOf({ token, expert }: Pair) {
    return Array.from({ length: F }, (_, f) => {
      const gate = preActivation(token, expert, form.gated ? gateRow(f) : f);
      return activationReference(form, gate, form.gated ? preActivation(token, expert, upRow(f)) : 0);
    });
  }
  function outputOf({ expert }: Pair, h: readonly number[], m: number): number {
    let sum = downBias ? downBias.data[expert * M + m] : 0;
    for (let f = 0; f < F; f++) sum += down!.data[outAt(expert, m, f)] * h[f];
    return sum;
  }
  return { form, D, F1, F, M, pairs, gateRow, upRow, inAt, outAt, hiddenOf, outputOf };
}

/** y_t = residual_t + sum over the experts e of token t of weight * (W2_e act(W1_e x_t + b1_e) + b2_e). */
export function moeMlpReference(inputs: Inputs, attrs: MoeMlpAttrs): [y: Float64Array] {
  const { M, D, pairs, hiddenOf, outputOf } = experts(inputs, attrs);
  const N = inputs.hidden!.data.length / D;
  const y = inputs.residual ? Float64Array.from(inputs.residual.data) : new Float64Array(N * M);
  for (const pair of pairs) {
    const h = hiddenOf(pair).map((feature) => feature.h);
    for (let m = 0; m < M; m++) y[pair.token * M + m] += inputs.weights!.data[pair.at] * outputOf(pair, h, m);
  }
  return [y];
}

/** The chain rule through one pair at a time. */
export function moeMlpBackwardReference(inputs: Inputs, attrs: MoeMlpAttrs): Float64Array[] {
  const { hidden, gateUp, down, gateUpBias, downBias, weights, dy } = inputs;
  const { form, D, F1, F, M, pairs, gateRow, upRow, inAt, outAt, hiddenOf, outputOf } = experts(
    inputs,
    attrs,
  );
  const dhidden = new Float64Array(hidden!.data.length);
  const dgateUp = new Float64Array(gateUp!.data.length);
  const ddown = new Float64Array(down!.data.length);
  const dgateUpBias = new Float64Array(gateUpBias ? gateUpBias.data.length : 0);
  const ddownBias = new Float64Array(downBias ? downBias.data.length : 0);
  const dweights = new Float64Array(weights!.data.length);
  for (const pair of pairs) {
    const { token, expert: e, at } = pair;
    const features = hiddenOf(pair);
    const h = features.map((feature) => feature.h);
    const dh = new Float64Array(F);
    for (let m = 0; m < M; m++) {
      const d = dy!.data[token * M + m];
      dweights[at] += d * outputOf(pair, h, m);
      const dOutput = d * weights!.data[at];
      if (downBias) ddownBias[e * M + m] += dOutput;
      for (let f = 0; f < F; f++) {
        ddown[outAt(e, m, f)] += dOutput * h[f];
        dh[f] += dOutput * down!.data[outAt(e, m, f)];
      }
    }
    const through = (row: number, d: number) => {
      if (gateUpBias) dgateUpBias[e * F1 + row] += d;
      for (let i = 0; i < D; i++) {
        dgateUp[inAt(e, row, i)] += d * hidden!.data[token * D + i];
        dhidden[token * D + i] += d * gateUp!.data[inAt(e, row, i)];
      }
    };
    features.forEach(({ dGate, dUp }, f) => {
      through(form.gated ? gateRow(f) : f, dh[f] * dGate);
      if (form.gated) through(upRow(f), dh[f] * dUp);
    });
  }
  return [dhidden, dgateUp, ddown, dgateUpBias, ddownBias, dweights];
}
