import type { Tensor } from '@tensorflow/tfjs-core';
import { checkShapes } from '../tensor/shape';
import { mLstmReference } from './mLstm.reference';
import { scaleOf, sequenceOffsets } from './recurrent';
import { defineTaped } from './taped';
import { heapOffsets, longestOf, padded } from './workspace';

/** The state of an mLSTM, scaled by `exp(-m)`. */
export interface MLstmState {
  /** `[N, H, K, V]`, the cell's matrix */
  c: Tensor;
  /** `[N, H, K]`, the normalizer */
  n: Tensor;
  /** `[N, H]`, the stabilizer */
  m: Tensor;
}

export interface MLstmOptions {
  /** Multiplies q; default `K ** -0.5`. */
  scale?: number;
  /** Default zeros. */
  initialState?: MLstmState;
  /** Whether to return `{ output, finalState }` instead of the output alone. */
  outputFinalState?: boolean;
  /** Bounds `[N + 1]` of sequences packed one after another along T, from 0 to T; B must be 1. */
  cuSeqlens?: Tensor | readonly number[];
}

export interface MLstmResult {
  /** `[B, T, H, V]` */
  output: Tensor;
  finalState: MLstmState;
}

export type MLstmInput = 'q' | 'k' | 'v' | 'i' | 'f' | 'c' | 'n' | 'm';
export interface MLstmAttrs {
  scale: number;
  finalState: boolean;
  offsets: readonly number[];
}

const NAME = 'mLstm';

function floatsOf(K: number, V: number) {
  const [Kp, Vp] = [padded(K), padded(V)];
  return { state: Kp * Vp + Kp + 4, token: 16 + 3 * Kp + 2 * Vp, gradient: 2 * Kp + 2 * Vp };
}

const op = defineTaped<MLstmInput, MLstmAttrs>({
  name: NAME,
  inputs: ['q', 'k', 'v', 'i', 'f', 'c', 'n', 'm'],
  outputs: ({ k, v }, { offsets, finalState }) => {
    const [, , H, V] = v!;
    const [N, K] = [offsets.length - 1, k![3]];
    return finalState ? [v!, [N, H, K, V], [N, H, K], [N, H]] : [v!];
  },
  kernel: (call) => {
    const { input, output, shape, attrs, launch, workspace } = call;
    const [, , H, K] = shape.k!;
    const V = shape.v![3];
    const { state, token } = floatsOf(K, V);
    const { q, k, v, i, f, c, n, m } = input;
    const [h, cT, nT, mT] = output;
    const work = workspace(4 * (state + token));
    const offsets = heapOffsets(call, attrs.offsets);
    const items = (attrs.offsets.length - 1) * H;
    launch(NAME, items, q, k, v, i, f, c, n, m, h, cT, nT, mT, offsets, work, H, K, V, attrs.scale);
  },
  backward: (call, gradient) => {
    const { input, shape, attrs, launch, workspace } = call;
    const [, , H, K] = shape.k!;
    const V = shape.v![3];
    const longest = longestOf(attrs.offsets);
    const segment = Math.max(1, Math.ceil(Math.sqrt(longest)));
    const sizes = floatsOf(K, V);
    const states = 2 + segment + Math.ceil(longest / segment);
    const work = workspace(4 * (sizes.token + sizes.gradient + states * sizes.state));
    const offsets = heapOffsets(call, attrs.offsets);
    const { q, k, v, i, f, c, n, m, d0, d1, d2, d3 } = input;
    launch(
      'mLstmBackward',
      (attrs.offsets.length - 1) * H,
      ...[q, k, v, i, f, c, n, m, d0, d1, d2, d3],
      ...[gradient.q, gradient.k, gradient.v, gradient.i, gradient.f, gradient.c, gradient.n, gradient.m],
      ...[offsets, work, H, K, V, attrs.scale, segment],
    );
  },
  reference: mLstmReference,
});

/**
 * Matrix LSTM of xLSTM: a matrix that gates write and forget, read with a normalizer. With `f' = log sigmoid(f_t)`,
 * `m_t = max(f' + m_{t-1}, i_t)`, `F = exp(f' + m_{t-1} - m_t)` and `I = exp(i_t - m_t)`,
 * `C_t = F C_{t-1} + I k_t v_t^T`, `n_t = F n_{t-1} + I k_t`,
 * `h_t = C_t^T q_t / max(|n_t . q_t|, exp(-m_t))`, q scaled.
 *
 * @param q `[B, T, H, K]`
 * @param k `[B, T, H, K]`
 * @param v `[B, T, H, V]`
 * @param i `[B, T, H]`, input gate before its exponential
 * @param f `[B, T, H]`, forget gate before its sigmoid
 * @param options.scale multiplies q; default `K ** -0.5`
 * @param options.initialState `{ c: [N, H, K, V], n: [N, H, K], m: [N, H] }`, zeros by default
 * @param options.outputFinalState returns `{ output, finalState }` instead of the output alone
 * @param options.cuSeqlens bounds of sequences packed along T, with B = 1
 * @returns `[B, T, H, V]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Beck et al., "xLSTM: Extended Long Short-Term Memory", section 2.3
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { mLstm, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 64, 4, 16]);
 * const k = randomNormal([1, 64, 4, 16]);
 * const v = randomNormal([1, 64, 4, 32]);
 * const i = randomNormal([1, 64, 4]);
 * const f = randomNormal([1, 64, 4]);
 * const { output, finalState } = mLstm(q, k, v, i, f, { outputFinalState: true });
 * console.log(output.shape, finalState.c.shape); // [1, 64, 4, 32] [1, 4, 16, 32]
 * ```
 */
export function mLstm(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  i: Tensor,
  f: Tensor,
  options: MLstmOptions & { outputFinalState: true },
): MLstmResult;
export function mLstm(q: Tensor, k: Tensor, v: Tensor, i: Tensor, f: Tensor, options?: MLstmOptions): Tensor;
export function mLstm(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  i: Tensor,
  f: Tensor,
  options: MLstmOptions = {},
): Tensor | MLstmResult {
  const { initialState, outputFinalState = false } = options;
  const { B, T, H, K, V } = checkShapes(NAME, [
    ['q', q, 'B T H K'],
    ['k', k, 'B T H K'],
    ['v', v, 'B T H V'],
    ['i', i, 'B T H'],
    ['f', f, 'B T H'],
  ]);
  const offsets = sequenceOffsets(NAME, options.cuSeqlens, B, T);
  const N = offsets.length - 1;
  if (initialState !== undefined)
    checkShapes(NAME, [
      ['initialState.c', initialState.c, `${N} ${H} ${K} ${V}`],
      ['initialState.n', initialState.n, `${N} ${H} ${K}`],
      ['initialState.m', initialState.m, `${N} ${H}`],
    ]);
  const attrs = { scale: scaleOf(NAME, options.scale, K), finalState: outputFinalState, offsets };
  const [output, c, n, m] = op.run({ q, k, v, i, f, ...initialState }, attrs);
  return outputFinalState ? { output, finalState: { c, n, m } } : output;
}
