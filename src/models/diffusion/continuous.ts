import { type Tensor, tensor, tidy } from '@tensorflow/tfjs-core';
import { normal, uniform } from '../../random';
import type { Integers } from '../../tensor/integers';
import { checkShapes } from '../../tensor/shape';
import { valuesOf } from '../values';
import { checkCount, perSequence, type Rows, rowsOf } from './checks';
import { weightedCrossEntropy } from './crossEntropy';
import { type SamplerOptions, turns } from './denoiser';
import { affine, lookup, project, reshaped, softmaxed, sum, weightedSquares } from './differentiable';
import { drawTimes, type TimeOptions } from './maskedLoss';

/**
 * A model of continuous diffusion: what it takes noised embeddings `[B, T, C]` for, `[B, T, C]`. `time` `[B]` is the index of
 * the step, from 0, the least noise.
 */
export type EmbeddingDenoiser = (x: Tensor, time: Tensor) => Tensor;

function fromAlphaBar(steps: number, alphaBar: (t: number) => number): Float64Array {
  checkCount('gaussianSchedules', 'steps', steps);
  let product = 1;
  return Float64Array.from({ length: steps }, (_, i) => {
    product *= 1 - Math.min(1 - alphaBar((i + 1) / steps) / alphaBar(i / steps), 0.999);
    return product;
  });
}

/**
 * Schedules of Gaussian noise by steps: `alphaBar_t`, the share of the signal's variance that is left after step t.
 *
 * - `sqrt(steps)`: `1 - sqrt(t / T + 1e-4)` (Diffusion-LM, DiffuSeq)
 * - `cosine(steps)`: `cos^2(pi / 2 (t / T + 0.008) / 1.008)`
 * - `linear(steps)`: betas from 1e-4 to 0.02, for 1000 steps
 *
 * @see Li et al., "Diffusion-LM Improves Controllable Text Generation", appendix A
 */
export const gaussianSchedules = {
  sqrt: (steps: number): Float64Array => fromAlphaBar(steps, (t) => 1 - Math.sqrt(t + 1e-4)),
  cosine: (steps: number): Float64Array =>
    fromAlphaBar(steps, (t) => Math.cos(((t + 0.008) / 1.008) * (Math.PI / 2)) ** 2),
  linear: (steps: number): Float64Array => {
    let product = 1;
    return Float64Array.from({ length: steps }, (_, i) => {
      const share = steps === 1 ? 0 : i / (steps - 1);
      product *= 1 - Math.min((1000 / steps) * (1e-4 + share * (0.02 - 1e-4)), 0.999);
      return product;
    });
  },
};

export function normals(n: number, random: () => number): Float32Array {
  return Float32Array.from({ length: n }, normal(random));
}

function checkTokens(op: string, rows: readonly Int32Array[], V: number): void {
  const stray = rows.map((row) => row.find((id) => id >= V)).find((id) => id !== undefined);
  if (stray !== undefined) throw new RangeError(`${op}: ids hold ${stray}; expected tokens below V = ${V}`);
}

export interface DiffusionLmLossOptions {
  /** `alphaBar` of each step, as of `gaussianSchedules`; default that of `sqrt(2000)`. */
  schedule?: Float64Array;
  /** Of times and noise; give another one at each training step. Default 0. */
  seed?: number;
  /** Steps of the sequences, `[B]`, instead of drawn ones. */
  times?: ArrayLike<number>;
  /** Tokens in front that are given and get no noise, per sequence: the source of DiffuSeq. Default 0. */
  sourceLengths?: Integers;
}

/**
 * Loss of diffusion over word embeddings, end to end with them:
 *
 * `mean over b of |x_0 - f(x_t, t)|^2 / (L C) + |sqrt(alphaBar_T) x_0|^2 / (T C) - mean over i of log softmax(x_0,i E^T)[w_i]`
 *
 * with `x_0 = E[w] + sqrt(1 - alphaBar_0) e`, `x_t = sqrt(alphaBar_t) x_0 + sqrt(1 - alphaBar_t) e'`, and `E[w]` in place of
 * x_0 in the first term at step 0. With `sourceLengths` (DiffuSeq, partial noising) source tokens stay what they are in x_t,
 * and the first term is over the L other tokens.
 *
 * @param denoiser differentiable; predicts x_0
 * @param ids int32 `[B, T]`
 * @param embeddings `[V, C]`, E, differentiable
 * @returns a scalar
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see Li et al., "Diffusion-LM Improves Controllable Text Generation", equation 2 and section 4.2
 * @see Gong et al., "DiffuSeq: Sequence to Sequence Text Generation with Diffusion Models", equation 5
 */
export function diffusionLmLoss(
  denoiser: EmbeddingDenoiser,
  ids: Rows,
  embeddings: Tensor,
  options: DiffusionLmLossOptions = {},
): Tensor {
  const op = 'diffusionLmLoss';
  const { schedule = gaussianSchedules.sqrt(2000), seed = 0 } = options;
  const { V, C } = checkShapes(op, [['embeddings', embeddings, 'V C']]);
  const rows = rowsOf(op, 'ids', ids);
  checkTokens(op, rows, V);
  const [B, T] = [rows.length, rows[0]?.length ?? 0];
  const sources = perSequence(op, 'sourceLengths', options.sourceLengths, B, T);
  const random = uniform(seed);
  const times = stepsOf(op, options.times, B, schedule.length, random);
  const [first, last] = [schedule[0], schedule[schedule.length - 1]];
  const startNoise = normals(B * T * C, random).map((e) => Math.sqrt(1 - first) * e);
  const isTarget = (row: number) => row % T >= sources[Math.floor(row / T)];
  const alphaOf = (row: number) => schedule[times[Math.floor(row / T)]];
  const stepNoise = normals(B * T * C, random).map((e, i) => {
    const row = Math.floor(i / C);
    return isTarget(row) ? Math.sqrt(1 - alphaOf(row)) * e : 0;
  });
  const perRow = (value: (row: number) => number) =>
    Float64Array.from({ length: B * T }, (_, row) => value(row));
  const share = (row: number) => 1 / (Math.max(T - sources[Math.floor(row / T)], 1) * C * B);
  return tidy(() => {
    const clean = lookup(rows, embeddings);
    const start = affine(
      clean,
      perRow(() => 1),
      startNoise,
    );
    const noised = affine(
      start,
      perRow((row) => (isTarget(row) ? Math.sqrt(alphaOf(row)) : 1)),
      stepNoise,
    );
    const predicted = denoiser(noised, tensor(times, [B], 'float32'));
    checkShapes(op, [['predicted', predicted, `${B} ${T} ${C}`]]);
    const isFirst = (row: number) => times[Math.floor(row / T)] === 0;
    const distance = (target: Tensor, counts: (row: number) => boolean) =>
      weightedSquares(
        predicted,
        target,
        perRow((row) => (isTarget(row) && counts(row) ? share(row) : 0)),
      );
    const denoising = sum(
      distance(start, (row) => !isFirst(row)),
      distance(clean, isFirst),
    );
    const prior = weightedSquares(
      start,
      undefined,
      perRow(() => last / (T * C * B)),
    );
    const logits = project(start, reshaped(embeddings, [1, V, C]), true);
    const targets = rows.flatMap((row) => Array.from(row));
    const rounding = weightedCrossEntropy(
      logits,
      targets.map((target, row) => ({ row, target, weight: 1 / (T * B) })),
    );
    return sum(sum(denoising, prior), rounding);
  });
}

function stepsOf(
  op: string,
  given: ArrayLike<number> | undefined,
  B: number,
  steps: number,
  random: () => number,
): number[] {
  if (given === undefined) return Array.from({ length: B }, () => Math.floor(random() * steps));
  const times = Array.from(given);
  if (times.length !== B || times.some((t) => !(Number.isInteger(t) && t >= 0 && t < steps)))
    throw new RangeError(`${op}: times is [${times}]; expected B = ${B} steps from 0 to ${steps - 1}`);
  return times;
}

/**
 * The tokens whose embeddings are nearest; ties go to the lower index.
 *
 * @param x `[B, T, C]`
 * @param embeddings `[V, C]`
 * @returns B rows of T tokens
 * @see Li et al., "Diffusion-LM Improves Controllable Text Generation", section 4.2
 */
export function roundToEmbeddings(x: Tensor, embeddings: Tensor): Int32Array[] {
  const { B, T, V, C } = checkShapes('roundToEmbeddings', [
    ['x', x, 'B T C'],
    ['embeddings', embeddings, 'V C'],
  ]);
  return nearest(x.dataSync(), embeddings.dataSync(), { B, T, V, C });
}

function nearest(
  x: ArrayLike<number>,
  table: ArrayLike<number>,
  { B, T, V, C }: Record<'B' | 'T' | 'V' | 'C', number>,
): Int32Array[] {
  return Array.from({ length: B }, (_, b) =>
    Int32Array.from({ length: T }, (_, t) => {
      let [best, least] = [0, Number.POSITIVE_INFINITY];
      for (let v = 0; v < V; v++) {
        let distance = 0;
        for (let c = 0; c < C; c++) distance += (x[(b * T + t) * C + c] - table[v * C + c]) ** 2;
        if (distance < least) [best, least] = [v, distance];
      }
      return best;
    }),
  );
}

export interface DiffusionLmSampleOptions extends SamplerOptions {
  /** Tokens to write behind the source. */
  length: number;
  /** `alphaBar` of each step of training; default that of `gaussianSchedules.sqrt(2000)`. */
  schedule?: Float64Array;
  /** How many of the steps to take, evenly spaced; default all. */
  steps?: number;
  /** Replaces what the model predicts at each step by the nearest embeddings (the clamping trick); default false. */
  clamp?: boolean;
}

/**
 * Writes `length` tokens behind a source by diffusion over embeddings: from Gaussian noise, at each step
 *
 * `x_(t - 1) = (sqrt(alphaBar_(t - 1)) beta_t x^_0 + sqrt(1 - beta_t) (1 - alphaBar_(t - 1)) x_t) / (1 - alphaBar_t) + noise`
 *
 * with `x^_0 = f(x_t, t)` and noise of variance `beta_t (1 - alphaBar_(t - 1)) / (1 - alphaBar_t)`, at the end rounded to the
 * nearest embeddings. Source tokens are their embeddings at all steps (DiffuSeq).
 *
 * @param denoiser predicts x_0
 * @param source `[B, S]`, int32 or rows of one length, S may be 0
 * @param embeddings `[V, C]`
 * @returns B rows of S + length tokens
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see Li et al., "Diffusion-LM Improves Controllable Text Generation", section 4.2 and appendix C
 * @see Gong et al., "DiffuSeq: Sequence to Sequence Text Generation with Diffusion Models", section 3.2
 */
export async function diffusionLmSample(
  denoiser: EmbeddingDenoiser,
  source: Rows,
  embeddings: Tensor,
  options: DiffusionLmSampleOptions,
): Promise<Int32Array[]> {
  const op = 'diffusionLmSample';
  const {
    length,
    schedule = gaussianSchedules.sqrt(2000),
    clamp = false,
    seed = 0,
    onStep,
    signal,
  } = options;
  const { steps = schedule.length } = options;
  checkCount(op, 'length', length, 0);
  checkCount(op, 'steps', steps);
  if (steps > schedule.length)
    throw new RangeError(`${op}: steps is ${steps}; expected at most ${schedule.length} as of the schedule`);
  const { V, C } = checkShapes(op, [['embeddings', embeddings, 'V C']]);
  const given = rowsOf(op, 'source', source);
  checkTokens(op, given, V);
  const [B, S] = [given.length, given[0]?.length ?? 0];
  const T = S + length;
  const sizes = { B, T, V, C };
  const random = uniform(seed);
  const others = turns(signal);
  const table = embeddings.dataSync();
  const x = normals(B * T * C, random);
  const anchor = () =>
    given.forEach((row, b) => {
      row.forEach((id, t) => {
        x.set(table.subarray(id * C, (id + 1) * C), (b * T + t) * C);
      });
    });
  anchor();
  if (T === 0) return given;
  const chosen = Array.from({ length: steps }, (_, i) => Math.ceil(((i + 1) * schedule.length) / steps) - 1);
  for (let i = steps - 1; i >= 0; i--) {
    await others();
    const [now, before] = [schedule[chosen[i]], i === 0 ? 1 : schedule[chosen[i - 1]]];
    const beta = 1 - now / before;
    const predicted = valuesOf(() => {
      const output = denoiser(tensor(x, [B, T, C]), tensor(new Array(B).fill(chosen[i]), [B], 'float32'));
      checkShapes(op, [['predicted', output, `${B} ${T} ${C}`]]);
      return output;
    });
    const start = clamp ? embedded(nearest(predicted, table, sizes), table, sizes) : predicted;
    const [ofStart, ofNow] = [
      (Math.sqrt(before) * beta) / (1 - now),
      (Math.sqrt(1 - beta) * (1 - before)) / (1 - now),
    ];
    const deviation = Math.sqrt((beta * (1 - before)) / (1 - now));
    const noise = i === 0 ? undefined : normals(x.length, random);
    for (let at = 0; at < x.length; at++) {
      x[at] = ofStart * start[at] + ofNow * x[at] + deviation * (noise?.[at] ?? 0);
    }
    anchor();
    if (onStep !== undefined) onStep(nearest(x, table, sizes), steps - 1 - i);
  }
  const written = nearest(x, table, sizes);
  given.forEach((row, b) => {
    written[b].set(row);
  });
  return written;
}

function embedded(
  rows: readonly Int32Array[],
  table: ArrayLike<number>,
  { B, T, C }: Record<'B' | 'T' | 'C', number>,
): Float32Array {
  return Float32Array.from({ length: B * T * C }, (_, i) => {
    const row = Math.floor(i / C);
    return table[rows[Math.floor(row / T)][row % T] * C + (i % C)];
  });
}

export interface PlaidLossOptions extends TimeOptions {
  /** `gamma(0)` and `gamma(1)`, minus the log of signal over noise at both ends; default `[-3, 6]`. */
  gamma?: readonly [least: number, most: number];
}

/**
 * Variational bound of the negative log likelihood of diffusion over embeddings, per token in nats:
 *
 * `-log p(w | z_0) + KL(q(z_1) || N(0, 1)) + gamma'(t) / 2 exp(-gamma(t)) |x - x^(z_t, t)|^2`
 *
 * with `x = E[w]`, `z_t = sqrt(sigmoid(-gamma)) x + sqrt(sigmoid(gamma)) e`, gamma linear in t. The model gives logits, from
 * which `x^ = softmax(logits) E` (categorical reparameterization) and the first term follow.
 *
 * @param denoiser differentiable: logits `[B, T, V]` from noised embeddings `[B, T, C]` and gamma `[B]`; called twice
 * @param ids int32 `[B, T]`
 * @param embeddings `[V, C]`, E, differentiable
 * @returns a scalar
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see Gulrajani and Hashimoto, "Likelihood-Based Diffusion Language Models", sections 2 and 3
 * @see Kingma et al., "Variational Diffusion Models", equations 11 and 18
 */
export function plaidLoss(
  denoiser: EmbeddingDenoiser,
  ids: Rows,
  embeddings: Tensor,
  options: PlaidLossOptions = {},
): Tensor {
  const op = 'plaidLoss';
  const { seed = 0, minTime = 0 } = options;
  const [least, most] = options.gamma ?? [-3, 6];
  if (!(least < most)) throw new RangeError(`${op}: gamma is [${least},${most}]; expected ascending numbers`);
  const { V, C } = checkShapes(op, [['embeddings', embeddings, 'V C']]);
  const rows = rowsOf(op, 'ids', ids);
  checkTokens(op, rows, V);
  const [B, T] = [rows.length, rows[0]?.length ?? 0];
  const random = uniform(seed);
  const gammas = drawTimes(op, B, random, { ...options, minTime }).map((t) => least + (most - least) * t);
  const sigmoid = (g: number) => 1 / (1 + Math.exp(-g));
  const perRow = (value: (b: number) => number) =>
    Float64Array.from({ length: B * T }, (_, row) => value(Math.floor(row / T)));
  const weight = 1 / (T * B);
  const noises = [normals(B * T * C, random), normals(B * T * C, random)];
  return tidy(() => {
    const x = lookup(rows, embeddings);
    const logitsAt = (gamma: readonly number[], noise: Float32Array) => {
      const z = affine(
        x,
        perRow((b) => Math.sqrt(sigmoid(-gamma[b]))),
        noise.map((e, i) => Math.sqrt(sigmoid(gamma[Math.floor(i / (T * C))])) * e),
      );
      const logits = denoiser(z, tensor([...gamma], [B], 'float32'));
      checkShapes(op, [['logits', logits, `${B} ${T} ${V}`]]);
      return logits;
    };
    const targets = rows.flatMap((row) => Array.from(row));
    const reconstruction = weightedCrossEntropy(
      logitsAt(new Array(B).fill(least), noises[0]),
      targets.map((target, row) => ({ row, target, weight })),
    );
    const variance = sigmoid(most);
    const squares = weightedSquares(
      x,
      undefined,
      perRow(() => (weight * (1 - variance)) / 2),
    );
    const spread = (C * (variance - 1 - Math.log(variance))) / 2;
    const prior = affine(reshaped(squares, [1]), [1], [spread]);
    const probabilities = softmaxed(logitsAt(gammas, noises[1]));
    const expected = project(probabilities, reshaped(embeddings, [1, V, C]));
    const rate = perRow((b) => ((most - least) / 2) * Math.exp(-gammas[b]) * weight);
    const diffusion = weightedSquares(expected, x, rate);
    return sum(sum(reconstruction, reshaped(prior, [])), diffusion);
  });
}
