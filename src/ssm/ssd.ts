import { type Tensor, tidy } from '@tensorflow/tfjs-core';
import { type Recurrent, sequenceOffsets } from '../linear/recurrent';
import { isRecording } from '../op/define';
import { type Integers, integers, isTensor } from '../tensor/integers';
import { checkMultiple, checkShapes } from '../tensor/shape';
import { ssdOutputs, ssdScan, ssdStep, ssdSteps, transposeStates } from './ssdParts';

export interface SsdOptions {
  /** Accepted for the sake of mamba_ssm's signature: the result does not depend on it, and neither does the speed. */
  chunkSize?: number;
  /** `[H]` or `[H, P]`, the skip connection: adds `D x`. */
  D?: Tensor;
  /** `[B, T, H, P]`, the gate: multiplies the output by `silu(z)`. */
  z?: Tensor;
  /** `[H]`, added to dt. */
  dtBias?: Tensor;
  /** Whether dt goes through `log(1 + e^x)`, after the bias; default false. */
  dtSoftplus?: boolean;
  /** Least and greatest step size, after softplus; default `[0, Infinity]`. */
  dtLimit?: readonly [min: number, max: number];
  /** `[S, H, P, N]`, S the number of sequences: B, or as many as `cuSeqlens` bounds; default zeros. */
  initialState?: Tensor;
  /** Whether to return `{ output, finalState }` instead of the output alone. */
  outputFinalState?: boolean;
  /** `[B, T]` int32, the sequence each token belongs to: the state starts anew where it changes. Not together with states. */
  seqIdx?: Integers;
  /** Bounds `[S + 1]` of sequences packed one after another along T, from 0 to T; B must be 1. */
  cuSeqlens?: Tensor | readonly number[];
}

const NAME = 'ssd';

/** Bounds of the sequences in the flattened [B T] axis. */
function offsetsOf(
  { seqIdx, cuSeqlens, initialState, outputFinalState }: SsdOptions,
  B: number,
  T: number,
): readonly number[] {
  if (seqIdx === undefined) return sequenceOffsets(NAME, cuSeqlens, B, T);
  if (cuSeqlens !== undefined || initialState !== undefined || outputFinalState) {
    throw new RangeError(
      `${NAME}: seqIdx cannot be combined with cuSeqlens, initialState or outputFinalState; give cuSeqlens alone`,
    );
  }
  const values = integers(NAME, 'seqIdx', seqIdx, `${B} ${T}`);
  if (!isTensor(seqIdx) && values.length !== B * T) {
    throw new RangeError(`${NAME}: seqIdx has ${values.length} values; expected B T = ${B * T}`);
  }
  const starts = values.flatMap((value, i) => (i % T === 0 || value !== values[i - 1] ? [i] : []));
  return [...starts, B * T];
}

function limitsOf(limits: readonly [number, number]) {
  const [low, high] = Array.isArray(limits) ? limits : [Number.NaN, Number.NaN];
  if (!(low <= high)) throw new RangeError(`${NAME}: dtLimit must be [min, max]; got [${limits}]`);
  return { low: Math.fround(low), high: Math.fround(high) };
}

/**
 * Mamba-2's scan, state space duality: `S_t = exp(dt_t A) S_{t-1} + dt_t x_t B_t^T`, `y_t = S_t C_t + D x_t`,
 * `o_t = y_t silu(z_t)`, with one decay per head. It is linear attention of queries C, keys B and values `dt x`, and runs
 * on the chunked kernel of `simpleGla`.
 *
 * @param x `[B, T, H, P]`
 * @param dt `[B, T, H]`, step sizes
 * @param A `[H]`, negative
 * @param B `[B, T, G, N]`; head h has group `h / (H / G)`, rounded down
 * @param C as B
 * @returns `[B, T, H, P]`, or `{ output, finalState }` with `outputFinalState: true`, the state `[S, H, P, N]`
 * @throws TypeError, RangeError for a wrong dtype, shape, packing or limit
 * @see Dao and Gu, "Transformers are SSMs", section 6; `mamba_chunk_scan_combined` of mamba_ssm
 * @example
 * ```ts
 * import { neg, randomNormal, randomUniform } from '@tensorflow/tfjs-core';
 * import { ready, ssd } from 'linnet';
 *
 * await ready();
 * const x = randomNormal([1, 64, 4, 16]);
 * const dt = randomUniform([1, 64, 4]);
 * const A = neg(randomUniform([4]));
 * const B = randomNormal([1, 64, 1, 32]);
 * const C = randomNormal([1, 64, 1, 32]);
 * const { output, finalState } = ssd(x, dt, A, B, C, { outputFinalState: true });
 * console.log(output.shape, finalState.shape); // [1, 64, 4, 16] [1, 4, 16, 32]
 * ```
 */
export function ssd(
  x: Tensor,
  dt: Tensor,
  A: Tensor,
  B: Tensor,
  C: Tensor,
  options: SsdOptions & { outputFinalState: true },
): Recurrent;
export function ssd(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, options?: SsdOptions): Tensor;
export function ssd(
  x: Tensor,
  dt: Tensor,
  A: Tensor,
  B: Tensor,
  C: Tensor,
  options: SsdOptions = {},
): Tensor | Recurrent {
  const { D, z, dtBias, dtSoftplus = false, dtLimit = [0, Number.POSITIVE_INFINITY], initialState } = options;
  const { chunkSize = 64, outputFinalState = false, cuSeqlens } = options;
  const sizes = checkShapes(NAME, [
    ['x', x, 'B T H P'],
    ['dt', dt, 'B T H'],
    ['A', A, 'H'],
    ['B', B, 'B T G N'],
    ['C', C, 'B T G N'],
    ['D?', D, D?.shape?.length === 2 ? 'H P' : 'H'],
    ['z?', z, 'B T H P'],
    ['dtBias?', dtBias, 'H'],
  ]);
  checkMultiple(NAME, 'H', sizes.H, 'G', sizes.G);
  if (!Number.isInteger(chunkSize) || chunkSize < 1) {
    throw new RangeError(`${NAME}: chunkSize must be a positive integer; got ${chunkSize}`);
  }
  const limits = limitsOf(dtLimit);
  const offsets = offsetsOf(options, sizes.B, sizes.T);
  checkShapes(NAME, [
    ['initialState?', initialState, `${offsets.length - 1} ${sizes.H} ${sizes.P} ${sizes.N}`],
  ]);
  const steps = { softplus: dtSoftplus, ...limits };
  if (sizes.T === 1 && outputFinalState && cuSeqlens === undefined && !isRecording()) {
    const [output, finalState] = ssdStep.run({ x, dt, A, dtBias, B, C, D, z, initialState }, steps);
    return { output, finalState };
  }
  const attrs = { scale: 1, finalState: outputFinalState, offsets, reverse: false };
  return tidy(() => {
    const [beta, g] = ssdSteps.run({ dt, A, dtBias }, steps);
    const state = initialState && transposeStates(initialState);
    const [y, last] = ssdScan.run({ q: C, k: B, v: x, g, beta, initialState: state }, attrs);
    const plain = D === undefined && z === undefined;
    const output = plain ? y : ssdOutputs.run({ y, x: D && x, D, z }, {})[0];
    return outputFinalState ? { output, finalState: transposeStates(last) } : output;
  });
}
