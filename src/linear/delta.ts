import type { LinearKernels } from '../generated/linear';
import type { KernelCall, Shape } from '../op/define';
import { deltaBackwardReference, deltaReference } from './delta.reference';
import { defineLinearOp } from './family';
import { type RecurrentOptions, scaleOf, sequenceOffsets } from './recurrent';
import { shareHeads, takeTurns } from './turns';
import { heapOffsets } from './workspace';

export interface DeltaRuleOptions extends RecurrentOptions {
  /** Divides q and k by their norms, `x / sqrt(x.x + 1e-6)`; default false. */
  useQkL2norm?: boolean;
  /** Takes beta before its sigmoid; default false. */
  betaSigmoid?: boolean;
}

/** The inputs of the delta rules by role: `a` is Comba's second key too. */
export type DeltaInput = 'q' | 'k' | 'v' | 'g' | 'beta' | 'a' | 'b' | 'initialState';
/** What the gradient has besides. */
type BackwardInput = 'dOutput' | 'dFinal' | 'corrections' | 'checkpoints';

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

/** The same on the way back, where a head has several states: measured 2% faster than half or a quarter of it. */
const STATES_TOGETHER_BACK = 2 ** 19;

/** Delta steps of each sequence. */
function lengthsOf({ offsets, steps }: DeltaAttrs): number[] {
  return offsets.slice(1).map((end, n) => (end - offsets[n]) * steps);
}

export const isShort = (attrs: DeltaAttrs) => lengthsOf(attrs).every((length) => length <= RECURRENT_UP_TO);

/**
 * What the way back wants kept: the corrections E of every chunk, as large as v, and the state before every few chunks, which
 * is as large again. `places` are the chunks and the states of the sequences before each.
 */
function keptOf(shapes: Shapes, attrs: DeltaAttrs) {
  const { HV, Kp, Vp } = sizesOf(shapes, attrs);
  const apart = Math.max(1, Math.round(Kp / 16));
  let [chunks, states] = [0, 0];
  const places = lengthsOf(attrs).flatMap((length) => {
    const before = [chunks, states];
    chunks += Math.ceil(length / 16);
    states += Math.ceil(length / 16 / apart);
    return before;
  });
  const kept: Shape[] = [
    [chunks, HV, 16, Vp],
    [states, HV, Kp, Vp],
  ];
  return { apart, places, kept };
}

/** Of what the way forward keeps for the way back. */
export function keptShapes(shapes: Shapes, attrs: DeltaAttrs): Shape[] {
  return keptOf(shapes, attrs).kept;
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

type Call = Omit<KernelCall<DeltaInput, DeltaAttrs, LinearKernels>, 'output' | 'kept'>;

/**
 * Launches the chunked kernel; an absent output is not computed, and nothing kept where there is no place for it. Without q
 * the output is what tokens write instead, beta e.
 */
export function launchForward(
  call: Call,
  [output, finalState]: readonly (number | undefined)[],
  [corrections, checkpoints]: readonly number[],
): void {
  const { input, shape, attrs, workspace, launch } = call;
  const { HV, modes, sizes, Kp, Vp } = sizesOf(shape, attrs);
  const { offsets, steps } = attrs;
  const turns = takeTurns(call, { offsets, steps, heads: HV, bytes: 4 * Kp * Vp, most: STATES_TOGETHER });
  const { apart, places } = keptOf(shape, attrs);
  // biome-ignore format: one argument list per line of the entry point
  launch('deltaForward', turns.work,
    input.q, input.k, input.v, input.g, input.beta, input.a, input.b, input.initialState, output ?? 0, finalState ?? 0,
    turns.pointer, workspace(512 + 4 * (chunkFloats(Kp, Vp, 1) + turns.together * Kp * Vp)),
    ...modes, ...sizes,
    corrections ?? 0, checkpoints ?? 0, corrections === undefined ? 0 : heapOffsets(call, places), apart);
}

/** A delta rule under its own name: the chunked kernels, the float64 reference and the gradient. */
export function defineDelta(name: string) {
  const backward = defineLinearOp<DeltaInput | BackwardInput, DeltaAttrs>({
    name: `${name}Backward`,
    outputs: (shapes) => gradientNames(shapes).map((input) => shapes[input]!),
    kernel: (call) => {
      const { input, shape, output, attrs, scratch, workspace, threads, launch } = call;
      const { H, HV, sequences, modes, sizes, Kp, Vp } = sizesOf(shape, attrs);
      const { apart, places, kept } = keptOf(shape, attrs);
      let [corrections, checkpoints] = [input.corrections, input.checkpoints];
      if (shape.corrections === undefined) {
        [corrections, checkpoints] = kept.map((given) => scratch(4 * given.reduce((a, b) => a * b)));
        launchForward(call, [], [corrections, checkpoints]);
      }
      const together = Math.max(1, Math.min(HV, Math.floor(STATES_TOGETHER_BACK / (4 * apart * Kp * Vp))));
      const names = gradientNames(shape);
      const gradient = (wanted: DeltaInput) => output[names.indexOf(wanted)] ?? 0;
      const floats = chunkFloats(Kp, Vp, 4) + gradientFloats(Kp, Vp) + together * apart * Kp * Vp;
      // biome-ignore format: one argument list per line of the entry point
      launch('deltaBackward', shareHeads(threads, sequences, H, Math.ceil((together * H) / HV)),
        input.q, input.k, input.v, input.g, input.beta, input.a, input.b, input.dOutput, input.dFinal,
        gradient('q'), gradient('k'), gradient('v'), gradient('g'), gradient('beta'), gradient('a'), gradient('b'),
        gradient('initialState'),
        heapOffsets(call, attrs.offsets), workspace(768 + 4 * floats), ...modes, ...sizes, together,
        corrections, checkpoints, heapOffsets(call, places), apart);
    },
    reference: deltaBackwardReference,
  });

  const op = defineLinearOp<DeltaInput, DeltaAttrs>({
    name,
    outputs: outputShapes,
    kernel: (call) => {
      const { input, shape, output, kept, attrs, workspace, launch } = call;
      if (!isShort(attrs)) {
        launchForward(call, output, kept);
        return;
      }
      const { HV, K, V, sequences, modes, sizes } = sizesOf(shape, attrs);
      // biome-ignore format: one argument list per line of the entry point
      launch('deltaStep', sequences * HV,
        input.q, input.k, input.v, input.g, input.beta, input.a, input.b, input.initialState, output[0], output[1],
        heapOffsets(call, attrs.offsets), workspace(4 * stepFloats(K, V, attrs.finalState)), ...modes, ...sizes);
    },
    reference: deltaReference,
    kept: (shapes, attrs) => (isShort(attrs) ? [] : keptOf(shapes, attrs).kept),
    gradient: ({ inputs, kept: [corrections, checkpoints], dy, attrs }) => {
      const gradients = backward.run(
        { ...inputs, dOutput: dy[0], dFinal: dy[1], corrections, checkpoints },
        attrs,
      );
      return Object.fromEntries(gradientNames(inputs).map((input, i) => [input, gradients[i]]));
    },
  });
  return { op, backward };
}

/** The inputs a call has, in the order of their gradients. */
export function gradientNames(inputs: { readonly [name in DeltaInput]?: unknown }): DeltaInput[] {
  return INPUTS.filter((input) => inputs[input] !== undefined);
}
