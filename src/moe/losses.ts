import type { Tensor } from '@tensorflow/tfjs-core';
import type { KernelCall } from '../op/define';
import { checkShapes } from '../tensor/shape';
import { defineMoeOp } from './family';
import {
  balanceLossBackwardReference,
  balanceLossReference,
  routerZLossBackwardReference,
  routerZLossReference,
} from './losses.reference';
import { checkIndices } from './plan';
import { leadingAxes } from './routerLogits';
import { checkScoring, SCORING_NUMBER } from './scoring';

export interface RouterLossOptions {
  /** `[...]` int32, 0 for tokens that do not count (padding). */
  mask?: Tensor;
}
export interface LoadBalancingLossOptions extends RouterLossOptions {
  /** Probabilities are the softmax, or sigmoids divided by their sum (DeepSeek-V3); default `'softmax'`. */
  scoring?: 'softmax' | 'sigmoid';
  /** A loss for every sequence, averaged, instead of one for all tokens (Switch, DeepSeek-V3); default false. */
  perSequence?: boolean;
}

export interface RowWeightAttrs {
  /** By token; 0 leaves it out. */
  weight: readonly number[];
}
export interface BalanceLossAttrs extends RowWeightAttrs {
  /** By group and expert. */
  frequency: readonly number[];
  groups: number;
  scoring: 'softmax' | 'sigmoid';
}

/** Copies numbers to scratch memory of a kernel call. */
function uploadFloats(
  call: Pick<KernelCall<never, never, never>, 'scratch' | 'buffer'>,
  values: readonly number[],
) {
  const pointer = call.scratch(4 * values.length);
  new Float32Array(call.buffer(), pointer, values.length).set(values);
  return pointer;
}

const balanceOp = defineMoeOp<'logits', BalanceLossAttrs>({
  name: 'balanceLoss',
  outputs: () => [[]],
  kernel: (call) => {
    const { input, output, attrs, workspace, shape, launch } = call;
    const E = shape.logits!.at(-1)!;
    launch(
      'balanceLoss',
      1,
      input.logits,
      uploadFloats(call, attrs.frequency),
      uploadFloats(call, attrs.weight),
      output[0],
      workspace(4 * E),
      attrs.groups,
      attrs.weight.length / attrs.groups,
      E,
      SCORING_NUMBER[attrs.scoring],
    );
  },
  reference: balanceLossReference,
  gradient: ({ inputs, dy, attrs }) => ({
    logits: () => balanceBackward.run({ ...inputs, dy: dy[0] }, attrs)[0],
  }),
});

const balanceBackward = defineMoeOp<'logits' | 'dy', BalanceLossAttrs>({
  name: 'balanceLossBackward',
  outputs: ({ logits }) => [logits!],
  kernel: (call) => {
    const { input, output, attrs, workspace, shape, launch } = call;
    const E = shape.logits!.at(-1)!;
    launch(
      'balanceLossBackward',
      attrs.weight.length,
      input.logits,
      uploadFloats(call, attrs.frequency),
      uploadFloats(call, attrs.weight),
      input.dy,
      output[0],
      workspace(4 * E),
      attrs.weight.length / attrs.groups,
      E,
      SCORING_NUMBER[attrs.scoring],
    );
  },
  reference: balanceLossBackwardReference,
});

const zOp = defineMoeOp<'logits', RowWeightAttrs>({
  name: 'routerZLoss',
  outputs: () => [[]],
  kernel: (call) => {
    const { input, output, attrs, workspace, shape, launch } = call;
    const E = shape.logits!.at(-1)!;
    const weight = uploadFloats(call, attrs.weight);
    launch('routerZLoss', 1, input.logits, weight, output[0], workspace(4 * E), attrs.weight.length, E);
  },
  reference: routerZLossReference,
  gradient: ({ inputs, dy, attrs }) => ({
    logits: () => zBackward.run({ ...inputs, dy: dy[0] }, attrs)[0],
  }),
});

const zBackward = defineMoeOp<'logits' | 'dy', RowWeightAttrs>({
  name: 'routerZLossBackward',
  outputs: ({ logits }) => [logits!],
  kernel: (call) => {
    const { input, output, attrs, workspace, shape, launch } = call;
    const E = shape.logits!.at(-1)!;
    launch(
      'routerZLossBackward',
      attrs.weight.length,
      input.logits,
      uploadFloats(call, attrs.weight),
      input.dy,
      output[0],
      workspace(4 * E),
      E,
    );
  },
  reference: routerZLossBackwardReference,
});

/** Tokens, experts, and which tokens count. */
function checkedRows(op: string, logits: Tensor, mask: Tensor | undefined, indices?: Tensor) {
  const axes = leadingAxes(logits);
  const { E } = checkShapes(op, [
    ['logits', logits, `${axes} E`.trim()],
    ['indices?', indices, `${axes} k`.trim(), 'int32'],
    ['mask?', mask, axes, 'int32'],
  ]) as { E: number };
  const N = logits.shape.slice(0, -1).reduce((n, size) => n * size, 1);
  const counted =
    mask === undefined ? Array<boolean>(N).fill(true) : Array.from(mask.dataSync(), (m) => m !== 0);
  return { N, E, counted };
}

const countIn = (counted: readonly boolean[]) => counted.reduce((n, counts) => n + Number(counts), 0);

/**
 * The auxiliary loss that is least when tokens spread evenly: `E * sum over e of f_e P_e`, where f_e is the number of
 * choices of expert e per token and P_e the mean probability of e. It has a gradient through P only. Give logits of
 * several layers at once, `[layers, N, E]`, to pool them as transformers does. A choice of -1 counts for no expert.
 *
 * @param logits `[..., E]`
 * @param indices `[..., k]` int32, the choices
 * @returns a scalar
 * @throws TypeError, RangeError for a wrong dtype or shape, or an index that names no expert
 * @see Fedus et al., "Switch Transformers", equation 4
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { loadBalancingLoss, ready, topkRouting } from 'linnet';
 *
 * await ready();
 * const logits = randomNormal([64, 8]);
 * const { indices } = topkRouting(logits, { topK: 2 });
 * const loss = loadBalancingLoss(logits, indices); // []
 * ```
 */
export function loadBalancingLoss(
  logits: Tensor,
  indices: Tensor,
  options: LoadBalancingLossOptions = {},
): Tensor {
  const { mask, scoring = 'softmax', perSequence = false } = options;
  checkScoring('loadBalancingLoss', scoring);
  const { N, E, counted } = checkedRows('loadBalancingLoss', logits, mask, indices);
  const chosen = checkIndices('loadBalancingLoss', 'indices', indices, E, 'experts', -1);
  const k = indices.shape.at(-1)!;
  const groups = perSequence ? logits.shape.slice(0, -2).reduce((n, size) => n * size, 1) : 1;
  const rows = N / groups;
  const frequency = Array<number>(groups * E).fill(0);
  const weight = Array<number>(N).fill(0);
  for (let g = 0; g < groups; g++) {
    const tokens = countIn(counted.slice(g * rows, (g + 1) * rows));
    for (let n = g * rows; n < (g + 1) * rows; n++) {
      if (!counted[n]) continue;
      weight[n] = E / (groups * tokens);
      for (const e of chosen.subarray(n * k, (n + 1) * k)) if (e >= 0) frequency[g * E + e] += 1 / tokens;
    }
  }
  return balanceOp.run({ logits }, { frequency, weight, groups, scoring })[0];
}

/**
 * `loadBalancingLoss` with the frequencies of a whole global batch: `counts` are the choices of each expert summed over
 * micro-batches and replicas, `numTokens` the tokens they come from, while the probabilities are those of `logits`.
 * Experts may then specialise within a sequence as long as the batch is balanced.
 *
 * @param logits `[..., E]`
 * @param counts `[E]` int32
 * @param numTokens how many tokens `counts` covers
 * @returns a scalar
 * @throws TypeError, RangeError for a wrong dtype or shape, or a count of tokens that is not positive
 * @see Qiu et al., "Demons in the Detail: On Implementing Load Balancing Loss for Training Specialized Mixture-of-Expert Models"
 * @example
 * ```ts
 * import { randomNormal, tensor } from '@tensorflow/tfjs-core';
 * import { globalBatchBalanceLoss, ready } from 'linnet';
 *
 * await ready();
 * const logits = randomNormal([64, 4]);
 * const counts = tensor([120, 130, 126, 136], [4], 'int32');
 * const loss = globalBatchBalanceLoss(logits, counts, 256); // []
 * ```
 */
export function globalBatchBalanceLoss(
  logits: Tensor,
  counts: Tensor,
  numTokens: number,
  options: RouterLossOptions & { scoring?: 'softmax' | 'sigmoid' } = {},
): Tensor {
  const { mask, scoring = 'softmax' } = options;
  checkScoring('globalBatchBalanceLoss', scoring);
  const { E, counted } = checkedRows('globalBatchBalanceLoss', logits, mask);
  checkShapes('globalBatchBalanceLoss', [['counts', counts, `${E}`, 'int32']]);
  if (!(Number.isFinite(numTokens) && numTokens > 0)) {
    throw new RangeError(`globalBatchBalanceLoss: numTokens is ${numTokens}; expected a positive number`);
  }
  const frequency = Array.from(counts.dataSync(), (count) => count / numTokens);
  const weight = counted.map((counts) => (counts ? E / countIn(counted) : 0));
  return balanceOp.run({ logits }, { frequency, weight, groups: 1, scoring })[0];
}

/**
 * Keeps router logits small: the mean over tokens of `logsumexp(logits)^2`.
 *
 * @param logits `[..., E]`
 * @returns a scalar
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Zoph et al., "ST-MoE: Designing Stable and Transferable Sparse Expert Models", equation 5
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { ready, routerZLoss } from 'linnet';
 *
 * await ready();
 * const logits = randomNormal([64, 8]);
 * const loss = routerZLoss(logits); // []
 * ```
 */
export function routerZLoss(logits: Tensor, options: RouterLossOptions = {}): Tensor {
  const { counted } = checkedRows('routerZLoss', logits, options.mask);
  const tokens = countIn(counted);
  return zOp.run({ logits }, { weight: counted.map((counts) => (counts ? 1 / tokens : 0)) })[0];
}
