import type { Tensor } from '@tensorflow/tfjs-core';
import { checkObject, checkShapes } from '../tensor/shape';
import { type Activation, activationForm } from './activation';
import { moeMlpOp, type Routing } from './moeMlp';
import { checkIndices } from './plan';
import { leadingAxes } from './routerLogits';

export interface PeerExpertsOptions {
  /** One without a gate; default `'gelu'`. */
  activation?: Extract<Activation, 'silu' | 'gelu' | 'geluTanh' | 'relu' | 'identity'>;
}

/**
 * Experts of a single neuron each, of which there may be a million: `y = sum over the chosen e of weight_e *
 * act(up_e . x) * down_e`. Only the rows of chosen experts are read. Choose them with `productKeyRouting`; the choices of
 * several heads are more columns of the routing.
 *
 * @param hidden `[..., D]`
 * @param up `[E, D]`
 * @param down `[E, M]`
 * @param routing weights and indices `[..., k]`
 * @returns `[..., M]`
 * @throws TypeError, RangeError for a wrong dtype or shape, or an index that names no expert
 * @see He, "Mixture of A Million Experts"
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { peerExperts, productKeyRouting, ready } from 'linnet';
 *
 * await ready();
 * const hidden = randomNormal([64, 32]);
 * const scores1 = randomNormal([64, 16]);
 * const scores2 = randomNormal([64, 16]);
 * const up = randomNormal([256, 32]);
 * const down = randomNormal([256, 32]);
 * const routing = productKeyRouting(scores1, scores2, { topK: 8 });
 * const y = peerExperts(hidden, up, down, routing); // [64, 32]
 * ```
 */
export function peerExperts(
  hidden: Tensor,
  up: Tensor,
  down: Tensor,
  routing: Routing,
  options: PeerExpertsOptions = {},
): Tensor {
  const activation = activationForm('peerExperts', options.activation ?? 'gelu');
  checkObject('peerExperts', 'routing', routing, '{ weights, indices }');
  const { weights, indices } = routing;
  const axes = leadingAxes(hidden);
  const { E } = checkShapes('peerExperts', [
    ['hidden', hidden, `${axes} D`.trim()],
    ['up', up, 'E D'],
    ['down', down, 'E M'],
    ['indices', indices, `${axes} k`.trim(), 'int32'],
    ['weights', weights, `${axes} k`.trim()],
  ]) as { E: number };
  checkIndices('peerExperts', 'indices', indices, E, 'experts', -1);
  return moeMlpOp.run(
    { hidden, gateUp: up, down, weights, indices },
    {
      activation,
      layout: 'inOut',
      interleaved: false,
      alpha: 1,
      limit: 1,
      by: 'token',
      form: 'neurons',
    },
  )[0];
}
