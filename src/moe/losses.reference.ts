import type { NdArray } from '../op/define';
import type { BalanceLossAttrs, RowWeightAttrs } from './losses';
import { softmaxReference } from './routingWeights.reference';

interface Inputs {
  logits?: NdArray;
  dy?: NdArray;
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

function* rowsOf({ data, shape }: NdArray): Generator<[row: number, logits: Float64Array]> {
  const E = shape.at(-1)!;
  for (let row = 0; row * E < data.length; row++) yield [row, data.subarray(row * E, (row + 1) * E)];
}

function probabilities(logits: Float64Array, scoring: BalanceLossAttrs['scoring']): number[] {
  if (scoring === 'softmax') return softmaxReference(logits);
  const scores = Array.from(logits, sigmoid);
  const sum = scores.reduce((a, b) => a + b, 0);
  return scores.map((s) => (sum === 0 ? 0 : s / sum));
}

function frequenciesOf({ frequency, groups, weight }: BalanceLossAttrs, row: number): readonly number[] {
  const E = frequency.length / groups;
  const group = Math.floor((row * groups) / weight.length);
  return frequency.slice(group * E, (group + 1) * E);
}

/** Sum over tokens of weight * sum over experts of f_e p_e. */
export function balanceLossReference({ logits }: Inputs, attrs: BalanceLossAttrs): [loss: Float64Array] {
  let loss = 0;
  for (const [row, l] of rowsOf(logits!)) {
    if (attrs.weight[row] === 0) continue;
    const f = frequenciesOf(attrs, row);
    probabilities(l, attrs.scoring).forEach((p, e) => {
      loss += attrs.weight[row] * f[e] * p;
    });
  }
  return [Float64Array.of(loss)];
}

/** dp_e = weight f_e, back through the softmax or through the division by the sum and the sigmoid. */
export function balanceLossBackwardReference(
  { logits, dy }: Inputs,
  attrs: BalanceLossAttrs,
): [dlogits: Float64Array] {
  const dlogits = new Float64Array(logits!.data.length);
  for (const [row, l] of rowsOf(logits!)) {
    if (attrs.weight[row] === 0) continue;
    const dp = frequenciesOf(attrs, row).map((f) => dy!.data[0] * attrs.weight[row] * f);
    const p = probabilities(l, attrs.scoring);
    const mean = p.reduce((sum, share, e) => sum + share * dp[e], 0);
    p.forEach((share, e) => {
      const slope = attrs.scoring === 'softmax' ? 1 : 1 - sigmoid(l[e]);
      dlogits[row * l.length + e] = share * slope * (dp[e] - mean);
    });
  }
  return [dlogits];
}

/** log sum of e^l, undefined for a token without a finite logit. */
function logSumExp(logits: Float64Array): number | undefined {
  const best = Math.max(...logits);
  if (best === Number.NEGATIVE_INFINITY) return undefined;
  return best + Math.log(logits.reduce((sum, l) => sum + Math.exp(l - best), 0));
}

/** Sum over tokens of weight * (log sum of e^l)^2. */
export function routerZLossReference({ logits }: Inputs, { weight }: RowWeightAttrs): [loss: Float64Array] {
  let loss = 0;
  for (const [row, l] of rowsOf(logits!)) {
    if (weight[row] !== 0) loss += weight[row] * (logSumExp(l) ?? 0) ** 2;
  }
  return [Float64Array.of(loss)];
}

/** dl = 2 weight z softmax(l) */
export function routerZLossBackwardReference(
  { logits, dy }: Inputs,
  { weight }: RowWeightAttrs,
): [dlogits: Float64Array] {
  const dlogits = new Float64Array(logits!.data.length);
  for (const [row, l] of rowsOf(logits!)) {
    const z = weight[row] === 0 ? undefined : logSumExp(l);
    if (z === undefined) continue;
    softmaxReference(l).forEach((p, e) => {
      dlogits[row * l.length + e] = dy!.data[0] * weight[row] * 2 * z * p;
    });
  }
  return [dlogits];
}
