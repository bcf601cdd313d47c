import type { Tensor } from '@tensorflow/tfjs-core';
import { checkFinite, checkShapes } from '../tensor/shape';
import { defineMoeOp, noGradient } from './family';
import { checkIndices } from './plan';
import { leadingAxes } from './routerLogits';
import { routingWeightsBackwardReference, routingWeightsReference } from './routingWeights.reference';
import { checkScoring, SCORING_NUMBER, type Scoring, type WeightAttrs } from './scoring';

export interface RoutingWeightsOptions {
  /** Default `'softmax'`. */
  scoring?: Scoring;
  /** Divide the weights of a token by their sum; default false. */
  normTopkProb?: boolean;
  /** Multiplies the weights; default 1. */
  routedScalingFactor?: number;
}

const op = defineMoeOp<'logits' | 'indices', WeightAttrs>({
  name: 'routingWeights',
  outputs: ({ indices }) => [indices!],
  kernel: ({ input, output, shape, attrs, workspace, launch }) => {
    const { rows, E, k } = sizes(shape.logits!, shape.indices!);
    const { scoring, normalize, scale } = attrs;
    launch(
      'routingWeights',
      rows,
      input.logits,
      input.indices,
      output[0],
      workspace(4 * E),
      E,
      k,
      SCORING_NUMBER[scoring],
      Number(normalize),
      scale,
    );
  },
  reference: routingWeightsReference,
  gradient: ({ inputs: { logits, indices }, dy, attrs }) => ({
    logits: () => routingWeightsGradient(logits!, indices!, dy[0], attrs),
    indices: noGradient(indices!),
  }),
});

const backward = defineMoeOp<'logits' | 'indices' | 'dweights', WeightAttrs>({
  name: 'routingWeightsBackward',
  outputs: ({ logits }) => [logits!],
  kernel: ({ input, output, shape, attrs, workspace, launch }) => {
    const { rows, E, k } = sizes(shape.logits!, shape.indices!);
    const { scoring, normalize, scale } = attrs;
    launch(
      'routingWeightsBackward',
      rows,
      input.logits,
      input.indices,
      input.dweights,
      output[0],
      workspace(4 * (E + 2 * k)),
      E,
      k,
      SCORING_NUMBER[scoring],
      Number(normalize),
      scale,
    );
  },
  reference: routingWeightsBackwardReference,
});

function sizes(logits: readonly number[], indices: readonly number[]) {
  const E = logits.at(-1)!;
  const k = indices.at(-1)!;
  return { rows: logits.slice(0, -1).reduce((n, size) => n * size, 1), E, k };
}

/** dlogits from the gradient of the weights of given choices. */
export function routingWeightsGradient(
  logits: Tensor,
  indices: Tensor,
  dweights: Tensor,
  attrs: WeightAttrs,
): Tensor {
  return backward.run({ logits, indices, dweights }, attrs)[0];
}

/** `routingWeights` without its checks, for routings that have made the indices themselves. */
export function weightsOfChosen(logits: Tensor, indices: Tensor, attrs: WeightAttrs): Tensor {
  return op.run({ logits, indices }, attrs)[0];
}

/**
 * The weights of experts that were chosen somehow: `weight = routedScalingFactor * score(logits)[index]`, divided by
 * the sum over a token's choices with `normTopkProb`. A choice of -1 (no expert) has weight 0. The choice itself has no
 * gradient; the weights have one with respect to the logits.
 *
 * @param logits `[..., E]`
 * @param indices `[..., k]` int32, -1 for none
 * @returns `[..., k]`
 * @throws TypeError, RangeError for a wrong dtype or shape, or an index that names no expert
 * @see Shazeer et al., "Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer", section 2.1
 * @example
 * ```ts
 * import { randomNormal, tensor } from '@tensorflow/tfjs-core';
 * import { ready, routingWeights } from 'linnet';
 *
 * await ready();
 * const logits = randomNormal([2, 4]);
 * const indices = tensor([0, 3, 2, -1], [2, 2], 'int32');
 * const weights = routingWeights(logits, indices, { normTopkProb: true }); // [2, 2]
 * ```
 */
export function routingWeights(logits: Tensor, indices: Tensor, options: RoutingWeightsOptions = {}): Tensor {
  const { scoring = 'softmax', normTopkProb = false, routedScalingFactor = 1 } = options;
  const axes = leadingAxes(logits);
  checkShapes('routingWeights', [
    ['logits', logits, `${axes} E`.trim()],
    ['indices', indices, `${axes} k`.trim(), 'int32'],
  ]);
  checkScoring('routingWeights', scoring);
  checkFinite('routingWeights', 'routedScalingFactor', routedScalingFactor);
  checkIndices('routingWeights', 'indices', indices, logits.shape.at(-1)!, 'experts', -1);
  return weightsOfChosen(logits, indices, {
    scoring,
    normalize: normTopkProb,
    scale: routedScalingFactor,
  });
}
