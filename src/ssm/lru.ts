import type { Tensor } from '@tensorflow/tfjs-core';
import { tidied } from '../op/tidied';
import type { Complex } from './complex';
import { checkModal, lruModes, type ModalOptions, type ModalRecurrent, modalLayer } from './modal';

/**
 * Linear recurrent unit: `lambda = exp(-exp(nuLog) + i exp(thetaLog))`, `h_t = lambda h_{t-1} + exp(gammaLog) B u_t`,
 * `o_t = Re(C h_t) + D u_t`.
 *
 * @param u `[B, T, D]`
 * @param nuLog `[N]`
 * @param thetaLog `[N]`
 * @param gammaLog `[N]`, log of the factor that normalises the input, `log(1 - |lambda|^2) / 2` at initialisation
 * @param B complex `[N, D]`
 * @param C complex `[D, N]`
 * @param D `[D]`
 * @param options.initialState complex `[B, N]`, zeros by default
 * @param options.reverse from the last token to the first
 * @param options.outputFinalState returns `{ output, finalState }`, `finalState` complex `[B, N]`
 * @returns `[B, T, D]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Orvieto et al., "Resurrecting Recurrent Neural Networks for Long Sequences", appendix A
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { lru, ready } from 'linnet';
 *
 * await ready();
 * const u = randomNormal([1, 64, 32]);
 * const nuLog = randomNormal([16]);
 * const thetaLog = randomNormal([16]);
 * const gammaLog = randomNormal([16]);
 * const B = { re: randomNormal([16, 32]), im: randomNormal([16, 32]) };
 * const C = { re: randomNormal([32, 16]), im: randomNormal([32, 16]) };
 * const D = randomNormal([32]);
 * const o = lru(u, nuLog, thetaLog, gammaLog, B, C, D); // [1, 64, 32]
 * ```
 */
export function lru(
  u: Tensor,
  nuLog: Tensor,
  thetaLog: Tensor,
  gammaLog: Tensor,
  B: Complex,
  C: Complex,
  D: Tensor,
  options: ModalOptions & { outputFinalState: true },
): ModalRecurrent;
export function lru(
  u: Tensor,
  nuLog: Tensor,
  thetaLog: Tensor,
  gammaLog: Tensor,
  B: Complex,
  C: Complex,
  D: Tensor,
  options?: ModalOptions,
): Tensor;
export function lru(
  u: Tensor,
  nuLog: Tensor,
  thetaLog: Tensor,
  gammaLog: Tensor,
  B: Complex,
  C: Complex,
  D: Tensor,
  options: ModalOptions = {},
): Tensor | ModalRecurrent {
  const parameters = [
    ['nuLog', nuLog],
    ['thetaLog', thetaLog],
    ['gammaLog', gammaLog],
  ] as const;
  checkModal('lru', u, parameters, B, C, D, options);
  return tidied(() => {
    return modalLayer(u, lruModes.run({ nuLog, thetaLog, gammaLog }, undefined), B, C, D, 1, options);
  });
}
