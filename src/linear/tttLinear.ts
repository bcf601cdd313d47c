import type { Tensor } from '@tensorflow/tfjs-core';
import { checkFinite, checkShapes } from '../tensor/shape';
import { checkChunkSize, sumOverSequences } from './memoryLoss';
import { scaleOf, sequenceOffsets } from './recurrent';
import { defineTaped } from './taped';
import { tttLinearReference } from './tttLinear.reference';
import { heapOffsets, longestOf, padded } from './workspace';

export interface TttLinearOptions {
  /** Multiplies q; default `D ** -0.5`. */
  scale?: number;
  /** Added to the variance in the layer norms; default 1e-6. */
  eps?: number;
  /** Tokens of a mini-batch, whose loss gradients are taken at the same state; default 16. */
  chunkSize?: number;
  /** `[N, H, D, D]`; default zeros. */
  initialState?: Tensor;
  /** `[N, H, 1, D]`; default zeros. */
  initialStateBias?: Tensor;
  /** Whether to return `{ output, finalState, finalStateBias }` instead of the output alone. */
  outputFinalState?: boolean;
  /** Bounds `[N + 1]` of sequences packed one after another along T, from 0 to T; B must be 1. */
  cuSeqlens?: Tensor | readonly number[];
}

export interface TttLinearResult {
  output: Tensor;
  finalState: Tensor;
  finalStateBias: Tensor;
}

export type TttInput = 'q' | 'k' | 'v' | 'w' | 'b' | 'eta' | 'state' | 'bias';
export interface TttAttrs {
  scale: number;
  eps: number;
  chunkSize: number;
  finalState: boolean;
  offsets: readonly number[];
}

const NAME = 'tttLinear';

const op = defineTaped<TttInput, TttAttrs>({
  name: NAME,
  inputs: ['q', 'k', 'v', 'w', 'b', 'eta', 'state', 'bias'],
  outputs: ({ q }, { offsets, finalState }) => {
    const [, , H, D] = q!;
    const N = offsets.length - 1;
    return finalState ? [q!, [N, H, D, D], [N, H, 1, D]] : [q!];
  },
  kernel: (call) => {
    const { input, output, shape, attrs, launch, workspace } = call;
    const [, , H, D] = shape.q!;
    const Dp = padded(D);
    const { q, k, v, w, b, eta, state, bias } = input;
    const [o, hT, cT] = output;
    const work = workspace(128 + 4 * Dp * (4 + 7 * attrs.chunkSize + Dp + 1));
    const offsets = heapOffsets(call, attrs.offsets);
    const items = (attrs.offsets.length - 1) * H;
    launch(
      NAME,
      items,
      ...[q, k, v, w, b, eta, state, bias, o, hT, cT],
      ...[offsets, work, H, D, attrs.scale, attrs.eps, attrs.chunkSize],
    );
  },
  backward: (call, gradient) => {
    const { input, shape, attrs, launch, workspace, scratch } = call;
    const [, , H, D] = shape.q!;
    const [Dp, n] = [padded(D), attrs.chunkSize];
    const states = 3 + Math.ceil(longestOf(attrs.offsets) / n);
    const work = workspace(128 + 4 * (Dp * (4 + 12 * n + 6 + states * (Dp + 1)) + padded(n)));
    const offsets = heapOffsets(call, attrs.offsets);
    const N = attrs.offsets.length - 1;
    const [dw, db] = [scratch(4 * N * H * D), scratch(4 * N * H * D)];
    const { q, k, v, w, b, eta, state, bias, d0, d1, d2 } = input;
    launch(
      'tttLinearBackward',
      N * H,
      ...[q, k, v, w, b, eta, state, bias, d0, d1, d2],
      ...[gradient.q, gradient.k, gradient.v, dw, db, gradient.eta, gradient.state, gradient.bias],
      ...[offsets, work, H, D, attrs.scale, attrs.eps, n],
    );
    sumOverSequences(call, dw, gradient.w, N, H * D);
    sumOverSequences(call, db, gradient.b, N, H * D);
  },
  reference: tttLinearReference,
});

/**
 * Test-time training with a linear model: the state `(W, c)` maps keys to values minus keys, `LN(W^T k + c) ~ v - k`, and
 * takes a gradient step per token on that error. Within a mini-batch all gradients `u_j` are taken at its first state:
 * `y_i = W^T q_i + c - eta_i sum over j <= i of (q_i . k_j + 1) u_j`, `o_i = y_i + LN(y_i)`; after it
 * `W <- W - eta sum k_j u_j^T` and `c <- c - eta sum u_j` with the eta of its last token. `LN(x) = w (x - mean) /
 * sqrt(variance + eps) + b`; q is scaled. The last mini-batch is filled up with zero tokens, whose `u` reach `c`, so a
 * sequence may be split only after whole mini-batches.
 *
 * @param q `[B, T, H, D]`
 * @param k `[B, T, H, D]`
 * @param v `[B, T, H, D]`
 * @param w `[H, D]`, weight of the layer norm
 * @param b `[H, D]`, bias of the layer norm
 * @param eta `[B, T, H, 1]`, learning rates
 * @param options.scale multiplies q; default `D ** -0.5`
 * @param options.eps added to the variance; default 1e-6
 * @param options.chunkSize tokens of a mini-batch; default 16
 * @param options.initialState `[N, H, D, D]`, zeros by default
 * @param options.initialStateBias `[N, H, 1, D]`, zeros by default
 * @param options.outputFinalState returns `{ output, finalState, finalStateBias }` instead of the output alone
 * @param options.cuSeqlens bounds of sequences packed along T, with B = 1
 * @returns `[B, T, H, D]`
 * @throws TypeError, RangeError for a wrong dtype or shape, or a chunkSize that is no integer from 1 to 65536
 * @see Sun et al., "Learning to (Learn at Test Time): RNNs with Expressive Hidden States"
 * @example
 * ```ts
 * import { fill, ones, randomNormal, zeros } from '@tensorflow/tfjs-core';
 * import { l2Norm, ready, tttLinear } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 64, 2, 16]);
 * const k = l2Norm(randomNormal([1, 64, 2, 16]));
 * const v = randomNormal([1, 64, 2, 16]);
 * const w = ones([2, 16]);
 * const b = zeros([2, 16]);
 * const eta = fill([1, 64, 2, 1], 0.1);
 * const output = tttLinear(q, k, v, w, b, eta); // [1, 64, 2, 16]
 * ```
 */
export function tttLinear(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  w: Tensor,
  b: Tensor,
  eta: Tensor,
  options: TttLinearOptions & { outputFinalState: true },
): TttLinearResult;
export function tttLinear(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  w: Tensor,
  b: Tensor,
  eta: Tensor,
  options?: TttLinearOptions,
): Tensor;
export function tttLinear(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  w: Tensor,
  b: Tensor,
  eta: Tensor,
  options: TttLinearOptions = {},
): Tensor | TttLinearResult {
  const { initialState: state, initialStateBias: bias, outputFinalState = false, eps = 1e-6 } = options;
  const { B, T, H, D } = checkShapes(NAME, [
    ['q', q, 'B T H D'],
    ['k', k, 'B T H D'],
    ['v', v, 'B T H D'],
    ['w', w, 'H D'],
    ['b', b, 'H D'],
    ['eta', eta, 'B T H 1'],
  ]);
  const offsets = sequenceOffsets(NAME, options.cuSeqlens, B, T);
  checkShapes(NAME, [
    ['initialState?', state, `${offsets.length - 1} ${H} ${D} ${D}`],
    ['initialStateBias?', bias, `${offsets.length - 1} ${H} 1 ${D}`],
  ]);
  checkFinite(NAME, 'eps', eps);
  const attrs = {
    scale: scaleOf(NAME, options.scale, D),
    eps,
    chunkSize: checkChunkSize(NAME, options.chunkSize),
    finalState: outputFinalState,
    offsets,
  };
  const [output, finalState, finalStateBias] = op.run({ q, k, v, w, b, eta, state, bias }, attrs);
  return outputFinalState ? { output, finalState, finalStateBias } : output;
}
