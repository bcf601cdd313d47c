import type { NdArray } from '../op/define';
import type { RgLruAttrs } from './rgLru';
import { sigmoid } from './silu.reference';

interface Inputs {
  x?: NdArray;
  recurrentParam?: NdArray;
  inputGateWeight?: NdArray;
  inputGateBias?: NdArray;
  recurrentGateWeight?: NdArray;
  recurrentGateBias?: NdArray;
  reset?: NdArray;
  da?: NdArray;
  db?: NdArray;
}

const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
/** The slope of the square root is held below 1000, as Griffin's code does. */
const MIN_ROOT = 5e-4;

/** Gates of the channel w of a token: r and i, log a, and sqrt(1 - a^2). */
function gatesOf(inputs: Inputs, { c }: RgLruAttrs, token: number, w: number) {
  const [H, d] = inputs.inputGateBias!.shape;
  const head = Math.floor(w / d);
  const gate = (weight: NdArray, bias: NdArray) => {
    let z = bias.data[w];
    for (let k = 0; k < d; k++)
      z += inputs.x!.data[token * H * d + head * d + k] * weight.data[(head * d + k) * d + (w % d)];
    return sigmoid(z);
  };
  const i = gate(inputs.inputGateWeight!, inputs.inputGateBias!);
  const r = gate(inputs.recurrentGateWeight!, inputs.recurrentGateBias!);
  const rate = -c * softplus(inputs.recurrentParam!.data[w]);
  const fresh = inputs.reset !== undefined && inputs.reset.data[token] !== 0;
  const a = fresh ? 0 : Math.exp(rate * r);
  const root = fresh ? 1 : Math.sqrt(-Math.expm1(2 * rate * r));
  return { i, r, rate, a, root, fresh };
}

/** a = e^(-c r softplus(p)) and b = sqrt(1 - a^2) i x, or 0 and i x at a reset. */
export function rgLruGatesReference(inputs: Inputs, attrs: RgLruAttrs): Float64Array[] {
  const { data, shape } = inputs.x!;
  const W = shape[2];
  const a = new Float64Array(data.length);
  const b = new Float64Array(data.length);
  for (let at = 0; at < data.length; at++) {
    const gates = gatesOf(inputs, attrs, Math.floor(at / W), at % W);
    a[at] = gates.a;
    b[at] = gates.root * gates.i * data[at];
  }
  return [a, b];
}

export function rgLruGatesBackwardReference(inputs: Inputs, attrs: RgLruAttrs): Float64Array[] {
  const { x, recurrentParam, inputGateWeight, inputGateBias, recurrentGateWeight, da, db } = inputs;
  const [H, d] = inputGateBias!.shape;
  const W = H * d;
  const dx = new Float64Array(x!.data.length);
  const dp = new Float64Array(W);
  const [dwi, dbi] = [new Float64Array(W * d), new Float64Array(W)];
  const [dwr, dbr] = [new Float64Array(W * d), new Float64Array(W)];
  for (let at = 0; at < dx.length; at++) {
    const [token, w] = [Math.floor(at / W), at % W];
    const { i, r, rate, a, root, fresh } = gatesOf(inputs, attrs, token, w);
    const gain = db!.data[at];
    const dLog = fresh ? 0 : a * (da!.data[at] - (gain * i * x!.data[at] * a) / Math.max(root, MIN_ROOT));
    const dzi = gain * root * x!.data[at] * i * (1 - i);
    const dzr = dLog * rate * r * (1 - r);
    dx[at] += gain * root * i;
    dp[w] -= dLog * attrs.c * r * sigmoid(recurrentParam!.data[w]);
    dbi[w] += dzi;
    dbr[w] += dzr;
    const head = Math.floor(w / d) * d;
    for (let k = 0; k < d; k++) {
      const [from, weight] = [token * W + head + k, (head + k) * d + (w % d)];
      dx[from] += dzi * inputGateWeight!.data[weight] + dzr * recurrentGateWeight!.data[weight];
      dwi[weight] += dzi * x!.data[from];
      dwr[weight] += dzr * x!.data[from];
    }
  }
  return [dx, dp, dwi, dbi, dwr, dbr];
}
