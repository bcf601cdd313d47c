import type { NdArray } from '../op/define';
import type { KdaGateAttrs } from './kdaGate';

interface Inputs {
  g?: NdArray;
  aLog?: NdArray;
  dtBias?: NdArray;
  dy?: NdArray;
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

/** -exp(A) softplus(g + bias), or bound sigmoid(exp(A) (g + bias)) */
export function kdaGateReference({ g, aLog, dtBias }: Inputs, { lowerBound }: KdaGateAttrs): [Float64Array] {
  const [, , H, K] = g!.shape;
  const gate = g!.data.map((raw, i) => {
    const channel = i % (H * K);
    const rate = Math.exp(aLog!.data[Math.floor(channel / K)]);
    const x = raw + (dtBias?.data[channel] ?? 0);
    return lowerBound === 0 ? -rate * softplus(x) : lowerBound * sigmoid(rate * x);
  });
  return [gate];
}

export function kdaGateBackwardReference(
  { g, aLog, dtBias, dy }: Inputs,
  { lowerBound }: KdaGateAttrs,
): Float64Array[] {
  const [, , H, K] = g!.shape;
  const dg = new Float64Array(g!.data.length);
  const dA = new Float64Array(H);
  const dBias = new Float64Array(H * K);
  g!.data.forEach((raw, i) => {
    const channel = i % (H * K);
    const head = Math.floor(channel / K);
    const rate = Math.exp(aLog!.data[head]);
    const x = raw + (dtBias?.data[channel] ?? 0);
    const s = sigmoid(rate * x);
    dg[i] = dy!.data[i] * (lowerBound === 0 ? -rate * sigmoid(x) : lowerBound * s * (1 - s) * rate);
    dA[head] += lowerBound === 0 ? -rate * softplus(x) * dy!.data[i] : dg[i] * x;
    dBias[channel] += dg[i];
  });
  return dtBias ? [dg, dA, dBias] : [dg, dA];
}
