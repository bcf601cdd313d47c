import type { NdArray } from '../op/define';
import { routingWeightsReference, scoresReference } from './routingWeights.reference';
import type { TopkRoutingAttrs } from './topkRouting';

interface Inputs {
  logits?: NdArray;
  correctionBias?: NdArray;
}

/** Greater first, then NaN; equals keep their order. */
function byRank(value: (i: number) => number): (a: number, b: number) => number {
  return (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number(Number.isNaN(x)) - Number(Number.isNaN(y)) || a - b;
    return x === y ? a - b : y > x ? 1 : -1;
  };
}

function groupScore(values: readonly number[], bestOnly: boolean): number {
  const [first, second = 0] = values.filter((x) => !Number.isNaN(x)).sort((a, b) => b - a);
  return bestOnly ? first : first + second;
}

/** The choice is made by score + bias, or without a bias by the logits themselves, which have the order of the scores. */
export function topkRoutingReference(
  { logits, correctionBias }: Inputs,
  attrs: TopkRoutingAttrs,
): [weights: Float64Array, indices: Int32Array] {
  const { k, scoring, groups, topkGroups, bestOfGroup } = attrs;
  const E = logits!.shape.at(-1)!;
  const rows = E === 0 ? 0 : logits!.data.length / E;
  const indices = new Int32Array(rows * k);
  for (let row = 0; row < rows; row++) {
    const l = logits!.data.subarray(row * E, (row + 1) * E);
    const plain = (correctionBias === undefined && groups === 1) || scoring === 'chosenSoftmax';
    const scores = plain ? Array.from(l) : scoresReference(l, scoring, []);
    const choice = scores.map((score, e) => score + (correctionBias ? correctionBias.data[e] : 0));
    const size = E / groups;
    const scoreOfGroup = (g: number) => groupScore(choice.slice(g * size, (g + 1) * size), bestOfGroup);
    const kept = Array.from({ length: groups }, (_, g) => g)
      .sort(byRank(scoreOfGroup))
      .slice(0, topkGroups);
    const best = choice
      .map((_, e) => e)
      .filter((e) => kept.includes(Math.floor(e / size)))
      .sort(byRank((e) => choice[e]));
    indices.set(best.slice(0, k), row * k);
  }
  const shape = [...logits!.shape.slice(0, -1), k];
  const chosen = { data: Float64Array.from(indices), shape };
  return [routingWeightsReference({ logits, indices: chosen }, attrs)[0], indices];
}
