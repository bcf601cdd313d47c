export interface SamplingOptions {
  /** 0 (default) takes the best token; otherwise scores are divided by it and a token is drawn. */
  temperature?: number;
  /** Draws among the best k; default all. */
  topK?: number;
  /** Draws among the fewest best tokens whose probabilities reach p; default 1, all. */
  topP?: number;
}

function checkOptions({ temperature = 0, topK = 1, topP = 1 }: SamplingOptions): void {
  if (!(temperature >= 0 && Number.isFinite(temperature)))
    throw new RangeError(`generate: temperature is ${temperature}; expected a number of at least 0`);
  if (!(Number.isInteger(topK) && topK >= 1))
    throw new RangeError(`generate: topK is ${topK}; expected an integer of at least 1`);
  if (!(topP > 0 && topP <= 1))
    throw new RangeError(`generate: topP is ${topP}; expected a number above 0 and at most 1`);
}

function best(logits: ArrayLike<number>): number {
  let at = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[at] || Number.isNaN(logits[at])) at = i;
  return at;
}

/**
 * The next token from its scores; ties go to the lower index.
 *
 * @param logits `[V]`
 * @param random uniform numbers in [0, 1), one of which is taken when a token is drawn
 * @throws RangeError for options out of range
 */
export function sampleToken(
  logits: ArrayLike<number>,
  options: SamplingOptions,
  random: () => number,
): number {
  checkOptions(options);
  const { temperature = 0, topK = logits.length, topP = 1 } = options;
  const top = best(logits);
  if (temperature === 0) return top;
  const weights = Float64Array.from(logits, (logit) => Math.exp((logit - logits[top]) / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  // all tokens below this together weigh less than 1 - topP: they end behind the nucleus
  const least = topK < logits.length || topP === 1 ? 0 : ((1 - topP) * total) / logits.length;
  let chosen: number[] = [];
  for (let i = 0; i < weights.length; i++) if (weights[i] > least) chosen.push(i);
  if (topK < chosen.length || topP < 1) {
    chosen = chosen.sort((a, b) => weights[b] - weights[a] || a - b).slice(0, topK);
  }
  if (topP < 1) {
    const mass = topK < logits.length ? chosen.reduce((sum, i) => sum + weights[i], 0) : total;
    let reached = 0;
    const last = chosen.findIndex((i) => {
      reached += weights[i];
      return reached >= topP * mass;
    });
    if (last >= 0) chosen = chosen.slice(0, last + 1);
  }
  let left = random() * chosen.reduce((sum, i) => sum + weights[i], 0);
  for (const i of chosen) {
    left -= weights[i];
    if (left < 0) return i;
  }
  return chosen.at(-1) ?? top;
}
