import type { Tensor } from '@tensorflow/tfjs-core';
import { tidied } from '../op/tidied';
import { checkShapes } from '../tensor/shape';
import { type Complex, complexParts } from './complex';
import { checkModal, type ModalOptions, type ModalRecurrent, modalLayer, s5Modes } from './modal';
import { checkRule, type ModeRule } from './modes';

export interface S5Options extends ModalOptions {
  /** How the system is sampled, `zoh` or `bilinear`; default `zoh`. */
  discretization?: ModeRule;
  /** Whether one mode stands for a conjugate pair, which doubles the output; default true. */
  conjugateSymmetry?: boolean;
}

/**
 * S5, one state-space model with many inputs and outputs: `h_t = z h_{t-1} + f (B u_t)`, `o_t = 2 Re(C h_t) + D u_t`, where
 * with `dt = exp(logStep)` `z = exp(dt Lambda)`, `f = (z - 1) / Lambda` (`zoh`), or `z = (1 + dt Lambda / 2) q`,
 * `f = dt q`, `q = 1 / (1 - dt Lambda / 2)` (`bilinear`).
 *
 * @param u `[B, T, D]`
 * @param Lambda complex `[N]`
 * @param logStep `[N]`
 * @param B complex `[N, D]`
 * @param C complex `[D, N]`
 * @param D `[D]`
 * @param options.discretization `zoh` (default) or `bilinear`
 * @param options.conjugateSymmetry whether a mode stands for a conjugate pair (default); otherwise `o_t = Re(C h_t) + D u_t`
 * @param options.initialState complex `[B, N]`, zeros by default
 * @param options.reverse from the last token to the first
 * @param options.outputFinalState returns `{ output, finalState }`, `finalState` complex `[B, N]`
 * @returns `[B, T, D]`
 * @throws TypeError, RangeError for a wrong dtype, shape or rule
 * @see Smith, Warrington and Linderman, "Simplified State Space Layers for Sequence Modeling", section 3
 * @example
 * ```ts
 * import { fill, randomNormal, randomUniform } from '@tensorflow/tfjs-core';
 * import { ready, s5 } from 'linnet';
 *
 * await ready();
 * const u = randomNormal([1, 64, 32]);
 * const Lambda = { re: fill([16], -0.5), im: randomNormal([16]) };
 * const logStep = randomUniform([16], -7, -2);
 * const B = { re: randomNormal([16, 32]), im: randomNormal([16, 32]) };
 * const C = { re: randomNormal([32, 16]), im: randomNormal([32, 16]) };
 * const D = randomNormal([32]);
 * const o = s5(u, Lambda, logStep, B, C, D, { discretization: 'bilinear' }); // [1, 64, 32]
 * ```
 */
export function s5(
  u: Tensor,
  Lambda: Complex,
  logStep: Tensor,
  B: Complex,
  C: Complex,
  D: Tensor,
  options: S5Options & { outputFinalState: true },
): ModalRecurrent;
export function s5(
  u: Tensor,
  Lambda: Complex,
  logStep: Tensor,
  B: Complex,
  C: Complex,
  D: Tensor,
  options?: S5Options,
): Tensor;
export function s5(
  u: Tensor,
  Lambda: Complex,
  logStep: Tensor,
  B: Complex,
  C: Complex,
  D: Tensor,
  options: S5Options = {},
): Tensor | ModalRecurrent {
  const { discretization: rule = 'zoh', conjugateSymmetry = true } = options;
  checkShapes('s5', [...complexParts('s5', 'Lambda', Lambda, 'N')]);
  checkModal(
    's5',
    u,
    [
      ['logStep', logStep],
      ['Lambda.re', Lambda.re],
    ],
    B,
    C,
    D,
    options,
  );
  checkRule('s5', rule);
  return tidied(() => {
    const modes = s5Modes.run({ lambdaRe: Lambda.re, lambdaIm: Lambda.im, logStep }, { rule });
    return modalLayer(u, modes, B, C, D, conjugateSymmetry ? 2 : 1, options);
  });
}
