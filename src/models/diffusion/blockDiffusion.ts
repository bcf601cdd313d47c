import { type Tensor, tidy } from '@tensorflow/tfjs-core';
import { uniform } from '../../random';
import type { BlockMask } from '../../sparse/blockMask';
import { blockDiffusion as blockDiffusionMask } from '../../sparse/masks';
import { checkShapes } from '../../tensor/shape';
import { valuesOf } from '../values';
import { checkCount, checkWithin, continued, noisedRows, type Rows, rowsOf } from './checks';
import { type Prediction, weightedCrossEntropy } from './crossEntropy';
import { idTensor, type SamplerOptions, turns } from './denoiser';
import { checkUnmask, evenShares, maskedPlaces, type UnmaskOptions, unmask } from './maskedSample';
import { type MaskSchedule, maskSchedules } from './schedules';

/** What a model is told for the training of block diffusion. */
export interface BlockDiffusionView {
  /** Noised tokens see their own block and the clean ones before it: `masks.blockDiffusion`, for `flexAttention`. */
  blockMask: BlockMask;
  /** `[2 T]`: 0 to T - 1 twice, for `rope`. */
  positions: readonly number[];
}

/** Logits `[B, 2 T, V]` of T noised tokens followed by the T clean ones, int32 `[B, 2 T]`; the first T are read. */
export type BlockDiffusionModel = (ids: Tensor, view: BlockDiffusionView) => Tensor;

export interface BlockDiffusionLossOptions {
  /** The token that stands for noise. It is never predicted, whatever its logit. */
  maskToken: number;
  /** Tokens of a block; the last one may have fewer. */
  blockLength: number;
  /** Default `maskSchedules.linear`. */
  schedule?: MaskSchedule;
  /** Of the noise; give another one at each training step. Default 0. */
  seed?: number;
  /** Times are drawn from this range, which lowers the variance (clipped schedules); default `[1e-3, 1]`. */
  timeRange?: readonly [least: number, most: number];
  /** Times of the blocks, `[B, blocks]`, instead of drawn ones. */
  times?: readonly ArrayLike<number>[];
  /** Noised tokens, int32 `[B, T]`, instead of drawn ones. */
  noised?: Rows;
}

/**
 * Loss of block diffusion, per token in nats: that of masked diffusion within each block, given the clean blocks before it,
 * all blocks in one pass over `[noised, clean]`:
 *
 * `mean over b of 1 / T sum over blocks of -alpha'(t) / (1 - alpha(t)) sum over its masked i of -log p(x_i | block, before)`
 *
 * with an own t for each block. Blocks of one token make it the autoregressive loss, one block that of masked diffusion.
 *
 * @param model differentiable
 * @param ids int32 `[B, T]`
 * @returns a scalar, differentiable in what the model is
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see Arriola et al., "Block Diffusion: Interpolating Between Autoregressive and Diffusion Language Models", equation 8,
 *   algorithm 1 and section 5.2
 */
export function blockDiffusionLoss(
  model: BlockDiffusionModel,
  ids: Rows,
  options: BlockDiffusionLossOptions,
): Tensor {
  const op = 'blockDiffusionLoss';
  const { maskToken, blockLength, schedule = maskSchedules.linear, seed = 0 } = options;
  const [least, most] = options.timeRange ?? [1e-3, 1];
  checkCount(op, 'maskToken', maskToken, 0);
  checkCount(op, 'blockLength', blockLength);
  checkWithin(op, 'timeRange', most, 0, 1);
  checkWithin(op, 'timeRange', least, 0, most);
  const clean = rowsOf(op, 'ids', ids);
  if (clean.some((row) => row.includes(maskToken)))
    throw new RangeError(`${op}: ids hold maskToken = ${maskToken}; expected clean tokens`);
  const [B, T] = [clean.length, clean[0]?.length ?? 0];
  const blocks = Math.ceil(T / blockLength);
  const random = uniform(seed);
  const times =
    options.times ?? clean.map(() => Array.from({ length: blocks }, () => least + (most - least) * random()));
  if (times.length !== B || times.some(({ length }) => length !== blocks))
    throw new RangeError(`${op}: times has not [B, blocks] = [${B},${blocks}] numbers`);
  const timeAt = (b: number, t: number) => times[b][Math.floor(t / blockLength)];
  const noised =
    noisedRows(op, options.noised, B, T) ??
    clean.map((row, b) => row.map((id, t) => (random() < 1 - schedule.alpha(timeAt(b, t)) ? maskToken : id)));
  const predictions: Prediction[] = [];
  clean.forEach((row, b) => {
    row.forEach((target, t) => {
      if (noised[b][t] !== maskToken) return;
      const rate = -schedule.slope(timeAt(b, t)) / (1 - schedule.alpha(timeAt(b, t)));
      predictions.push({ row: b * 2 * T + t, target, weight: rate / (T * B) });
    });
  });
  const both = noised.map((row, b) => Int32Array.of(...row, ...clean[b]));
  const view = {
    blockMask: blockDiffusionMask({ length: T, block: blockLength }),
    positions: Array.from({ length: 2 * T }, (_, i) => i % Math.max(T, 1)),
  };
  return tidy(() => {
    const logits = model(idTensor(both), view);
    checkShapes(op, [['logits', logits, `${B} ${2 * T} V`]]);
    return weightedCrossEntropy(logits, predictions, maskToken);
  });
}

/** A model that reads a text block by block and remembers it. */
export interface BlockReader {
  /** Logits `[B, n, V]` of the next block, int32 `[B, n]`, whose tokens see one another and all that was read. */
  predict(ids: Tensor): Tensor;
  /** Reads a finished block. */
  read(ids: Tensor): void;
}

export interface BlockDiffusionSampleOptions extends UnmaskOptions, SamplerOptions {
  /** Tokens to write behind the prompt. */
  length: number;
  /** Tokens of a block. Blocks begin at its multiples; the first may begin with the end of the prompt. */
  blockLength: number;
  /** Steps of each block; default `blockLength`, one token at a time. */
  steps?: number;
}

/**
 * Writes `length` tokens behind a prompt block after block. Within a block, places are filled in any order by masked
 * diffusion; a finished block is read once and stays in the model's cache. A step costs a pass over one block, however
 * long the text.
 *
 * One token at a time at temperature 1 with `'random'` remasking draws from the model exactly (the first-hitting sampler).
 *
 * @param model a reader, as of `DiffusionTransformer`, that has read nothing yet
 * @param prompt `[B, P]`, int32 or rows of one length, P may be 0
 * @param options.temperature default 0: the best token
 * @returns B rows of P + length tokens
 * @throws RangeError for an option out of range
 * @see Arriola et al., "Block Diffusion: Interpolating Between Autoregressive and Diffusion Language Models", section 3.2,
 *   algorithm 2
 */
export async function blockDiffusionSample(
  model: BlockReader,
  prompt: Rows,
  options: BlockDiffusionSampleOptions,
): Promise<Int32Array[]> {
  const op = 'blockDiffusionSample';
  const { length, maskToken, blockLength, schedule = maskSchedules.linear, seed = 0 } = options;
  const { steps = blockLength, onStep, signal } = options;
  checkCount(op, 'length', length, 0);
  checkCount(op, 'blockLength', blockLength);
  checkCount(op, 'steps', steps);
  checkUnmask(op, options);
  const given = rowsOf(op, 'prompt', prompt);
  if (given.some((row) => row.includes(maskToken)))
    throw new RangeError(`${op}: prompt holds maskToken = ${maskToken}; expected clean tokens`);
  const P = given[0]?.length ?? 0;
  const T = P + length;
  const rows = continued(given, T, () => maskToken);
  const random = uniform(seed);
  const others = turns(signal);
  let done = 0;

  for (let begin = 0; begin < T && length > 0; begin += blockLength) {
    const end = Math.min(begin + blockLength, T);
    const n = end - begin;
    const block = () => idTensor(rows.map((row) => row.subarray(begin, end)));
    const shares = evenShares(end - Math.max(begin, P), steps);
    for (let step = 0; step < steps && end > P; step++) {
      await others();
      const [t, s] = [1 - step / steps, 1 - (step + 1) / steps];
      const gained = (schedule.alpha(s) - schedule.alpha(t)) / (1 - schedule.alpha(t));
      const share = { count: shares[step], probability: step === steps - 1 ? 1 : gained };
      if (!rows.some((row) => row.subarray(begin, end).includes(maskToken))) break;
      let V = 0;
      const logits = valuesOf(() => {
        const output = model.predict(block());
        ({ V } = checkShapes(op, [['logits', output, `${rows.length} ${n} V`]]));
        return output;
      });
      const region = { begin, end, rowOf: (b: number, at: number) => b * n + at - begin };
      maskedPlaces(rows, maskToken, logits, V, region).forEach((places, b) => {
        for (const [at, token] of unmask(places, options, share, random)) rows[b][at] = token;
      });
      onStep?.(rows, done++);
    }
    if (end === T) break;
    await others();
    tidy(() => model.read(block()));
  }
  return rows;
}
