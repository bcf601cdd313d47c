import type { KernelCall, Shape } from '../op/define';
import { deltaBackwardReference, deltaReference } from './delta.reference';
import { defineLinearOp } from './family';
import { type RecurrentOptions, scaleOf, sequenceOffsets } from './recurrent';

export interface DeltaRuleOptions extends RecurrentOptions {
  /** Divides q and k by their norms, `x / sqrt(x.x + 1e-6)`; default false. */
  useQkL2norm?: boolean;
  /** Takes beta before its sigmoid; default false. */
  betaSigmoid?: boolean;
}

/** The inputs of the delta rules by role: `a` is Comba's second key too. */
export type DeltaInput = 'q' | 'k' | 'v' | 'g' | 'beta' | 'a' | 'b' | 'initialState';

export interface DeltaAttrs {
  /** How the state is corrected: by its own key, by another key `a`, or by any `a` and `b`. */
  form: 'delta' | 'comba' | 'dplr';
  scale: number;
  finalState: boolean;
  /** Bounds of the sequences in the flattened [B T] axis of q. */
  offsets: readonly number[];
  /** Delta steps per token. */
  steps: number;
  betaSigmoid: boolean;
  l2norm: boolean;
}

type Shapes = { readonly [name in DeltaInput]?: Shape };
const INPUTS: DeltaInput[] = ['q', 'k', 'v', 'g', 'beta', 'a', 'b', 'initialState'];
const FORMS = ['delta', 'comba', 'dplr'];

function outputShapes({ q, v }: Shapes, { offsets, finalState }: DeltaAttrs): Shape[] {
  const [B, T, , K] = q!;
  const [, , HV, V] = v!;
  const output = [B, T, HV, V];
  return finalState ? [output, [offsets.length - 1, HV, K, V]] : [output];
}

function sizesOf({ k, v, g }: Shapes, { form, offsets, steps, betaSigmoid, l2norm, scale }: DeltaAttrs) {
  const [, , H, K] = k!;
  const [, , HV, V] = v!;
  const gate = g === undefined ? 0 : g.length - 2;
  return {
    H,
    HV,
    K,
    V,
    sequences: offsets.length - 1,
    modes: [FORMS.indexOf(form), gate, betaSigmoid ? 1 : 0, l2norm ? 1 : 0] as const,
    sizes: [H, HV, K, V, steps, scale] as const,
    Kp: (K + 7) & ~7,
    Vp: (V + 7) & ~7,
  };
}

/** The bounds of the sequences on the heap, int32. */
export function heapOffsets(
  { scratch, buffer }: Pick<KernelCall<string, never, never>, 'scratch' | 'buffer'>,
  offsets: readonly number[],
) {
  const pointer = scratch(4 * offsets.length);
  new Int32Array(buffer(), pointer, offsets.length).set(offsets);
  return pointer;
}

/** Scratch of a chunk in floats, as `layOut` of the kernels carves it, with one or four versions of the writes. */
function chunkFloats(Kp: number, Vp: number, slots: number): number {
  return Kp * (4 * 32 + slots * 32 + 16 + 4 + 1) + Kp * Vp + Vp * 64 + 16 + 48 + 17 * 16 + 48 + 32 * 32;
}

/** As `layOutGradients` does. */
function gradientFloats(Kp: number, Vp: number): number {
  return Kp * (3 * 32 + 16 + 1 + 8) + Vp * 64 + 2 * 32 * 32 + 64;
}

/** As deltaStep lays it out, with a state of its own where the final one is not asked for. */
function stepFloats(K: number, V: number, finalState: boolean): number {
  return 80 + 6 * ((K + 3) & ~3) + (finalState ? 0 : K * V);
}

/**
 * Steps up to which the recurrent kernel is used instead of the chunked one, whose time is that of whole chunks of 16.
 * Measured for K = V of 8 to 256: at 8 steps the recurrence takes half the time of a chunk, at 16 about the same.
 */
const RECURRENT_UP_TO = 15;

/**
 * Bytes of states of heads that take turns at a chunk, so that memory is read in order: a quarter of a common L2 cache.
 * Measured at T 8192 with 8 heads of 64 x 64: 8% faster than one head after another.
 */
const STATES_TOGETHER = 2 ** 18;

/** Above this many bytes of states before every chunk, they are kept for a segment of the sequence at a time. */
const KEPT_STATES = 16 * 2 ** 20;

/** Bytes of all that is kept of the heads that take turns on the way back. */
const KEPT_TOGETHER = 32 * 2 ** 20;

function longestOf({ offsets, steps }: DeltaAttrs): number {
  let longest = 1;
  for (let n = 0; n + 1 < offsets.length; n++) longest = Math.max(longest, offsets[n + 1] - offsets[n]);
  return longest * steps;
}

/** How the way back is cut up: chunks of a segment, segments, heads that take turns and the floats each of them keeps. */
function segmentsOf(Kp: number, Vp: number, HV: number, attrs: DeltaAttrs) {
  const chunks = Math.max(1, Math.ceil(longestOf(attrs) / 16));
  const segment = chunks * Kp * Vp * 4 <= KEPT_STATES ? chunks : Math.ceil(Math.sqrt(chunks));
  const segments = Math.ceil(chunks / segment);
  const values = Vp * (attrs.form === 'dplr' ? 32 : 16);
  const floats = (1 + segment + segments) * Kp * Vp + segment * segments * values;
  const fitting = Math.max(1, Math.floor(KEPT_TOGETHER / (4 * Math.max(1, floats))));
  return { segment, segments, floats, together: Math.ceil(HV / Math.ceil(HV / fitting)) };
}

/** The options of a call, checked, as the kernels take them. */
export function deltaAttrs(
  op: string,
  form: DeltaAttrs['form'],
  options: RecurrentOptions & { useQkL2norm?: boolean; betaSigmoid?: boolean },
  { B, T, K }: { B: number; T: number; K: number },
  steps = 1,
): DeltaAttrs {
  const offsets = sequenceOffsets(op, options.cuSeqlens, B, T);
  return {
    form,
    scale: scaleOf(op, options.scale, K),
    finalState: options.outputFinalState === true,
    offsets,
    steps,
    betaSigmoid: options.betaSigmoid === true,
    l2norm: options.useQkL2norm === true,
  };
}

/** A delta rule under its own name: the chunked kernels, the float64 reference and the gradient. */
export function defineDelta(name: string) {
  const backward = defineLinearOp<DeltaInput | 'dOutput' | 'dFinal', DeltaAttrs>({
    name: `${name}Backward`,
    outputs: (shapes) => gradientNames(shapes).map((input) => shapes[input]!),
    kernel: (call) => {
      const { input, shape, output, attrs, workspace, launch } = call;
      const { H, HV, sequences, modes, sizes, Kp, Vp } = sizesOf(shape, attrs);
      const { segment, segments, floats, together } = segmentsOf(Kp, Vp, HV, attrs);
      const names = gradientNames(shape);
      const gradient = (wanted: DeltaInput) => output[names.indexOf(wanted)] ?? 0;
      const offsets = heapOffsets(call, attrs.offsets);
      const work = workspace(768 + 4 * (chunkFloats(Kp, Vp, 4) + gradientFloats(Kp, Vp) + together * floats));
      launch(
        'deltaBackward',
        sequences * H,
        input.q,
        input.k,
        input.v,
        input.g,
        input.beta,
        input.a,
        input.b,
        input.initialState,
        input.dOutput,
        input.dFinal,
        gradient('q'),
        gradient('k'),
        gradient('v'),
        gradient('g'),
        gradient('beta'),
        gradient('a'),
        gradient('b'),
        gradient('initialState'),
        offsets,
        work,
        ...modes,
        ...sizes,
        segment,
        segments,
        together,
      );
    },
    reference: deltaBackwardReference,
  });

  return defineLinearOp<DeltaInput, DeltaAttrs>({
    name,
    outputs: outputShapes,
    kernel: (call) => {
      const { input, shape, output, attrs, workspace, launch } = call;
      const { HV, K, V, sequences, modes, sizes, Kp, Vp } = sizesOf(shape, attrs);
      const offsets = heapOffsets(call, attrs.offsets);
      const tensors = [
        input.q,
        input.k,
        input.v,
        input.g,
        input.beta,
        input.a,
        input.b,
        input.initialState,
        output[0],
        output[1],
        offsets,
      ] as const;
      if (longestOf(attrs) <= RECURRENT_UP_TO) {
        const work = workspace(4 * stepFloats(K, V, attrs.finalState));
        launch('deltaStep', sequences * HV, ...tensors, work, ...modes, ...sizes);
      } else {
        const together = Math.max(1, Math.min(HV, Math.floor(STATES_TOGETHER / (4 * Kp * Vp))));
        const work = workspace(512 + 4 * (chunkFloats(Kp, Vp, 1) + together * Kp * Vp));
        launch('deltaForward', sequences * HV, ...tensors, work, ...modes, ...sizes, together);
      }
    },
    reference: deltaReference,
    gradient: ({ inputs, dy, attrs }) => {
      const gradients = backward.run({ ...inputs, dOutput: dy[0], dFinal: dy[1] }, attrs);
      return Object.fromEntries(gradientNames(inputs).map((input, i) => [input, gradients[i]]));
    },
  });
}

/** The inputs a call has, in the order of their gradients. */
export function gradientNames(inputs: { readonly [name in DeltaInput]?: unknown }): DeltaInput[] {
  return INPUTS.filter((input) => inputs[input] !== undefined);
}
