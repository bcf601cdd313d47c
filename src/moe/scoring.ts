/**
 * How logits become weights: `'softmax'` and `'sigmoid'` over all experts, `'relu'` their positive part,
 * `'chosenSoftmax'` the softmax over the chosen experts only.
 */
export type Scoring = 'softmax' | 'sigmoid' | 'relu' | 'chosenSoftmax';

/** The numbers the kernels know them by. */
export const SCORING_NUMBER: Record<Scoring, number> = { softmax: 0, sigmoid: 1, relu: 2, chosenSoftmax: 3 };

export interface WeightAttrs {
  scoring: Scoring;
  /** Divide the weights of a token by their sum. */
  normalize: boolean;
  scale: number;
}

export function checkScoring(op: string, scoring: Scoring): void {
  if (typeof scoring !== 'string' || !Object.hasOwn(SCORING_NUMBER, scoring)) {
    throw new RangeError(
      `${op}: scoring is ${JSON.stringify(scoring)}; expected one of ${Object.keys(SCORING_NUMBER).join(', ')}`,
    );
  }
}
