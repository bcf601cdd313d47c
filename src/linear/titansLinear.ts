import type { Tensor } from '@tensorflow/tfjs-core';
import { checkFinite, checkShapes } from '../tensor/shape';
import { checkChunkSize, sumOverSequences } from './memoryLoss';
import { sequenceOffsets } from './recurrent';
import { defineTaped } from './taped';
import { titansLinearReference } from './titansLinear.reference';
import { heapOffsets, longestOf, padded } from './workspace';

export interface TitansLinearOptions {
  /** Added to the variance in the layer norms; default 1e-6. */
  eps?: number;
  /** Tokens whose loss gradients are taken at the same state; default 16. */
  chunkSize?: number;
  /** `[N, H, D, D]`; default zeros. */
  initialState?: Tensor;
  /** `[N, H, D, D]`; default zeros. */
  initialMomentum?: Tensor;
  /** Whether to return `{ output, finalState, finalMomentum }` instead of the output alone. */
  outputFinalState?: boolean;
  /** Bounds `[N + 1]` of sequences packed one after another along T, from 0 to T; B must be 1. */
  cuSeqlens?: Tensor | readonly number[];
}

export interface TitansLinearResult {
  output: Tensor;
  finalState: Tensor;
  finalMomentum: Tensor;
}

export type TitansInput = 'q' | 'k' | 'v' | 'w' | 'b' | 'theta' | 'alpha' | 'eta' | 'state' | 'momentum';
export interface TitansAttrs {
  eps: number;
  chunkSize: number;
  finalState: boolean;
  offsets: readonly number[];
}

const NAME = 'titansLinear';

const op = defineTaped<TitansInput, TitansAttrs>({
  name: NAME,
  inputs: ['q', 'k', 'v', 'w', 'b', 'theta', 'alpha', 'eta', 'state', 'momentum'],
  outputs: ({ q }, { offsets, finalState }) => {
    const [, , H, D] = q!;
    const N = offsets.length - 1;
    return finalState ? [q!, [N, H, D, D], [N, H, D, D]] : [q!];
  },
  kernel: (call) => {
    const { input, output, shape, attrs, launch, workspace } = call;
    const [, , H, D] = shape.q!;
    const Dp = padded(D);
    const { q, k, v, w, b, theta, alpha, eta, state, momentum } = input;
    const [o, mT, sT] = output;
    const work = workspace(128 + 4 * Dp * (10 + 3 * Dp));
    const offsets = heapOffsets(call, attrs.offsets);
    const items = (attrs.offsets.length - 1) * H;
    launch(
      NAME,
      items,
      ...[q, k, v, w, b, theta, alpha, eta, state, momentum, o, mT, sT],
      ...[offsets, work, H, D, attrs.eps, attrs.chunkSize],
    );
  },
  backward: (call, gradient) => {
    const { input, shape, attrs, launch, workspace, scratch } = call;
    const [, , H, D] = shape.q!;
    const [Dp, n] = [padded(D), attrs.chunkSize];
    const states = 2 * (n + 1 + Math.ceil(longestOf(attrs.offsets) / n));
    const work = workspace(128 + 4 * Dp * (20 + (3 + states) * Dp));
    const offsets = heapOffsets(call, attrs.offsets);
    const N = attrs.offsets.length - 1;
    const [dw, db] = [scratch(4 * N * H * D), scratch(4 * N * H * D)];
    const { q, k, v, w, b, theta, alpha, eta, state, momentum, d0, d1, d2 } = input;
    launch(
      'titansLinearBackward',
      N * H,
      ...[q, k, v, w, b, theta, alpha, eta, state, momentum, d0, d1, d2],
      ...[
        gradient.q,
        gradient.k,
        gradient.v,
        dw,
        db,
        gradient.theta,
        gradient.alpha,
        gradient.eta,
        gradient.state,
        gradient.momentum,
      ],
      ...[offsets, work, H, D, attrs.eps, n],
    );
    sumOverSequences(call, dw, gradient.w, N, H * D);
    sumOverSequences(call, db, gradient.b, N, H * D);
  },
  reference: titansLinearReference,
});

/**
 * Titans' neural memory with a linear model: gradient descent with momentum and decay on `LN(M^T k) ~ v - k`,
 * `S_t = eta_t S_{t-1} - 2 theta_t k_t u_t^T`, `M_t = (1 - alpha_t) M_{t-1} + S_t`, `y_t = M_t^T q_t`,
 * `o_t = y_t + LN(y_t)`, where `LN(x) = w (x - mean) / sqrt(variance + eps) + b` and `u_t` is the gradient of the error at
 * the state its chunk began with, as flash-linear-attention writes it: with x the standardized `M^T k` and
 * `g = w (w x + b - v + k)`, `u = D g - (sum g + x (g . x)) / (D deviation)`. The last chunk is filled up with zero tokens
 * whose gates are 0, but for the very last, which repeats the gates of the last token; so a sequence may be split only
 * after whole chunks.
 *
 * @param q `[B, T, H, D]`
 * @param k `[B, T, H, D]`
 * @param v `[B, T, H, D]`
 * @param w `[H, D]`, weight of the layer norm
 * @param b `[H, D]`, bias of the layer norm
 * @param theta `[B, T, H, 1]`, learning rates
 * @param alpha `[B, T, H, 1]`, decay of the memory
 * @param eta `[B, T, H, 1]`, decay of the momentum
 * @param options.eps added to the variance; default 1e-6
 * @param options.chunkSize tokens whose gradients are taken at the same state; default 16
 * @param options.initialState `[N, H, D, D]`, zeros by default
 * @param options.initialMomentum `[N, H, D, D]`, zeros by default
 * @param options.outputFinalState returns `{ output, finalState, finalMomentum }` instead of the output alone
 * @param options.cuSeqlens bounds of sequences packed along T, with B = 1
 * @returns `[B, T, H, D]`
 * @throws TypeError, RangeError for a wrong dtype or shape, or a chunkSize that is no integer from 1 to 65536
 * @see Behrouz et al., "Titans: Learning to Memorize at Test Time"
 * @example
 * ```ts
 * import { fill, ones, randomNormal, zeros } from '@tensorflow/tfjs-core';
 * import { l2Norm, ready, titansLinear } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 64, 2, 16]);
 * const k = l2Norm(randomNormal([1, 64, 2, 16]));
 * const v = randomNormal([1, 64, 2, 16]);
 * const w = ones([2, 16]);
 * const b = zeros([2, 16]);
 * const theta = fill([1, 64, 2, 1], 0.1);
 * const alpha = fill([1, 64, 2, 1], 0.01);
 * const eta = fill([1, 64, 2, 1], 0.5);
 * const output = titansLinear(q, k, v, w, b, theta, alpha, eta, { eps: 0.1 }); // [1, 64, 2, 16]
 * ```
 */
export function titansLinear(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  w: Tensor,
  b: Tensor,
  theta: Tensor,
  alpha: Tensor,
  eta: Tensor,
  options: TitansLinearOptions & { outputFinalState: true },
): TitansLinearResult;
export function titansLinear(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  w: Tensor,
  b: Tensor,
  theta: Tensor,
  alpha: Tensor,
  eta: Tensor,
  options?: TitansLinearOptions,
): Tensor;
export function titansLinear(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  w: Tensor,
  b: Tensor,
  theta: Tensor,
  alpha: Tensor,
  eta: Tensor,
  options: TitansLinearOptions = {},
): Tensor | TitansLinearResult {
  const { initialState: state, initialMomentum: momentum, outputFinalState = false, eps = 1e-6 } = options;
  const { B, T, H, D } = checkShapes(NAME, [
    ['q', q, 'B T H D'],
    ['k', k, 'B T H D'],
    ['v', v, 'B T H D'],
    ['w', w, 'H D'],
    ['b', b, 'H D'],
    ['theta', theta, 'B T H 1'],
    ['alpha', alpha, 'B T H 1'],
    ['eta', eta, 'B T H 1'],
  ]);
  const offsets = sequenceOffsets(NAME, options.cuSeqlens, B, T);
  checkShapes(NAME, [
    ['initialState?', state, `${offsets.length - 1} ${H} ${D} ${D}`],
    ['initialMomentum?', momentum, `${offsets.length - 1} ${H} ${D} ${D}`],
  ]);
  checkFinite(NAME, 'eps', eps);
  const attrs = {
    eps,
    chunkSize: checkChunkSize(NAME, options.chunkSize),
    finalState: outputFinalState,
    offsets,
  };
  const [output, finalState, finalMomentum] = op.run(
    { q, k, v, w, b, theta, alpha, eta, state, momentum },
    attrs,
  );
  return outputFinalState ? { output, finalState, finalMomentum } : output;
}
