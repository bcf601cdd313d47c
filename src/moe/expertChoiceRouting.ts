import type { Tensor } from '@tensorflow/tfjs-core';
import type { Shape } from '../op/define';
import { checkObject, checkShapes } from '../tensor/shape';
import { expertChoiceBackwardReference, expertChoiceReference } from './expertChoiceRouting.reference';
import { defineMoeOp } from './family';
import type { ExpertChoice } from './moeMlp';
import { leadingAxes } from './routerLogits';

interface Attrs {
  capacity: number;
}

function sizes(logits: Shape) {
  return { N: logits.slice(0, -1).reduce((n, size) => n * size, 1), E: logits.at(-1)! };
}

const op = defineMoeOp<'logits', Attrs>({
  name: 'expertChoiceRouting',
  outputs: ({ logits }, { capacity }) => {
    const shape = [logits!.at(-1)!, capacity];
    return [shape, { shape, dtype: 'int32' }];
  },
  kernel: ({ input, output, shape, attrs, scratch, workspace, launch }) => {
    const { N, E } = sizes(shape.logits!);
    const scores = scratch(4 * N * E);
    launch('expertScores', N, input.logits, scores, workspace(4 * E), N, E);
    launch('expertChoice', E, scores, output[0], output[1], workspace(5 * (N + 16)), N, attrs.capacity);
  },
  reference: expertChoiceReference,
  saveOutputs: [false, true],
  gradient: ({ inputs: { logits }, outputs: [tokens], dy, attrs }) => ({
    logits: () => backward.run({ logits, tokens, dweights: dy[0] }, attrs)[0],
  }),
});

const backward = defineMoeOp<'logits' | 'tokens' | 'dweights', Attrs>({
  name: 'expertChoiceRoutingBackward',
  outputs: ({ logits }) => [logits!],
  kernel: ({ input, output, shape, attrs, buffer, scratch, launch }) => {
    const { N, E } = sizes(shape.logits!);
    const p = scratch(4 * N * E);
    new Float32Array(buffer(), output[0], N * E).fill(0);
    launch('expertChoiceScatter', E, input.tokens, input.dweights, output[0], attrs.capacity, E);
    launch('softmaxRows', N, input.logits, p, E);
    launch('softmaxRowsBackward', N, p, output[0], output[0], E);
  },
  reference: expertChoiceBackwardReference,
});

/**
 * Experts choose tokens: with `p = softmax(logits)` over the experts, every expert takes the `capacity` tokens of the
 * whole batch with the greatest p, best first, ties to the lower token. Loads are equal by construction; a token may get
 * several experts or none. `moeMlp` takes the result as its routing. Choices look at all tokens, future ones included.
 *
 * @param logits `[..., E]`
 * @returns weights `[E, C]` and tokens `[E, C]` int32, numbered through the whole batch
 * @throws TypeError, RangeError for a wrong dtype or shape, or a capacity beyond the number of tokens
 * @see Zhou et al., "Mixture-of-Experts with Expert Choice Routing"
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { expertChoiceRouting, ready } from 'linnet';
 *
 * await ready();
 * const logits = randomNormal([64, 8]);
 * const { weights, tokens } = expertChoiceRouting(logits, { capacity: 16 }); // weights [8, 16], tokens [8, 16]
 * ```
 */
export function expertChoiceRouting(logits: Tensor, options: { capacity: number }): ExpertChoice {
  checkObject('expertChoiceRouting', 'options', options, '{ capacity }');
  const { capacity } = options;
  checkShapes('expertChoiceRouting', [['logits', logits, `${leadingAxes(logits)} E`.trim()]]);
  const { N } = sizes(logits.shape);
  if (!(Number.isInteger(capacity) && capacity >= 0 && capacity <= N)) {
    throw new RangeError(`expertChoiceRouting: capacity is ${capacity}; expected 0 to ${N} (tokens)`);
  }
  const [weights, tokens] = op.run({ logits }, { capacity });
  return { weights, tokens };
}
