import type { LinearKernels } from '../generated/linear';
import type { KernelCall, Shape } from '../op/define';
import { additiveBackwardReference, additiveReference } from './additive.reference';
import { defineLinearOp } from './family';
import { type RecurrentOptions, scaleOf, sequenceOffsets } from './recurrent';
import { shareHeads, takeTurns } from './turns';
import { heapOffsets } from './workspace';

/** What every op with an additive update takes. */
export interface AdditiveOptions extends RecurrentOptions {
  /** Whether every sequence runs from its last token to its first; default false. */
  reverse?: boolean;
}

/** What is written may be beta v in place of v. */
export type AdditiveInput = 'q' | 'k' | 'v' | 'g' | 'u' | 'beta' | 'initialState';
/** What the gradient has besides. */
type BackwardInput = 'dOutput' | 'dFinal' | 'checkpoints';

export interface AdditiveAttrs {
  scale: number;
  finalState: boolean;
  /** Bounds of the sequences in the flattened [B T] axis. */
  offsets: readonly number[];
  reverse: boolean;
  /** Log decays that never change, one per value head, where there is no g. */
  logDecay?: readonly number[];
}

type Shapes = { readonly [name in AdditiveInput]?: Shape };
const INPUTS: AdditiveInput[] = ['q', 'k', 'v', 'g', 'u', 'beta', 'initialState'];

/** Gates of the kernels: none, per token and head, per token and channel, per head. */
const [NO_GATE, TOKEN_GATE, CHANNEL_GATE, HEAD_GATE] = [0, 1, 2, 3];

const padded = (size: number) => Math.max(8, (size + 7) & ~7);

/** Query heads of each key head, which read the states of all its value heads. */
export function readersOf({ q, k }: Shapes): number {
  return k![2] === 0 ? 1 : q![2] / k![2];
}

function outputShapes({ q, k, v }: Shapes, { offsets, finalState }: AdditiveAttrs): Shape[] {
  const [B, T, HV, V] = v!;
  const output = [B, T, HV * readersOf({ q, k }), V];
  return finalState ? [output, [offsets.length - 1, HV, k![3], V]] : [output];
}

function sizesOf({ q, k, v, g }: Shapes, { offsets, scale, reverse, logDecay }: AdditiveAttrs) {
  const [, , H, K] = k!;
  const [, , HV, V] = v!;
  const readers = readersOf({ q, k });
  const gate = logDecay ? HEAD_GATE : g === undefined ? NO_GATE : g.length === 4 ? CHANNEL_GATE : TOKEN_GATE;
  return {
    H,
    HV,
    readers,
    K,
    V,
    sequences: offsets.length - 1,
    longest: offsets.reduce((most, end, n) => Math.max(most, n === 0 ? 0 : end - offsets[n - 1]), 0),
    args: [gate, H, HV, readers, K, V, scale, reverse ? 1 : 0] as const,
    Kp: padded(K),
    Vp: padded(V),
  };
}

/** g, or the decays of the heads on the heap. */
function gateOf({ scratch, buffer, attrs }: Pick<Call, 'scratch' | 'buffer' | 'attrs'>, g: number): number {
  if (attrs.logDecay === undefined) return g;
  const pointer = scratch(4 * attrs.logDecay.length);
  new Float32Array(buffer(), pointer, attrs.logDecay.length).set(attrs.logDecay);
  return pointer;
}

/** Workspace of a chunk in floats, as `layOutChunk` of the kernels carves it. */
function chunkFloats(Kp: number, Vp: number): number {
  return Kp * (4 * 16 + 4 + 2) + 2 * 16 * 16 + Vp * 2 * 16;
}

/** As `layOutGradients` does, and states of the heads that take turns. */
function gradientFloats(Kp: number, Vp: number, states: number): number {
  return Kp * 8 * 16 + Vp * 4 * 16 + 17 * 16 + states * Vp * (Kp + 8);
}

/**
 * For states of up to so many numbers, the tokens up to which the recurrent kernel is used instead of the chunked one, whose
 * time is that of a whole chunk of 16. Measured with each kind of gate for T of 1 to 32 and K = V of 8 to 256: the recurrence
 * takes 0.1 of a chunk's time at 1 token and as long as a chunk at 14 to 19 tokens where K = V is 8 to 32, at 11 to 13 where
 * it is 64, and at 8 to 11 above, where the state no longer stays in the nearest cache.
 */
const RECURRENT_UP_TO = [
  { state: 32 * 32, tokens: 14 },
  { state: 64 * 64, tokens: 11 },
  { state: Number.POSITIVE_INFINITY, tokens: 8 },
];

function isShort(shape: Shapes, attrs: AdditiveAttrs): boolean {
  const { longest, K, V } = sizesOf(shape, attrs);
  return longest <= RECURRENT_UP_TO.find(({ state }) => K * V <= state)!.tokens;
}

/** Bytes of states of heads that take turns at a chunk, so that memory is read in order. */
const STATES_TOGETHER = 2 ** 18;

/** Value heads of a key head that are one work item on the way back, at most, and bytes of their states. */
const HEADS_OF_ITEM = 4;
const STATES_OF_ITEM = 2 ** 24;

/** Bytes of the states of all heads that take turns on the way back. */
const STATES_TOGETHER_BACK = 2 ** 19;

/**
 * The states that the way back wants kept: those before every few chunks, twice as many numbers as v has. `places` are the
 * states of the sequences before each.
 */
function keptOf(shape: Shapes, attrs: AdditiveAttrs) {
  const { HV, Kp, Vp } = sizesOf(shape, attrs);
  const apart = Math.max(1, Math.round(Kp / 32));
  let states = 0;
  const places = attrs.offsets.slice(1).map((end, n) => {
    const before = states;
    states += Math.ceil((end - attrs.offsets[n]) / 16 / apart);
    return before;
  });
  const kept: Shape = [states, HV, Kp, Vp];
  return { apart, places, kept };
}

/** Of the states that the way forward keeps and the way back reads. */
export function checkpointsShape(shape: Shapes, attrs: AdditiveAttrs): Shape {
  return keptOf(shape, attrs).kept;
}

type ColumnInput = 'q' | 'k' | 's' | 'g';
type ColumnShapes = { readonly [name in ColumnInput]?: Shape };

/** Shapes of the recurrence that has keys s and values k, whose states are those of `launchColumns` turned over. */
export function turnedRoles({ q, k, s, g }: ColumnShapes): Shapes {
  return { q: [...q!.slice(0, 3), s![3]], k: s, v: k, g };
}

/** The options of a call, checked, as the kernels take them. */
export function additiveAttrs(
  op: string,
  options: AdditiveOptions,
  { B, T, K }: { B: number; T: number; K: number },
): AdditiveAttrs {
  return {
    scale: scaleOf(op, options.scale, K),
    finalState: options.outputFinalState === true,
    offsets: sequenceOffsets(op, options.cuSeqlens, B, T),
    reverse: options.reverse === true,
  };
}

type Call = Pick<
  KernelCall<string, AdditiveAttrs, LinearKernels>,
  'attrs' | 'scratch' | 'workspace' | 'buffer' | 'threads' | 'launch'
>;
type Pointers<N extends string> = { readonly [name in N]?: number };

/** Launches the forward kernels; an absent output is not computed, and no states are kept where there is no place for them. */
export function launchForward(
  call: Call,
  shape: Shapes,
  input: Pointers<AdditiveInput>,
  [output, finalState]: readonly (number | undefined)[],
  checkpoints = 0,
): void {
  const { attrs, workspace, launch } = call;
  const { HV, K, V, sequences, args, Kp, Vp } = sizesOf(shape, attrs);
  // biome-ignore format: one argument list per line of the entry point
  const tensors = [
    input.q!, input.k!, input.v!, gateOf(call, input.g ?? 0), input.u ?? 0, input.beta ?? 0, input.initialState ?? 0,
    output ?? 0, finalState ?? 0,
  ] as const;
  if (isShort(shape, attrs) && output !== undefined) {
    const work = workspace(4 * (((K + 3) & ~3) + (finalState === undefined ? K * V : 0)));
    launch('additiveStep', sequences * HV, ...tensors, heapOffsets(call, attrs.offsets), work, ...args);
  } else {
    const { apart, places } = keptOf(shape, attrs);
    const bytes = 4 * Kp * (Vp + 8);
    const turns = takeTurns(call, { offsets: attrs.offsets, heads: HV, bytes, most: STATES_TOGETHER });
    const work = workspace(256 + 4 * chunkFloats(Kp, Vp) + turns.together * bytes);
    const kept = [checkpoints, checkpoints === 0 ? 0 : heapOffsets(call, places), apart] as const;
    launch('additiveForward', turns.work, ...tensors, turns.pointer, work, ...args, ...kept);
  }
}

/**
 * Launches the kernel of o_t = scale S_t^T q_t with S_t = S_{t-1} diag(e^g_t) + k_t s_t^T, where columns of the state decay.
 * What it keeps is for the way back of the recurrence turned over, whose shapes `turnedRoles` gives.
 */
export function launchColumns(
  call: Call,
  shape: ColumnShapes,
  input: Pointers<ColumnInput | 'initialState'>,
  [output, finalState]: readonly (number | undefined)[],
  checkpoints = 0,
): void {
  const { attrs, workspace, launch } = call;
  const { H, readers, K, V, Kp, Vp } = sizesOf(turnedRoles(shape), attrs);
  const { apart, places } = keptOf(turnedRoles(shape), attrs);
  const bytes = 4 * Vp * (Kp + 8);
  const turns = takeTurns(call, { offsets: attrs.offsets, heads: H, bytes, most: STATES_TOGETHER });
  const work = workspace(512 + 4 * (chunkFloats(Kp, Vp) + gradientFloats(Kp, Vp, turns.together)));
  // biome-ignore format: one argument list per line of the entry point
  launch('additiveColumns', turns.work,
    input.q!, input.k!, input.s!, input.g!, input.initialState ?? 0, output!, finalState ?? 0,
    turns.pointer, work, H, readers, V, K, attrs.scale, attrs.reverse ? 1 : 0,
    checkpoints, checkpoints === 0 ? 0 : heapOffsets(call, places), apart);
}

/** Launches the backward kernels; an absent gradient but that of q is not computed. */
export function launchBackward(
  call: Call,
  shape: Shapes,
  input: Pointers<AdditiveInput | BackwardInput>,
  gradients: Pointers<AdditiveInput>,
): void {
  const { attrs, scratch, workspace, threads, launch } = call;
  const { H, HV, readers, K, sequences, args, Kp, Vp } = sizesOf(shape, attrs);
  const { apart, places, kept } = keptOf(shape, attrs);
  let checkpoints = input.checkpoints ?? 0;
  if (checkpoints === 0) {
    checkpoints = scratch(4 * kept.reduce((a, b) => a * b));
    launchForward(call, shape, input, [], checkpoints);
  }
  const states = 1 + apart;
  const bytes = 4 * states * Vp * (Kp + 8);
  const fitting = Math.max(1, Math.min(HEADS_OF_ITEM, Math.floor(STATES_OF_ITEM / bytes)));
  const parts = Math.ceil(HV / H / fitting);
  const together = Math.ceil(HV / H / parts);
  const across = Math.max(1, Math.min(H, Math.floor(STATES_TOGETHER_BACK / (bytes * together))));
  const size = attrs.offsets.at(-1)! * H * K;
  const partial = (gradient: number | undefined, numbers: number) =>
    parts === 1 || gradient === undefined ? (gradient ?? 0) : scratch(4 * parts * numbers);
  const [dq, dk] = [partial(gradients.q, size * readers), partial(gradients.k, size)];
  const bonuses = shape.u ? scratch(4 * sequences * parts * H * K) : 0;
  const work = workspace(
    512 + 4 * (chunkFloats(Kp, Vp) + gradientFloats(Kp, Vp, across * together * states)),
  );
  // biome-ignore format: one argument list per line of the entry point
  launch('additiveBackward', shareHeads(threads, sequences * parts, H, across),
    input.q!, input.k!, input.v!, gateOf(call, input.g ?? 0), input.u ?? 0, input.beta ?? 0,
    input.dOutput!, input.dFinal ?? 0,
    dq, dk, gradients.v ?? 0, gradients.g ?? 0, bonuses, gradients.beta ?? 0, gradients.initialState ?? 0,
    heapOffsets(call, attrs.offsets), work, ...args, checkpoints, heapOffsets(call, places), apart,
    together, across, size);
  const add = (from: number, to: number, rows: number, columns: number) =>
    launch('sumRows', Math.ceil(columns / 64), from, to, rows, columns);
  if (parts > 1) add(dq, gradients.q!, parts, size * readers);
  if (parts > 1 && dk) add(dk, gradients.k!, parts, size);
  if (bonuses) add(bonuses, gradients.u!, sequences * parts, H * K);
}

/** An additive recurrence under its own name: the chunked kernels, the float64 reference and the gradient. */
export function defineAdditive(name: string) {
  const backward = defineLinearOp<AdditiveInput | BackwardInput, AdditiveAttrs>({
    name: `${name}Backward`,
    outputs: (shapes) => gradientNames(shapes).map((input) => shapes[input]!),
    kernel: (call) => {
      const names = gradientNames(call.shape);
      const gradients = Object.fromEntries(names.map((input, i) => [input, call.output[i]]));
      launchBackward(call, call.shape, call.input, gradients);
    },
    reference: additiveBackwardReference,
  });

  const op = defineLinearOp<AdditiveInput, AdditiveAttrs>({
    name,
    outputs: outputShapes,
    kernel: (call) => launchForward(call, call.shape, call.input, call.output, call.kept[0]),
    reference: additiveReference,
    kept: (shape, attrs) => (isShort(shape, attrs) ? [] : [keptOf(shape, attrs).kept]),
    gradient: ({ inputs, kept: [checkpoints], dy, attrs }) => {
      const gradients = backward.run({ ...inputs, dOutput: dy[0], dFinal: dy[1], checkpoints }, attrs);
      return Object.fromEntries(gradientNames(inputs).map((input, i) => [input, gradients[i]]));
    },
  });
  return { op, backward };
}

/** The inputs a call has, in the order of their gradients. */
export function gradientNames(inputs: { readonly [name in AdditiveInput]?: unknown }): AdditiveInput[] {
  return INPUTS.filter((input) => inputs[input] !== undefined);
}
