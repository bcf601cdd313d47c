import { engine, type Tensor } from '@tensorflow/tfjs-core';
import type { Shape } from '../op/define';
import { checkMultiple, checkShapes, type Expectation } from '../tensor/shape';
import { type Complex, complexParts } from './complex';
import { defineSsmOp } from './family';
import {
  gradientNames,
  type SelectiveScanAttrs,
  type SelectiveScanInput,
  sizesOf,
} from './selectiveScan.attrs';
import { selectiveScanBackwardReference, selectiveScanReference } from './selectiveScan.reference';

export interface SelectiveScanOptions<M extends Tensor | Complex = Tensor> {
  /** `[Dm]`, the skip connection: adds `D u`. */
  D?: Tensor;
  /** `[B, T, Dm]`, the gate: multiplies the output by `silu(z)`. */
  z?: Tensor;
  /** `[Dm]`, added to delta. */
  deltaBias?: Tensor;
  /** Whether delta goes through `log(1 + e^x)`, after the bias; default false. */
  deltaSoftplus?: boolean;
  /** `[B, Dm, N]`, complex if A is; default zeros. */
  initialState?: M;
  /** Whether to return `{ output, lastState }` instead of the output alone. */
  returnLastState?: boolean;
}

export interface SelectiveScanResult<M extends Tensor | Complex = Tensor> {
  /** `[B, T, Dm]` */
  output: Tensor;
  /** `[B, Dm, N]`, complex if A is. */
  lastState: M;
}

const NAME = 'selectiveScan';
const UPDATE = 'selectiveStateUpdate';
/** Columns that are summed over parts at a time. */
const BLOCK_COLUMNS = 64;

/**
 * Outputs: output, states kept for the gradient (empty if there will be none), last state and its imaginary part (empty
 * if not asked for).
 */
const op = defineSsmOp<SelectiveScanInput, SelectiveScanAttrs>({
  name: NAME,
  outputs: (shapes, attrs) => {
    const { B, N, complex, checkpoints } = sizesOf(shapes, attrs);
    const last = attrs.lastState ? [B, ...shapes.u!.slice(attrs.single ? 1 : 2), N] : [0];
    return [shapes.u!, [checkpoints], last, complex ? last : [0]];
  },
  saveOutputs: [false, true, false, false],
  kernel: ({ input, shape, output, attrs, workspace, launch }) => {
    const sizes = sizesOf(shape, attrs);
    const { T, Dm, N, G, complex, items } = sizes;
    const { u, delta, z, A, AIm, B, BIm, C, CIm, D, deltaBias, initialState, initialStateIm } = input;
    const [out, kept, last, lastIm] = output;
    const work = workspace(sizes.forwardBytes);
    const modes = [sizes.constantB ? 1 : 0, sizes.constantC ? 1 : 0, attrs.softplus ? 1 : 0] as const;
    if (complex) {
      // biome-ignore format: one argument list per line of the entry point
      launch('selectiveScanComplex', sizes.B * Dm,
        u, delta, z, A, AIm, B, BIm, C, CIm, D, deltaBias, initialState, initialStateIm,
        out, attrs.lastState ? last : 0, lastIm, work, T, Dm, N, G, ...modes);
      return;
    }
    // biome-ignore format: one argument list per line of the entry point
    launch('selectiveScan', items,
      u, delta, z, A, B, C, D, deltaBias, initialState,
      out, attrs.lastState ? last : 0, attrs.keep ? kept : 0, work, T, Dm, N, G, ...modes);
  },
  reference: selectiveScanReference,
  gradient: ({ inputs, outputs, dy, attrs }) => {
    const gradients = backward.run(
      { ...inputs, kept: outputs[0], dOutput: dy[0], dLast: dy[2], dLastIm: dy[3] },
      attrs,
    );
    return Object.fromEntries(gradientNames(inputs).map((input, i) => [input, gradients[i]]));
  },
});

const backward = defineSsmOp<
  SelectiveScanInput | 'kept' | 'dOutput' | 'dLast' | 'dLastIm',
  SelectiveScanAttrs
>({
  name: `${NAME}Backward`,
  outputs: (shapes) => gradientNames(shapes).map((input) => shapes[input]!),
  kernel: ({ input, shape, output, attrs, scratch, workspace, launch }) => {
    const sizes = sizesOf(shape, attrs);
    const { B, T, Dm, N, G, constantB, constantC, blocks, items } = sizes;
    const names = gradientNames(shape);
    const gradient = (name: SelectiveScanInput) => output[names.indexOf(name)] ?? 0;
    const sums: (() => void)[] = [];
    /** Where `parts` parts of a gradient go: to the output itself if there is only one. */
    const partsOf = (name: SelectiveScanInput, parts: number) => {
      const target = gradient(name);
      if (target === 0 || parts === 1) return target;
      const size = (shape[name] as Shape).reduce((n, d) => n * d, 1);
      const partial = scratch(4 * parts * size);
      sums.push(() => launch('sumRows', Math.ceil(size / BLOCK_COLUMNS), partial, target, parts, size));
      return partial;
    };
    const partsB = constantB ? B : blocks;
    const partsC = constantC ? B : blocks;
    const { u, delta, z, D, deltaBias, dOutput } = input;
    const { dLast, dLastIm } = attrs.lastState ? input : { dLast: 0, dLastIm: 0 };
    const [du, ddelta, dz] = [gradient('u'), gradient('delta'), gradient('z')];
    const [dA, dB, dC] = [partsOf('A', B), partsOf('B', partsB), partsOf('C', partsC)];
    const [dD, dBias] = [partsOf('D', B), partsOf('deltaBias', B)];
    const work = workspace(sizes.backwardBytes);
    const modes = [constantB ? 1 : 0, constantC ? 1 : 0, attrs.softplus ? 1 : 0] as const;
    if (sizes.complex) {
      const { A, AIm, B: BRe, BIm, C: CRe, CIm, initialState, initialStateIm } = input;
      // biome-ignore format: one argument list per line of the entry point
      launch('selectiveScanComplexBackward', items,
        u, delta, z, A, AIm, BRe, BIm, CRe, CIm, D, deltaBias, initialState, initialStateIm, dOutput, dLast, dLastIm,
        du, ddelta, dz, dA, partsOf('AIm', B), dB, partsOf('BIm', partsB), dC, partsOf('CIm', partsC),
        dD, dBias, gradient('initialState'), gradient('initialStateIm'), work, B, T, Dm, N, G, ...modes);
    } else {
      // biome-ignore format: one argument list per line of the entry point
      launch('selectiveScanBackward', items,
        u, delta, z, input.A, input.B, input.C, D, deltaBias, input.kept, dOutput, dLast,
        du, ddelta, dz, dA, dB, dC, dD, dBias, gradient('initialState'), work, B, T, Dm, N, G, ...modes);
    }
    for (const sum of sums) sum();
  },
  reference: selectiveScanBackwardReference,
});

/** The notation of B or C by its rank: constant, per token, or per token and group. */
function notationOf(parts: Tensor | Complex): string {
  const rank = partsOf(parts)[0]?.shape?.length;
  return rank === 2 ? 'Dm N' : rank === 4 ? 'B T G N' : 'B T N';
}

const isComplex = (value: unknown): value is Complex =>
  typeof value === 'object' && value !== null && 're' in value;

function partsOf(value: Tensor | Complex | undefined): [re: Tensor | undefined, im: Tensor | undefined] {
  return isComplex(value) ? [value.re, value.im] : [value, undefined];
}

/**
 * The selective scan of Mamba: `h_t = exp(delta_t A) h_{t-1} + delta_t u_t B_t`, `y_t = C_t . h_t + D u_t`,
 * `o_t = y_t silu(z_t)`, each channel with a state of N numbers of its own. If A is complex, `{ re, im }`, so are B, C and
 * the states, and `y_t = 2 Re(C_t . h_t) + D u_t`.
 *
 * @param u `[B, T, Dm]`
 * @param delta `[B, T, Dm]`, step sizes
 * @param A `[Dm, N]`, of negative real part
 * @param B constant `[Dm, N]`, per token `[B, T, N]` or grouped `[B, T, G, N]`: channel d has group `d / (Dm / G)`,
 * rounded down
 * @param C as B
 * @returns `[B, T, Dm]`, or `{ output, lastState }` with `returnLastState: true`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", algorithm 2; mamba_ssm's
 * `selective_scan_ref`, whose B enters as `delta B`
 * @example
 * ```ts
 * import { neg, randomNormal, randomUniform } from '@tensorflow/tfjs-core';
 * import { ready, selectiveScan } from 'linnet';
 *
 * await ready();
 * const u = randomNormal([1, 64, 32]);
 * const delta = randomNormal([1, 64, 32]);
 * const A = neg(randomUniform([32, 16]));
 * const B = randomNormal([1, 64, 16]);
 * const C = randomNormal([1, 64, 16]);
 * const options = { deltaSoftplus: true, returnLastState: true } as const;
 * const { output, lastState } = selectiveScan(u, delta, A, B, C, options);
 * console.log(output.shape, lastState.shape); // [1, 64, 32] [1, 32, 16]
 * ```
 */
export function selectiveScan(
  u: Tensor,
  delta: Tensor,
  A: Tensor,
  B: Tensor,
  C: Tensor,
  options: SelectiveScanOptions & { returnLastState: true },
): SelectiveScanResult;
export function selectiveScan(
  u: Tensor,
  delta: Tensor,
  A: Tensor,
  B: Tensor,
  C: Tensor,
  options?: SelectiveScanOptions,
): Tensor;
export function selectiveScan(
  u: Tensor,
  delta: Tensor,
  A: Complex,
  B: Complex,
  C: Complex,
  options: SelectiveScanOptions<Complex> & { returnLastState: true },
): SelectiveScanResult<Complex>;
export function selectiveScan(
  u: Tensor,
  delta: Tensor,
  A: Complex,
  B: Complex,
  C: Complex,
  options?: SelectiveScanOptions<Complex>,
): Tensor;
export function selectiveScan(
  u: Tensor,
  delta: Tensor,
  A: Tensor | Complex,
  B: Tensor | Complex,
  C: Tensor | Complex,
  options: SelectiveScanOptions<Tensor | Complex> = {},
): Tensor | SelectiveScanResult<Tensor | Complex> {
  const { D, z, deltaBias, deltaSoftplus = false, initialState, returnLastState = false } = options;
  const [ARe, AIm] = partsOf(A);
  const [BRe, BIm] = partsOf(B);
  const [CRe, CIm] = partsOf(C);
  const [stateRe, stateIm] = partsOf(initialState);
  const complex = isComplex(A);
  const matrix = (name: string, value: Tensor | Complex | undefined, notation: string): Expectation[] =>
    complex
      ? complexParts(NAME, name, value as Complex, notation)
      : [[name as '?', value as Tensor, notation]];
  const [notationB, notationC] = [notationOf(B), notationOf(C)];
  const bothPerToken = notationB !== 'Dm N' && notationC !== 'Dm N';
  const sizes = checkShapes<string>(NAME, [
    ['u', u, 'B T Dm'],
    ['delta', delta, 'B T Dm'],
    ...matrix('A', A, 'Dm N'),
    ...matrix('B', B, notationB),
    ...matrix('C', C, bothPerToken ? notationB : notationC),
    ['D?', D, 'Dm'],
    ['z?', z, 'B T Dm'],
    ['deltaBias?', deltaBias, 'Dm'],
    ...matrix('initialState?', initialState, 'B Dm N'),
  ]) as Record<string, number>;
  if (sizes.Dm > 0) checkMultiple(NAME, 'Dm', sizes.Dm, 'G', sizes.G ?? 1);
  const [output, kept, lastState, lastStateIm] = op.run(
    {
      u,
      delta,
      A: ARe,
      AIm,
      B: BRe,
      BIm,
      C: CRe,
      CIm,
      D,
      z,
      deltaBias,
      initialState: stateRe,
      initialStateIm: stateIm,
    },
    { softplus: deltaSoftplus, lastState: returnLastState, keep: engine().isTapeOn(), single: false },
  );
  kept.dispose();
  if (returnLastState && complex) return { output, lastState: { re: lastState, im: lastStateIm } };
  lastStateIm.dispose();
  if (returnLastState) return { output, lastState };
  lastState.dispose();
  return output;
}

export interface SelectiveStateUpdateOptions {
  /** `[D]` or `[H, D]`, the skip connection. */
  D?: Tensor;
  /** `[B, D]` or `[B, H, D]`, the gate. */
  z?: Tensor;
  /** `[D]` or `[H, D]`, added to dt. */
  dtBias?: Tensor;
  /** Whether dt goes through `log(1 + e^x)`, after the bias; default false. */
  dtSoftplus?: boolean;
}

export interface SelectiveStateUpdateResult {
  /** `[B, D]` or `[B, H, D]` */
  output: Tensor;
  /** `[B, D, N]` or `[B, H, D, N]` */
  state: Tensor;
}

/**
 * `selectiveScan` for one more token, `h = exp(dt A) h + dt x B`, `y = (C . h + D x) silu(z)`: its output and the state
 * after it, which is a new tensor. Channels may be split over
 * heads, as those of Mamba-2 are; its A and dt per head are to be repeated for the channels of a head.
 *
 * @param state `[B, D, N]` or `[B, H, D, N]`
 * @param x `[B, D]` or `[B, H, D]`
 * @param dt as x
 * @param A `[D, N]` or `[H, D, N]`
 * @param B `[B, N]`, or grouped `[B, G, N]`: head h, or channel without heads, has group `h / (H / G)`, rounded down
 * @param C as B
 * @returns `{ output, state }`, shaped as x and the state
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see mamba_ssm's `selective_state_update`, which writes the state in place
 * @example
 * ```ts
 * import { neg, randomNormal, randomUniform, zeros } from '@tensorflow/tfjs-core';
 * import { ready, selectiveStateUpdate } from 'linnet';
 *
 * await ready();
 * const before = zeros([1, 32, 16]);
 * const x = randomNormal([1, 32]);
 * const dt = randomUniform([1, 32]);
 * const A = neg(randomUniform([32, 16]));
 * const B = randomNormal([1, 16]);
 * const C = randomNormal([1, 16]);
 * const { output, state } = selectiveStateUpdate(before, x, dt, A, B, C); // output [1, 32], state [1, 32, 16]
 * ```
 */
export function selectiveStateUpdate(
  state: Tensor,
  x: Tensor,
  dt: Tensor,
  A: Tensor,
  B: Tensor,
  C: Tensor,
  options: SelectiveStateUpdateOptions = {},
): SelectiveStateUpdateResult {
  const { D, z, dtBias, dtSoftplus = false } = options;
  const channels = x?.shape?.length === 3 ? 'H D' : 'D';
  const notationB = B?.shape?.length === 3 ? 'B G N' : 'B N';
  const sizes = checkShapes<string>(UPDATE, [
    ['state', state, `B ${channels} N`],
    ['x', x, `B ${channels}`],
    ['dt', dt, `B ${channels}`],
    ['A', A, `${channels} N`],
    ['B', B, notationB],
    ['C', C, notationB],
    ['D?', D, channels],
    ['z?', z, `B ${channels}`],
    ['dtBias?', dtBias, channels],
  ]) as Record<string, number>;
  const split = channels === 'D' ? 'D' : 'H';
  checkMultiple(UPDATE, split, sizes[split], 'G', sizes.G ?? 1);
  const [output, kept, next, imaginary] = op.run(
    { u: x, delta: dt, A, B, C, D, z, deltaBias: dtBias, initialState: state },
    { softplus: dtSoftplus, lastState: true, keep: engine().isTapeOn(), single: true },
  );
  kept.dispose();
  imaginary.dispose();
  return { output, state: next };
}
