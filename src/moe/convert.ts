import { type Tensor, tensor } from '@tensorflow/tfjs-core';
import { normal, uniform } from '../random';
import { balancedAssignment } from './balancedAssignment';

/** Weights by checkpoint name. */
export type NamedTensors = Record<string, Tensor>;

export interface ConvertOptions {
  numExperts: number;
  /** Names of feed-forward networks without their ending: `layers.0.mlp.`; default every one that is complete. */
  prefixes?: readonly string[];
  /** Of what is drawn; the same seed gives the same weights. Default 0. */
  seed?: number;
}

const GATE = 'gate_proj.weight';
const UP = 'up_proj.weight';
const DOWN = 'down_proj.weight';
const EXPERTS_GATE_UP = 'experts.gate_up_proj';
const EXPERTS_DOWN = 'experts.down_proj';
const ROUTER = 'gate.weight';

/** One feed-forward network: gate and up `[F, D]`, down `[M, F]`. */
interface FeedForward {
  D: number;
  F: number;
  M: number;
  gate: Float32Array;
  up: Float32Array;
  down: Float32Array;
}

function prefixesOf(
  op: string,
  weights: NamedTensors,
  asked: readonly string[] | undefined,
): readonly string[] {
  const complete = Object.keys(weights)
    .filter((name) => name.endsWith(GATE))
    .map((name) => name.slice(0, -GATE.length))
    .filter((prefix) => prefix + UP in weights && prefix + DOWN in weights);
  for (const prefix of asked ?? []) {
    if (!complete.includes(prefix)) {
      throw new RangeError(`${op}: '${prefix}' has no ${GATE}, ${UP} and ${DOWN} among the weights`);
    }
  }
  if (complete.length === 0) {
    throw new RangeError(
      `${op}: no feed-forward network among the weights; expected names ending in ${GATE}`,
    );
  }
  return asked ?? complete;
}

function feedForward(weights: NamedTensors, prefix: string): FeedForward {
  const [gate, up, down] = [GATE, UP, DOWN].map((name) => weights[prefix + name]);
  const [F, D] = gate.shape;
  const data = [gate, up, down].map((t) => t.dataSync() as Float32Array);
  return { D, F, M: down.shape[0], gate: data[0], up: data[1], down: data[2] };
}

/** Standard deviation of a router that has learnt nothing. */
const ROUTER_SCALE = 0.02;

function drawnRouter(E: number, D: number, draw: () => number): Tensor {
  return tensor(
    Float32Array.from({ length: E * D }, () => ROUTER_SCALE * draw()),
    [E, D],
  );
}

/** Weights of experts whose neurons are rows of some networks. */
function stacked(experts: readonly { from: FeedForward; neurons: readonly number[] }[]) {
  const { D, M } = experts[0].from;
  const E = experts.length;
  const F = experts[0].neurons.length;
  const gateUp = new Float32Array(E * 2 * F * D);
  const down = new Float32Array(E * M * F);
  experts.forEach(({ from, neurons }, e) => {
    neurons.forEach((neuron, f) => {
      gateUp.set(from.gate.subarray(neuron * D, (neuron + 1) * D), (e * 2 * F + f) * D);
      gateUp.set(from.up.subarray(neuron * D, (neuron + 1) * D), (e * 2 * F + F + f) * D);
      for (let m = 0; m < M; m++) down[(e * M + m) * F + f] = from.down[m * from.F + neuron];
    });
  });
  return { gateUp, down, shapes: { gateUp: [E, 2 * F, D], down: [E, M, F] } };
}

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

function checkExperts(op: string, numExperts: number): void {
  if (!(Number.isInteger(numExperts) && numExperts >= 1)) {
    throw new RangeError(`${op}: numExperts is ${numExperts}; expected 1 or more`);
  }
}

/** The given weights with each feed-forward network replaced by a router and experts. */
function converted(
  weights: NamedTensors,
  prefixes: readonly string[],
  replace: (prefix: string) => { router: Tensor; gateUp: Tensor; down: Tensor },
): NamedTensors {
  const result = { ...weights };
  for (const prefix of prefixes) {
    for (const name of [GATE, UP, DOWN]) delete result[prefix + name];
    const { router, gateUp, down } = replace(prefix);
    result[prefix + ROUTER] = router;
    result[prefix + EXPERTS_GATE_UP] = gateUp;
    result[prefix + EXPERTS_DOWN] = down;
  }
  return result;
}

export interface MoefyOptions extends ConvertOptions {
  /**
   * How neurons are split: `'cluster'` puts those with similar gate rows together (MoEfication), `'random'` draws and
   * `'contiguous'` takes them in order (LLaMA-MoE). Default `'cluster'`.
   */
  split?: 'cluster' | 'random' | 'contiguous';
  /** Rounds of clustering; default 10. */
  rounds?: number;
}

/**
 * Splits the neurons of dense feed-forward networks into experts of equal size: `gate_proj`, `up_proj` and `down_proj` become
 * `experts.gate_up_proj [E, 2F/E, D]`, `experts.down_proj [E, M, F/E]` and the router `gate.weight [E, D]`, whose rows are
 * the means of each expert's gate rows. All experts with weight 1 compute what the dense network did. Other weights are
 * passed on as they are; tensors of the result that are new are the caller's to dispose.
 *
 * @throws RangeError for a network that is not there, or a width that numExperts does not divide
 * @see Zhang et al., "MoEfication: Transformer Feed-forward Layers are Mixtures of Experts"; Zhu et al., "LLaMA-MoE"
 */
export function moefy(weights: NamedTensors, options: MoefyOptions): NamedTensors {
  const { numExperts: E, split = 'cluster', rounds = 10, seed = 0 } = options;
  checkExperts('moefy', E);
  return converted(weights, prefixesOf('moefy', weights, options.prefixes), (prefix) => {
    const dense = feedForward(weights, prefix);
    if (dense.F % E !== 0) {
      throw new RangeError(
        `moefy: ${prefix}${GATE} has ${dense.F} neurons; expected a multiple of ${E} (numExperts)`,
      );
    }
    const groups = splitNeurons(dense, E, split, rounds, seed);
    const { gateUp, down, shapes } = stacked(groups.map((neurons) => ({ from: dense, neurons })));
    return {
      router: tensor(Float32Array.from(groups.flatMap((neurons) => meanRow(dense, neurons))), [E, dense.D]),
      gateUp: tensor(gateUp, shapes.gateUp),
      down: tensor(down, shapes.down),
    };
  });
}

function meanRow({ gate, D }: FeedForward, neurons: readonly number[]): number[] {
  return range(D).map((d) => neurons.reduce((sum, n) => sum + gate[n * D + d], 0) / neurons.length);
}

function splitNeurons(
  dense: FeedForward,
  E: number,
  split: NonNullable<MoefyOptions['split']>,
  rounds: number,
  seed: number,
): number[][] {
  const size = dense.F / E;
  const order = range(dense.F);
  if (split !== 'contiguous') {
    const random = uniform(seed);
    for (let i = dense.F - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
  }
  let groups = range(E).map((e) => order.slice(e * size, (e + 1) * size));
  if (split !== 'cluster') return groups.map((group) => group.sort((a, b) => a - b));
  for (let round = 0; round < rounds; round++) {
    const centres = groups.map((group) => meanRow(dense, group));
    const closeness = range(dense.F).flatMap((n) =>
      centres.map((centre) => -centre.reduce((sum, c, d) => sum + (dense.gate[n * dense.D + d] - c) ** 2, 0)),
    );
    const chosen = balancedAssignment(closeness, E);
    const next = range(E).map((e) => range(dense.F).filter((n) => chosen[n] === e));
    const settled = next.every((group, e) => group.join() === [...groups[e]].sort((a, b) => a - b).join());
    groups = next;
    if (settled) break;
  }
  return groups;
}

export interface SparseUpcycleOptions extends ConvertOptions {
  /** Standard deviation of the noise on each copy, in parts of that of the weights; default 0. */
  noise?: number;
}

/**
 * Makes every expert a copy of the dense feed-forward network, with noise if asked for, and draws a router. As long as routing
 * weights sum to 1 the layer computes what the dense one did; training lets the copies drift apart. Names and shapes as
 * for `moefy`, with F neurons per expert.
 *
 * @throws RangeError for a network that is not there, or numExperts below 1
 * @see Komatsuzaki et al., "Sparse Upcycling: Training Mixture-of-Experts from Dense Checkpoints"
 */
export function sparseUpcycle(weights: NamedTensors, options: SparseUpcycleOptions): NamedTensors {
  const { numExperts: E, noise = 0, seed = 0 } = options;
  checkExperts('sparseUpcycle', E);
  const draw = normal(uniform(seed));
  const disturb = (values: Float32Array) => {
    if (noise === 0) return values;
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    const deviation = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length);
    return values.map((x) => x + noise * deviation * draw());
  };
  return converted(weights, prefixesOf('sparseUpcycle', weights, options.prefixes), (prefix) => {
    const dense = feedForward(weights, prefix);
    const { gateUp, down, shapes } = stacked(range(E).map(() => ({ from: dense, neurons: range(dense.F) })));
    return {
      router: drawnRouter(E, dense.D, draw),
      gateUp: tensor(disturb(gateUp), shapes.gateUp),
      down: tensor(disturb(down), shapes.down),
    };
  });
}

/**
 * Joins several checkpoints of one architecture, trained apart from a common start: their feed-forward networks become experts
 * side by side behind a drawn router, everything else is averaged. Names and shapes as for `sparseUpcycle`.
 *
 * @throws RangeError when there is no checkpoint, or when names or shapes differ
 * @see Sukhbaatar et al., "Branch-Train-MiX: Mixing Expert LLMs into a Mixture-of-Experts LLM"
 */
export function branchTrainMix(
  checkpoints: readonly NamedTensors[],
  options: Omit<ConvertOptions, 'numExperts'> = {},
): NamedTensors {
  if (checkpoints.length === 0) throw new RangeError('branchTrainMix: there is no checkpoint to mix');
  const [first] = checkpoints;
  checkpoints.forEach((checkpoint, i) => {
    for (const name of new Set([...Object.keys(first), ...Object.keys(checkpoint)])) {
      const [a, b] = [first[name], checkpoint[name]].map((t) => (t ? `[${t.shape}]` : 'nothing'));
      if (a !== b) {
        throw new RangeError(
          `branchTrainMix: checkpoint ${i} has ${b} for ${name}; expected ${a}, as checkpoint 0`,
        );
      }
    }
  });
  const prefixes = prefixesOf('branchTrainMix', first, options.prefixes);
  const draw = normal(uniform(options.seed ?? 0));
  const expertNames = new Set(prefixes.flatMap((prefix) => [GATE, UP, DOWN].map((name) => prefix + name)));
  const averaged = Object.fromEntries(
    Object.entries(first).map(([name, value]) => [
      name,
      expertNames.has(name) ? value : average(checkpoints.map((checkpoint) => checkpoint[name])),
    ]),
  );
  return converted(averaged, prefixes, (prefix) => {
    const networks = checkpoints.map((checkpoint) => feedForward(checkpoint, prefix));
    const { gateUp, down, shapes } = stacked(networks.map((from) => ({ from, neurons: range(from.F) })));
    return {
      router: drawnRouter(networks.length, networks[0].D, draw),
      gateUp: tensor(gateUp, shapes.gateUp),
      down: tensor(down, shapes.down),
    };
  });
}

function average(tensors: readonly Tensor[]): Tensor {
  const data = tensors.map((t) => t.dataSync());
  const values = Float32Array.from(data[0], (_, i) => data.reduce((sum, d) => sum + d[i], 0) / data.length);
  return tensor(values, tensors[0].shape);
}
