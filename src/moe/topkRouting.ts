import type { Tensor } from '@tensorflow/tfjs-core';
import { checkFinite, checkMultiple, checkObject, checkShapes } from '../tensor/shape';
import { defineMoeOp } from './family';
import type { Routing } from './moeMlp';
import { leadingAxes } from './routerLogits';
import { routingWeightsGradient } from './routingWeights';
import { SCORING_NUMBER, type WeightAttrs } from './scoring';
import { topkRoutingReference } from './topkRouting.reference';

export interface TopkRoutingOptions {
  /** Experts per token. */
  topK: number;
  /** How all logits of a token become scores; default `'softmax'`. */
  scoring?: 'softmax' | 'sigmoid';
  /** Softmax over the chosen logits instead of scores over all (GPT-OSS); default false. */
  softmaxAfterTopK?: boolean;
  /** Divide the weights of a token by their sum (Mixtral, Qwen3-MoE, DeepSeek-V3); default false (OLMoE). */
  normTopkProb?: boolean;
  /** `[E]`, added to the scores for the choice, not for the weights (DeepSeek-V3). It has no gradient. */
  correctionBias?: Tensor;
  /** Experts form this many equal groups; default 1. */
  numGroups?: number;
  /** Only the experts of this many groups can be chosen; default all. */
  topkGroups?: number;
  /** A group's score: the sum of its two best (DeepSeek-V3, default) or its best (DeepSeek-V2). */
  groupScore?: 'top2Sum' | 'max';
  /** Multiplies the weights; default 1. */
  routedScalingFactor?: number;
}

export interface TopkRoutingAttrs extends WeightAttrs {
  k: number;
  groups: number;
  topkGroups: number;
  bestOfGroup: boolean;
}

const op = defineMoeOp<'logits' | 'correctionBias', TopkRoutingAttrs>({
  name: 'topkRouting',
  outputs: ({ logits }, { k }) => {
    const shape = [...logits!.slice(0, -1), k];
    return [shape, { shape, dtype: 'int32' }];
  },
  kernel: ({ input, output, shape, attrs, workspace, launch }) => {
    const E = shape.logits!.at(-1)!;
    const { k, groups, topkGroups, bestOfGroup, scoring, normalize, scale } = attrs;
    launch(
      'topkRouting',
      shape.logits!.slice(0, -1).reduce((n, size) => n * size, 1),
      input.logits,
      input.correctionBias,
      output[0],
      output[1],
      workspace(14 * (E + 16)),
      E,
      k,
      SCORING_NUMBER[scoring],
      Number(normalize),
      scale,
      groups,
      topkGroups,
      Number(bestOfGroup),
    );
  },
  reference: topkRoutingReference,
  saveOutputs: [false, true],
  gradient: ({ inputs, outputs, dy, attrs }) => ({
    logits: () => routingWeightsGradient(inputs.logits!, outputs[0], dy[0], attrs),
  }),
});

function checkCount(name: string, value: number, most: number, of: string): void {
  if (!(Number.isInteger(value) && value >= 1 && value <= most)) {
    throw new RangeError(`topkRouting: ${name} is ${value}; expected 1 to ${most} (${of})`);
  }
}

/**
 * Chooses the `topK` experts of every token. With scores `s = softmax(logits)` or `sigmoid(logits)` the choice is by
 * `s + correctionBias`, within the best `topkGroups` of `numGroups` groups; the weights are the chosen `s`, divided by
 * their sum with `normTopkProb`, times `routedScalingFactor`. Choices come best first and ties go to the lower index.
 *
 * A logit of -Infinity ranks after every number and NaN last, so indices always name distinct experts. A NaN logit
 * makes the softmax weights of its token NaN; a token whose logits are all -Infinity has weights 0.
 *
 * Mixtral and Qwen3-MoE: `{ topK, normTopkProb: true }`; OLMoE: `{ topK }`; GPT-OSS: `{ topK, softmaxAfterTopK: true }`;
 * DeepSeek-V3: `{ topK, scoring: 'sigmoid', normTopkProb: true, correctionBias, numGroups, topkGroups,
 * routedScalingFactor }`.
 *
 * @param logits `[..., E]`
 * @returns weights `[..., k]` and indices `[..., k]` int32
 * @throws TypeError, RangeError for a wrong dtype or shape, or counts that do not fit
 * @see Shazeer et al., "Outrageously Large Neural Networks"; DeepSeek-AI, "DeepSeek-V3 Technical Report", section 2.1.2
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { ready, topkRouting } from 'linnet';
 *
 * await ready();
 * const logits = randomNormal([64, 8]);
 * const { weights, indices } = topkRouting(logits, { topK: 2, normTopkProb: true }); // weights [64, 2], indices [64, 2]
 * ```
 */
export function topkRouting(logits: Tensor, options: TopkRoutingOptions): Routing {
  checkObject('topkRouting', 'options', options, '{ topK, ... }');
  const { topK, scoring = 'softmax', softmaxAfterTopK = false, normTopkProb = false } = options;
  const { correctionBias, numGroups = 1, topkGroups = numGroups, groupScore = 'top2Sum' } = options;
  const { routedScalingFactor = 1 } = options;
  const { E } = checkShapes('topkRouting', [
    ['logits', logits, `${leadingAxes(logits)} E`.trim()],
    ['correctionBias?', correctionBias, 'E'],
  ]) as { E: number };
  if (scoring !== 'softmax' && scoring !== 'sigmoid') {
    throw new RangeError(`topkRouting: scoring is ${JSON.stringify(scoring)}; expected softmax or sigmoid`);
  }
  checkFinite('topkRouting', 'routedScalingFactor', routedScalingFactor);
  checkCount('numGroups', numGroups, E, 'E experts');
  checkMultiple('topkRouting', 'E', E, 'numGroups', numGroups);
  checkCount('topkGroups', topkGroups, numGroups, 'numGroups');
  checkCount('topK', topK, (E / numGroups) * topkGroups, 'experts that can be chosen');
  const [weights, indices] = op.run(
    { logits, correctionBias },
    {
      k: topK,
      scoring: softmaxAfterTopK ? 'chosenSoftmax' : scoring,
      normalize: normTopkProb,
      scale: routedScalingFactor,
      groups: numGroups,
      topkGroups,
      bestOfGroup: groupScore === 'max',
    },
  );
  return { weights, indices };
}
