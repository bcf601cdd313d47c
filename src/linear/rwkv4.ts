import type { Tensor } from '@tensorflow/tfjs-core';
import { checkShapes } from '../tensor/shape';
import { defineLinearOp } from './family';
import { type Recurrent, type RecurrentOptions, recurrentResult, sequenceOffsets } from './recurrent';
import { rwkv4BackwardReference, rwkv4Reference } from './rwkv4.reference';
import { heapOffsets } from './workspace';

export type Rwkv4Options = Omit<RecurrentOptions, 'scale'>;
export type Rwkv4Input = 'w' | 'u' | 'k' | 'v' | 'initialState';

export interface Rwkv4Attrs {
  /** Bounds of the sequences in the flattened [B T] axis. */
  offsets: readonly number[];
  finalState: boolean;
}

const NAME = 'rwkv4';

const op = defineLinearOp<Rwkv4Input, Rwkv4Attrs>({
  name: NAME,
  outputs: ({ k }, { offsets, finalState }) => (finalState ? [k!, [offsets.length - 1, 3, 1, k![2]]] : [k!]),
  kernel: (call) => {
    const { input, output, shape, attrs, launch } = call;
    const [, , C] = shape.k!;
    const items = (attrs.offsets.length - 1) * Math.ceil(C / 4);
    const { w, u, k, v, initialState } = input;
    const offsets = heapOffsets(call, attrs.offsets);
    launch(NAME, items, w, u, k, v, initialState, output[0], output[1] ?? 0, offsets, C);
  },
  reference: rwkv4Reference,
  gradient: ({ inputs, dy, attrs }) => {
    const [w, u, k, v, initialState] = backward.run({ ...inputs, dOutput: dy[0], dFinal: dy[1] }, attrs);
    return { w, u, k, v, initialState };
  },
});

const backward = defineLinearOp<Rwkv4Input | 'dOutput' | 'dFinal', Rwkv4Attrs>({
  name: `${NAME}Backward`,
  outputs: ({ w, u, k, v, initialState }) => [w!, u!, k!, v!, ...(initialState ? [initialState] : [])],
  kernel: (call) => {
    const { input, output, shape, attrs, scratch, workspace, launch } = call;
    const [, , C] = shape.k!;
    const N = attrs.offsets.length - 1;
    const longest = attrs.offsets.reduce((most, end, n, all) => Math.max(most, n ? end - all[n - 1] : 0), 0);
    const { w, u, k, v, initialState, dOutput, dFinal } = input;
    const [dw, du, dk, dv, dInitial] = output;
    const [speeds, bonuses] = [scratch(4 * N * C), scratch(4 * N * C)];
    const offsets = heapOffsets(call, attrs.offsets);
    // biome-ignore format: one argument list per line of the entry point
    launch('rwkv4Backward', N * Math.ceil(C / 4),
      w, u, k, v, initialState, dOutput, dFinal, speeds, bonuses, dk, dv, dInitial ?? 0, offsets,
      workspace(48 * longest), C);
    launch('sumRows', Math.ceil(C / 64), speeds, dw, N, C);
    launch('sumRows', Math.ceil(C / 64), bonuses, du, N, C);
  },
  reference: rwkv4BackwardReference,
});

/**
 * The WKV operator of RWKV-4: a mean of all values so far, weighted by e^k, older ones by e^(-e^w) per token more, the
 * token's own by e^u:
 * `o_t = (sum of e^(k_s - (t - 1 - s) e^w) v_s + e^(u + k_t) v_t) / (the same without v)`, the sums over s < t.
 *
 * @param w `[C]`; the log decay is `-exp(w)`
 * @param u `[C]`, bonus of the current token
 * @param k `[B, T, C]`
 * @param v `[B, T, C]`
 * @param options.initialState `[N, 3, 1, C]`: numerator and denominator in units of e^p, and p; default (0, 0, -Infinity)
 * @param options.outputFinalState returns `{ output, finalState }` instead of the output alone
 * @param options.cuSeqlens bounds of sequences packed along T, with B = 1
 * @returns `[B, T, C]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Peng et al., "RWKV: Reinventing RNNs for the Transformer Era", equation 16 and appendix D
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { ready, rwkv4 } from 'linnet';
 *
 * await ready();
 * const w = randomNormal([128]);
 * const u = randomNormal([128]);
 * const k = randomNormal([1, 64, 128]);
 * const v = randomNormal([1, 64, 128]);
 * const output = rwkv4(w, u, k, v); // [1, 64, 128]
 * ```
 */
export function rwkv4(
  w: Tensor,
  u: Tensor,
  k: Tensor,
  v: Tensor,
  options: Rwkv4Options & { outputFinalState: true },
): Recurrent;
export function rwkv4(w: Tensor, u: Tensor, k: Tensor, v: Tensor, options?: Rwkv4Options): Tensor;
export function rwkv4(
  w: Tensor,
  u: Tensor,
  k: Tensor,
  v: Tensor,
  options: Rwkv4Options = {},
): Tensor | Recurrent {
  const { initialState, outputFinalState = false, cuSeqlens } = options;
  const { B, T, C } = checkShapes(NAME, [
    ['k', k, 'B T C'],
    ['v', v, 'B T C'],
    ['w', w, 'C'],
    ['u', u, 'C'],
  ]);
  const offsets = sequenceOffsets(NAME, cuSeqlens, B, T);
  checkShapes(NAME, [['initialState?', initialState, `${offsets.length - 1} 3 1 ${C}`]]);
  return recurrentResult(op.run({ w, u, k, v, initialState }, { offsets, finalState: outputFinalState }));
}
