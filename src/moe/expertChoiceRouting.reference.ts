import type { NdArray } from '../op/define';
import { softmaxReference } from './routingWeights.reference';

interface Inputs {
  logits?: NdArray;
  tokens?: NdArray;
  dweights?: NdArray;
}

/** Probabilities of every token over the experts, [N][E]. */
function probabilities({ data, shape }: NdArray): number[][] {
  const E = shape.at(-1)!;
  return Array.from({ length: data.length / E }, (_, n) =>
    softmaxReference(data.subarray(n * E, (n + 1) * E)),
  );
}

const rank = (p: number) => (Number.isNaN(p) ? Number.NEGATIVE_INFINITY : p);

/** Expert e takes the C tokens with the greatest p[n][e]. */
export function expertChoiceReference(
  { logits }: Inputs,
  { capacity }: { capacity: number },
): [weights: Float64Array, tokens: Int32Array] {
  const p = probabilities(logits!);
  const E = logits!.shape.at(-1)!;
  const tokens = Array.from({ length: E }, (_, e) =>
    p
      .map((_, n) => n)
      .sort((a, b) => rank(p[b][e]) - rank(p[a][e]) || a - b)
      .slice(0, capacity),
  );
  return [
    Float64Array.from(tokens.flatMap((chosen, e) => chosen.map((n) => p[n][e]))),
    Int32Array.from(tokens.flat()),
  ];
}

/** dp[n][e] is the gradient of the weight with which e chose n; then back through the softmax. */
export function expertChoiceBackwardReference({ logits, tokens, dweights }: Inputs): [dlogits: Float64Array] {
  const p = probabilities(logits!);
  const [E, C] = tokens!.shape;
  const dp = p.map((row) => row.map(() => 0));
  tokens!.data.forEach((n, at) => {
    dp[n][Math.floor(at / C)] += dweights!.data[at];
  });
  const dlogits = new Float64Array(logits!.data.length);
  p.forEach((row, n) => {
    const mean = row.reduce((sum, share, e) => sum + share * dp[n][e], 0);
    row.forEach((share, e) => {
      dlogits[n * E + e] = share * (dp[n][e] - mean);
    });
  });
  return [dlogits];
}
