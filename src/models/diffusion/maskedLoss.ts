import { type Tensor, tensor, tidy } from '@tensorflow/tfjs-core';
import { uniform } from '../../random';
import type { Integers } from '../../tensor/integers';
import { checkShapes } from '../../tensor/shape';
import { checkCount, checkWithin, noisedRows, perSequence, type Rows, rowsOf } from './checks';
import { type Prediction, weightedCrossEntropy } from './crossEntropy';
import { type Denoiser, idTensor } from './denoiser';
import { type MaskSchedule, maskSchedules } from './schedules';

export interface TimeOptions {
  /** Of the noise; give another one at each training step. Default 0. */
  seed?: number;
  /** Times of the sequences, `[B]`, instead of drawn ones. */
  times?: ArrayLike<number>;
  /** Times are drawn from here to 1; default 1e-3. */
  minTime?: number;
  /**
   * Spreads the times of a batch evenly, from a start that is drawn, which lowers the variance; each sequence still has any
   * time (Kingma et al., "Variational Diffusion Models", appendix I.1). Default true.
   */
  lowDiscrepancy?: boolean;
}

/** A time per sequence, drawn uniformly from [minTime, 1). */
export function drawTimes(
  op: string,
  B: number,
  random: () => number,
  { times, minTime = 1e-3, lowDiscrepancy = true }: TimeOptions,
): number[] {
  if (times !== undefined) {
    if (times.length !== B)
      throw new RangeError(`${op}: times has ${times.length} numbers; expected B = ${B}`);
    for (const time of Array.from(times)) checkWithin(op, 'times', time, 0, 1);
    return Array.from(times);
  }
  checkWithin(op, 'minTime', minTime, 0, 1);
  const start = random();
  const draws = Array.from({ length: B }, (_, b) => (lowDiscrepancy ? (start + b / B) % 1 : random()));
  return draws.map((draw) => minTime + (1 - minTime) * draw);
}

export interface MaskedDiffusionLossOptions extends TimeOptions {
  /** The token that stands for noise. It is never predicted, whatever its logit. */
  maskToken: number;
  /** Default `maskSchedules.linear`. */
  schedule?: MaskSchedule;
  /** `'elbo'` (default): the bound of the likelihood; `'none'`: every masked token counts 1 (MaskGIT, BERT). */
  weighting?: 'elbo' | 'none';
  /** Tokens in front that are never masked, per sequence: prompts of supervised fine-tuning (LLaDA). */
  promptLengths?: Integers;
  /** Noised tokens, int32 `[B, T]`, instead of drawn ones: where they are `maskToken`, there is a token to predict. */
  noised?: Rows;
  /** Whether logits at place i are of token i + 1, as in a model adapted from an autoregressive one; default false. */
  shift?: boolean;
}

/** The row of the logits that tells of a token: its own, or the one before it, of which the first has none. */
export const rowFor = (t: number, shift: boolean) => (shift ? Math.max(t - 1, 0) : t);

/**
 * Loss of masked diffusion, per token in nats:
 *
 * `mean over b of 1 / L_b * -alpha'(t) / (1 - alpha(t)) * sum over masked i of -log p(x_i | noised)`
 *
 * with t drawn per sequence and each token masked with probability `1 - alpha(t)`; L is the number of tokens that may be
 * masked. With the linear schedule the weight is 1 / t. Its expectation is a bound of the negative log likelihood, and
 * equals it if the model is exact.
 *
 * @param denoiser differentiable; it gets the noised tokens and t
 * @param ids int32 `[B, T]`
 * @returns a scalar, differentiable in what the denoiser is
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see Sahoo et al., "Simple and Effective Masked Diffusion Language Models", equation 10
 * @see Nie et al., "Large Language Diffusion Models", equation 3 and algorithms 1 and 2
 */
export function maskedDiffusionLoss(
  denoiser: Denoiser,
  ids: Rows,
  options: MaskedDiffusionLossOptions,
): Tensor {
  const op = 'maskedDiffusionLoss';
  const { maskToken, schedule = maskSchedules.linear, weighting = 'elbo', seed = 0, shift = false } = options;
  checkCount(op, 'maskToken', maskToken, 0);
  const clean = rowsOf(op, 'ids', ids);
  const [B, T] = [clean.length, clean[0]?.length ?? 0];
  if (clean.some((row) => row.includes(maskToken)))
    throw new RangeError(`${op}: ids hold maskToken = ${maskToken}; expected clean tokens`);
  const prompts = perSequence(op, 'promptLengths', options.promptLengths, B, T);
  const random = uniform(seed);
  const times = drawTimes(op, B, random, options);
  const noised =
    noisedRows(op, options.noised, B, T) ??
    clean.map((row, b) => {
      const masked = 1 - schedule.alpha(times[b]);
      return row.map((id, t) => (t >= prompts[b] && random() < masked ? maskToken : id));
    });
  const predictions: Prediction[] = [];
  clean.forEach((row, b) => {
    const rate = weighting === 'elbo' ? -schedule.slope(times[b]) / (1 - schedule.alpha(times[b])) : 1;
    row.forEach((target, t) => {
      if (noised[b][t] !== maskToken) return;
      predictions.push({
        row: b * T + rowFor(t, shift),
        target,
        weight: rate / ((T - prompts[b]) * B),
      });
    });
  });
  return tidy(() => {
    const logits = denoiser(idTensor(noised), tensor(times, [B], 'float32'));
    checkShapes(op, [['logits', logits, `${B} ${T} V`]]);
    return weightedCrossEntropy(logits, predictions, maskToken);
  });
}
