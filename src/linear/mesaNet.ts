import type { Tensor } from '@tensorflow/tfjs-core';
import { checkShapes } from '../tensor/shape';
import { sumOverSequences } from './memoryLoss';
import { mesaNetReference } from './mesaNet.reference';
import { sequenceOffsets } from './recurrent';
import { defineTaped } from './taped';
import { heapOffsets, longestOf, padded } from './workspace';

export interface MesaNetOptions {
  /** `[N, H, K, K]`, symmetric; default zeros. */
  hKkInit?: Tensor;
  /** `[N, H, K, V]`; default zeros. */
  hKvInit?: Tensor;
  /** Whether to return `{ output, hKk, hKv }` instead of the output alone. */
  outputFinalState?: boolean;
  /** Solves by conjugate gradients with at most this many steps; exactly by default. */
  maxCgIteration?: number;
  /** Bounds `[N + 1]` of sequences packed one after another along T, from 0 to T; B must be 1. */
  cuSeqlens?: Tensor | readonly number[];
}

export interface MesaNetResult {
  /** `[B, T, H, V]` */
  output: Tensor;
  /** `[N, H, K, K]` */
  hKk: Tensor;
  /** `[N, H, K, V]` */
  hKv: Tensor;
}

export type MesaNetInput = 'q' | 'k' | 'v' | 'g' | 'beta' | 'lamb' | 'hKk' | 'hKv';
export interface MesaNetAttrs {
  finalState: boolean;
  /** 0 for an exact solution. */
  iterations: number;
  offsets: readonly number[];
}

const NAME = 'mesaNet';

function floatsOf(K: number, V: number) {
  const [Kp, Vp] = [padded(K), padded(V)];
  return { token: 16 + 8 * Kp + 2 * Vp + Kp * Kp, state: Kp * (Kp + Vp), gradient: 4 * Kp + 2 * Vp };
}

const op = defineTaped<MesaNetInput, MesaNetAttrs>({
  name: NAME,
  inputs: ['q', 'k', 'v', 'g', 'beta', 'lamb', 'hKk', 'hKv'],
  outputs: ({ k, v }, { offsets, finalState }) => {
    const [, , H, K] = k!;
    const N = offsets.length - 1;
    return finalState ? [v!, [N, H, K, K], [N, H, K, v![3]]] : [v!];
  },
  kernel: (call) => {
    const { input, output, shape, attrs, launch, workspace } = call;
    const [, , H, K] = shape.k!;
    const V = shape.v![3];
    const { token, state } = floatsOf(K, V);
    const work = workspace(4 * (token + state));
    const offsets = heapOffsets(call, attrs.offsets);
    const { q, k, v, g, beta, lamb, hKk, hKv } = input;
    const [o, aT, cT] = output;
    launch(
      NAME,
      (attrs.offsets.length - 1) * H,
      ...[q, k, v, g, beta, lamb, hKk, hKv, o, aT, cT],
      ...[offsets, work, H, K, V, attrs.iterations],
    );
  },
  backward: (call, gradient) => {
    const { input, shape, attrs, launch, workspace, scratch } = call;
    const [, , H, K] = shape.k!;
    const V = shape.v![3];
    const N = attrs.offsets.length - 1;
    const longest = longestOf(attrs.offsets);
    const segment = Math.ceil(Math.sqrt(longest));
    const sizes = floatsOf(K, V);
    const states = 2 + segment + Math.ceil(longest / segment);
    const work = workspace(4 * (sizes.token + sizes.gradient + states * sizes.state));
    const offsets = heapOffsets(call, attrs.offsets);
    const dLamb = scratch(4 * N * H * K);
    const { q, k, v, g, beta, lamb, hKk, hKv, d0, d1, d2 } = input;
    launch(
      'mesaNetBackward',
      N * H,
      ...[q, k, v, g, beta, lamb, hKk, hKv, d0, d1, d2],
      ...[gradient.q, gradient.k, gradient.v, gradient.g, gradient.beta, dLamb, gradient.hKk, gradient.hKv],
      ...[offsets, work, H, K, V, attrs.iterations, segment],
    );
    sumOverSequences(call, dLamb, gradient.lamb, N, H * K);
  },
  reference: mesaNetReference,
});

/**
 * Mesa layer: every output is that of the best linear map from the keys so far to their values, ridge regression with
 * decaying weights. `A_t = exp(g_t) A_{t-1} + beta_t k_t k_t^T`, `C_t = exp(g_t) C_{t-1} + beta_t k_t v_t^T`,
 * `x_t = (A_t + diag(lamb))^-1 q_t`, `o_t = C_t^T x_t`; no scale.
 *
 * @param q `[B, T, H, K]`
 * @param k `[B, T, H, K]`, of unit norm
 * @param v `[B, T, H, V]`
 * @param g `[B, T, H]`, log decay
 * @param beta `[B, T, H]`, weights, at least 0
 * @param lamb `[H, K]`, regularization, above 0
 * @param options.hKkInit `[N, H, K, K]`, the first A, symmetric (only its upper triangle is solved with); zeros by default
 * @param options.hKvInit `[N, H, K, V]`, the first C; zeros by default
 * @param options.outputFinalState returns `{ output, hKk, hKv }` instead of the output alone
 * @param options.maxCgIteration solves by conjugate gradients with at most so many steps, in the gradient too, instead of
 * exactly
 * @param options.cuSeqlens bounds of sequences packed along T, with B = 1
 * @returns `[B, T, H, V]`
 * @throws TypeError, RangeError for a wrong dtype or shape, or a maxCgIteration that is no positive integer
 * @see von Oswald et al., "MesaNet: Sequence Modeling by Locally Optimal Test-Time Training"
 * @example
 * ```ts
 * import { ones, randomNormal, randomUniform } from '@tensorflow/tfjs-core';
 * import { l2Norm, mesaNet, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 64, 4, 16]);
 * const k = l2Norm(randomNormal([1, 64, 4, 16]));
 * const v = randomNormal([1, 64, 4, 32]);
 * const g = randomUniform([1, 64, 4], -0.1, 0);
 * const beta = randomUniform([1, 64, 4]);
 * const lamb = ones([4, 16]);
 * const output = mesaNet(q, k, v, g, beta, lamb); // [1, 64, 4, 32]
 * ```
 */
export function mesaNet(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  g: Tensor,
  beta: Tensor,
  lamb: Tensor,
  options: MesaNetOptions & { outputFinalState: true },
): MesaNetResult;
export function mesaNet(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  g: Tensor,
  beta: Tensor,
  lamb: Tensor,
  options?: MesaNetOptions,
): Tensor;
export function mesaNet(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  g: Tensor,
  beta: Tensor,
  lamb: Tensor,
  options: MesaNetOptions = {},
): Tensor | MesaNetResult {
  const { hKkInit, hKvInit, outputFinalState = false, maxCgIteration } = options;
  const { B, T, H, K, V } = checkShapes(NAME, [
    ['q', q, 'B T H K'],
    ['k', k, 'B T H K'],
    ['v', v, 'B T H V'],
    ['g', g, 'B T H'],
    ['beta', beta, 'B T H'],
    ['lamb', lamb, 'H K'],
  ]);
  const offsets = sequenceOffsets(NAME, options.cuSeqlens, B, T);
  checkShapes(NAME, [
    ['hKkInit?', hKkInit, `${offsets.length - 1} ${H} ${K} ${K}`],
    ['hKvInit?', hKvInit, `${offsets.length - 1} ${H} ${K} ${V}`],
  ]);
  if (maxCgIteration !== undefined && !(Number.isInteger(maxCgIteration) && maxCgIteration > 0))
    throw new RangeError(`${NAME}: maxCgIteration must be a positive integer; got ${maxCgIteration}`);
  const iterations = Math.min(maxCgIteration ?? 0, 2 ** 31 - 1);
  const attrs = { finalState: outputFinalState, iterations, offsets };
  const [output, hKk, hKv] = op.run({ q, k, v, g, beta, lamb, hKk: hKkInit, hKv: hKvInit }, attrs);
  return outputFinalState ? { output, hKk, hKv } : output;
}
