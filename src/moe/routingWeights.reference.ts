import type { NdArray } from '../op/define';
import type { Scoring, WeightAttrs } from './scoring';

interface Inputs {
  logits?: NdArray;
  indices?: NdArray;
  dweights?: NdArray;
}

/** p_i = e^(l_i) / sum of e^l; zeros when all logits are -Infinity. */
export function softmaxReference(logits: ArrayLike<number>): number[] {
  const best = Math.max(...Array.from(logits));
  const powers = Array.from(logits, (l) => (best === Number.NEGATIVE_INFINITY ? 0 : Math.exp(l - best)));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => (sum === 0 ? 0 : power / sum));
}

/** A score for every expert of one token; those of `chosenSoftmax` exist for the chosen only. */
export function scoresReference(logits: Float64Array, scoring: Scoring, chosen: readonly number[]): number[] {
  switch (scoring) {
    case 'softmax':
      return softmaxReference(logits);
    case 'sigmoid':
      return Array.from(logits, (l) => 1 / (1 + Math.exp(-l)));
    case 'relu':
      return Array.from(logits, (l) => Math.max(l, 0));
    case 'chosenSoftmax': {
      const scores = Array<number>(logits.length).fill(0);
      const p = softmaxReference(chosen.map((e) => logits[e]));
      chosen.forEach((e, j) => {
        scores[e] = p[j];
      });
      return scores;
    }
  }
}

/** weight_j = scale * score of the j-th choice, divided by the sum over the choices when normalised. */
export function routingWeightsReference(
  { logits, indices }: Inputs,
  { scoring, normalize, scale }: WeightAttrs,
): [weights: Float64Array] {
  const E = logits!.shape.at(-1)!;
  const k = indices!.shape.at(-1)!;
  const weights = new Float64Array(indices!.data.length);
  for (let row = 0; row < weights.length / k; row++) {
    const picks = indices!.data.subarray(row * k, (row + 1) * k);
    const scores = scoresReference(
      logits!.data.subarray(row * E, (row + 1) * E),
      scoring,
      Array.from(picks).filter((e) => e >= 0),
    );
    const chosen = Array.from(picks, (e) => (e < 0 ? 0 : scores[e]));
    const sum = normalize ? chosen.reduce((a, b) => a + b, 0) : 1;
    chosen.forEach((score, j) => {
      weights[row * k + j] = sum === 0 ? 0 : (scale * score) / sum;
    });
  }
  return [weights];
}

/** Back through the division by the sum, then through the score of every choice. */
export function routingWeightsBackwardReference(
  { logits, indices, dweights }: Inputs,
  { scoring, normalize, scale }: WeightAttrs,
): [dlogits: Float64Array] {
  const E = logits!.shape.at(-1)!;
  const k = indices!.shape.at(-1)!;
  const dlogits = new Float64Array(logits!.data.length);
  for (let row = 0; row < indices!.data.length / k; row++) {
    const picks = Array.from(indices!.data.subarray(row * k, (row + 1) * k));
    const used = picks.map((_, j) => j).filter((j) => picks[j] >= 0);
    const scores = scoresReference(
      logits!.data.subarray(row * E, (row + 1) * E),
      scoring,
      used.map((j) => picks[j]),
    );
    const sum = used.reduce((a, j) => a + scores[picks[j]], 0);
    const dw = (j: number) => scale * dweights!.data[row * k + j];
    const mean = used.reduce((a, j) => a + (dw(j) * scores[picks[j]]) / sum, 0);
    const dscores = new Float64Array(E);
    for (const j of used) dscores[picks[j]] += normalize ? (sum === 0 ? 0 : (dw(j) - mean) / sum) : dw(j);
    const through = scores.reduce((a, score, e) => a + (score === 0 ? 0 : score * dscores[e]), 0);
    scores.forEach((score, e) => {
      dlogits[row * E + e] = SLOPE[scoring](score, dscores[e], through);
    });
  }
  return [dlogits];
}

/** dlogit from a score, its gradient and the sum over experts of score * gradient. */
const SLOPE: Record<Scoring, (score: number, d: number, through: number) => number> = {
  softmax: (p, d, through) => p * (d - through),
  chosenSoftmax: (p, d, through) => (p === 0 ? 0 : p * (d - through)),
  sigmoid: (s, d) => s * (1 - s) * d,
  relu: (s, d) => (s > 0 ? d : 0),
};
