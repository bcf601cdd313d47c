import type { Tensor } from '@tensorflow/tfjs-core';
import { checkShapes } from '../tensor/shape';
import { sumOverSequences } from './memoryLoss';
import { type Recurrent, recurrentResult, sequenceOffsets } from './recurrent';
import { sLstmReference } from './sLstm.reference';
import { defineTaped } from './taped';
import { heapOffsets, longestOf, padded } from './workspace';

export interface SLstmOptions {
  /** `[N, 4, H, D]`: h, c, n and m; default zeros. */
  initialState?: Tensor;
  /** Whether to return `{ output, finalState }` instead of the output alone. */
  outputFinalState?: boolean;
  /** Bounds `[N + 1]` of sequences packed one after another along T, from 0 to T; B must be 1. */
  cuSeqlens?: Tensor | readonly number[];
}

export type SLstmInput = 'x' | 'r' | 'state';
export interface SLstmAttrs {
  finalState: boolean;
  offsets: readonly number[];
}

const NAME = 'sLstm';

const op = defineTaped<SLstmInput, SLstmAttrs>({
  name: NAME,
  inputs: ['x', 'r', 'state'],
  outputs: ({ x }, { offsets, finalState }) => {
    const [B, T, , H, D] = x!;
    const output = [B, T, H, D];
    return finalState ? [output, [offsets.length - 1, 4, H, D]] : [output];
  },
  kernel: (call) => {
    const { input, output, shape, attrs, launch, workspace } = call;
    const [, , , H, D] = shape.x!;
    const Dp = padded(D);
    const work = workspace(4 * Dp * (4 * Dp + 9));
    const offsets = heapOffsets(call, attrs.offsets);
    const items = (attrs.offsets.length - 1) * H;
    launch(NAME, items, input.x, input.r, input.state, output[0], output[1], offsets, work, H, D);
  },
  backward: (call, gradient) => {
    const { input, shape, attrs, launch, workspace, scratch } = call;
    const [, , , H, D] = shape.x!;
    const Dp = padded(D);
    const N = attrs.offsets.length - 1;
    const work = workspace(4 * Dp * (8 * Dp + 13 + 4 * (longestOf(attrs.offsets) + 1)));
    const offsets = heapOffsets(call, attrs.offsets);
    const size = 4 * H * D * D;
    const dr = scratch(4 * N * size);
    const { x, r, state, d0, d1 } = input;
    launch('sLstmBackward', N * H, x, r, state, d0, d1, gradient.x, dr, gradient.state, offsets, work, H, D);
    sumOverSequences(call, dr, gradient.r, N, size);
  },
  reference: sLstmReference,
});

/**
 * Scalar LSTM of xLSTM: exponential gates, a normalizer, and recurrent weights within each head. With the gates
 * `i, f, z, o = x_t + h_{t-1}^T r`, `f' = log sigmoid(f) + m_{t-1}`, `m_t = max(f', i)` (i where `n_{t-1}` is 0),
 * `c_t = exp(f' - m_t) c_{t-1} + exp(i - m_t) tanh(z)`, `n_t = exp(f' - m_t) n_{t-1} + exp(i - m_t)`,
 * `h_t = sigmoid(o) c_t / n_t`.
 *
 * @param x `[B, T, 4, H, D]`, what the input and the biases give to the gates i, f, z and o
 * @param r `[4, H, D, D]`, recurrent weights of the same gates: rows belong to `h_{t-1}`
 * @param options.initialState `[N, 4, H, D]`: h, c, n and m, zeros by default
 * @param options.outputFinalState returns `{ output, finalState }` instead of the output alone
 * @param options.cuSeqlens bounds of sequences packed along T, with B = 1
 * @returns h, `[B, T, H, D]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Beck et al., "xLSTM: Extended Long Short-Term Memory", section 2.2
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { ready, sLstm } from 'linnet';
 *
 * await ready();
 * const x = randomNormal([1, 64, 4, 2, 16]);
 * const r = randomNormal([4, 2, 16, 16], 0, 0.1);
 * const { output, finalState } = sLstm(x, r, { outputFinalState: true });
 * console.log(output.shape, finalState.shape); // [1, 64, 2, 16] [1, 4, 2, 16]
 * ```
 */
export function sLstm(x: Tensor, r: Tensor, options: SLstmOptions & { outputFinalState: true }): Recurrent;
export function sLstm(x: Tensor, r: Tensor, options?: SLstmOptions): Tensor;
export function sLstm(x: Tensor, r: Tensor, options: SLstmOptions = {}): Tensor | Recurrent {
  const { initialState: state, outputFinalState = false } = options;
  const { B, T, H, D } = checkShapes(NAME, [
    ['x', x, 'B T 4 H D'],
    ['r', r, '4 H D D'],
  ]);
  const offsets = sequenceOffsets(NAME, options.cuSeqlens, B, T);
  checkShapes(NAME, [['initialState?', state, `${offsets.length - 1} 4 ${H} ${D}`]]);
  return recurrentResult(op.run({ x, r, state }, { finalState: outputFinalState, offsets }));
}
