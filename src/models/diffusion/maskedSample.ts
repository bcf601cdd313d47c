import { uniform } from '../../random';
import { type SamplingOptions, sampleToken } from '../sampling';
import { checkCount, checkWithin, continued, type Rows, rowsOf } from './checks';
import { logSumExp } from './crossEntropy';
import { type Denoiser, logitsOf, type SamplerOptions, turns } from './denoiser';
import { rowFor } from './maskedLoss';
import { type MaskSchedule, maskSchedules } from './schedules';

/**
 * Which of the predicted tokens stay at a step, while the others are masked again:
 * - `'lowConfidence'`: those of highest probability (LLaDA, MaskGIT)
 * - `'margin'`: those whose probability is furthest above that of the next best (Dream's topk_margin)
 * - `'entropy'`: those of the most certain places (Dream)
 * - `'random'`: any
 * - `'ancestral'`: each by itself with probability `(alpha(s) - alpha(t)) / (1 - alpha(t))` (MDLM), so that their number
 *   is random too
 */
export type Remasking = 'lowConfidence' | 'margin' | 'entropy' | 'random' | 'ancestral';
export const REMASKINGS: readonly Remasking[] = ['lowConfidence', 'margin', 'entropy', 'random', 'ancestral'];

export interface UnmaskOptions extends SamplingOptions {
  /** The token that stands for noise. It is never drawn. */
  maskToken: number;
  /** Default `'lowConfidence'`. */
  remasking?: Remasking;
  /** Of `'ancestral'`; default `maskSchedules.linear`. */
  schedule?: MaskSchedule;
}

export interface MaskedDiffusionSampleOptions extends UnmaskOptions, SamplerOptions {
  /** Tokens to write behind the prompt. */
  length: number;
  /** Blocks are written one after the other (semi-autoregressive); a divisor of `length`, which is the default. */
  blockLength?: number;
  /** Calls of the denoiser in all, a multiple of the number of blocks; default `length`, one token at a time. */
  steps?: number;
  /** Classifier-free guidance: logits are `u + (cfgScale + 1) (c - u)`, u those without the prompt. Default 0, none. */
  cfgScale?: number;
  /** Whether logits at place i are of token i + 1, as in a model adapted from an autoregressive one; default false. */
  shift?: boolean;
}

/** How many of `count` tokens to keep at each step: as even as can be, the larger numbers first. */
export function evenShares(count: number, steps: number): number[] {
  return Array.from({ length: steps }, (_, i) => Math.floor(count / steps) + (i < count % steps ? 1 : 0));
}

/** A place that is masked, and the logits of its token, without that of the mask. */
export interface MaskedPlace {
  at: number;
  logits: Float64Array;
}

/** Draws a token for each place and keeps some: `[place, token]`. */
export function unmask(
  places: readonly MaskedPlace[],
  options: UnmaskOptions,
  share: { count: number; probability: number },
  random: () => number,
): [at: number, token: number][] {
  const { remasking = 'lowConfidence' } = options;
  if (remasking === 'ancestral') {
    return places
      .filter(() => random() < share.probability)
      .map(({ at, logits }) => [at, sampleToken(logits, options, random)]);
  }
  return places
    .map(({ at, logits }) => {
      const token = sampleToken(logits, options, random);
      return {
        at,
        token,
        confidence: remasking === 'random' ? random() : confidenceOf(logits, token, remasking),
      };
    })
    .sort((a, b) => b.confidence - a.confidence || a.at - b.at)
    .slice(0, share.count)
    .map(({ at, token }) => [at, token]);
}

function confidenceOf(logits: Float64Array, token: number, kind: Remasking): number {
  const logZ = logSumExp(logits, 0, logits.length);
  const probability = logits.map((logit) => Math.exp(logit - logZ));
  if (kind === 'entropy') return probability.reduce((sum, p) => sum + (p > 0 ? p * Math.log(p) : 0), 0);
  if (kind === 'lowConfidence') return probability[token];
  const others = probability.slice().sort();
  return others.length < 2 ? 1 : others[others.length - 1] - others[others.length - 2];
}

/** @throws RangeError for an option of `unmask` out of range */
export function checkUnmask(
  op: string,
  { maskToken, remasking = 'lowConfidence', temperature = 0 }: UnmaskOptions,
): void {
  checkCount(op, 'maskToken', maskToken, 0);
  checkWithin(op, 'temperature', temperature, 0, Number.MAX_VALUE);
  if (!REMASKINGS.includes(remasking)) {
    throw new RangeError(`${op}: remasking is '${remasking}'; expected one of ${REMASKINGS.join(', ')}`);
  }
}

/** The masked places of each row within [begin, end), with their logits `[B, rows, V]`, the first of place `first`. */
export function maskedPlaces(
  rows: readonly Int32Array[],
  maskToken: number,
  logits: ArrayLike<number>,
  V: number,
  layout: { begin: number; end: number; rowOf: (b: number, t: number) => number },
): MaskedPlace[][] {
  return rows.map((row, b) => {
    const places: MaskedPlace[] = [];
    for (let at = layout.begin; at < layout.end; at++) {
      if (row[at] !== maskToken) continue;
      const from = layout.rowOf(b, at) * V;
      const own = new Float64Array(V);
      for (let v = 0; v < V; v++) own[v] = logits[from + v];
      if (maskToken < V) own[maskToken] = Number.NEGATIVE_INFINITY;
      places.push({ at, logits: own });
    }
    return places;
  });
}

/**
 * Writes `length` tokens behind a prompt by masked diffusion: all are masked, and step by step the denoiser predicts all
 * of them and some stay. Masks within the prompt are filled in with the first block.
 *
 * One token at a time at temperature 1 with `'random'` remasking draws from the model exactly, as does `'ancestral'` as
 * steps grow. Fewer steps take tokens of a step as independent; the greedy default looks for likely texts.
 *
 * @param denoiser any function of tokens to logits: `(ids) => model.forward(ids)` of a model that is not causal
 * @param prompt `[B, P]`, int32 or rows of one length, P may be 0
 * @param options.temperature default 0: the best token
 * @returns B rows of P + length tokens
 * @throws RangeError for an option out of range
 * @see Nie et al., "Large Language Diffusion Models", algorithms 4 and 5 and its code's `generate`
 * @see Sahoo et al., "Simple and Effective Masked Diffusion Language Models", section 3.2.2
 */
export async function maskedDiffusionSample(
  denoiser: Denoiser,
  prompt: Rows,
  options: MaskedDiffusionSampleOptions,
): Promise<Int32Array[]> {
  const op = 'maskedDiffusionSample';
  const { length, maskToken, blockLength = length, cfgScale = 0, shift = false } = options;
  const { schedule = maskSchedules.linear, seed = 0, onStep, signal } = options;
  checkCount(op, 'length', length, 0);
  checkUnmask(op, options);
  checkCount(op, 'blockLength', blockLength, Math.min(length, 1));
  checkWithin(op, 'cfgScale', cfgScale, 0, Number.MAX_VALUE);
  const blocks = length === 0 ? 1 : length / blockLength;
  if (!Number.isInteger(blocks))
    throw new RangeError(`${op}: blockLength is ${blockLength}; expected a divisor of length = ${length}`);
  const { steps = Math.max(length, blocks) } = options;
  checkCount(op, 'steps', steps);
  if (steps % blocks !== 0)
    throw new RangeError(`${op}: steps is ${steps}; expected a multiple of the ${blocks} blocks`);
  const given = rowsOf(op, 'prompt', prompt);
  const P = given[0]?.length ?? 0;
  const T = P + length;
  const rows = continued(given, T, () => maskToken);
  const random = uniform(seed);
  const others = turns(signal);

  function scores(time: number): { logits: ArrayLike<number>; V: number } {
    const without = cfgScale === 0 ? [] : rows.map((row) => row.map((id, t) => (t < P ? maskToken : id)));
    const { logits, V } = logitsOf(op, denoiser, [...rows, ...without], time);
    if (cfgScale === 0) return { logits, V };
    const half = logits.length / 2;
    const guided = Float64Array.from({ length: half }, (_, i) => {
      return logits[half + i] + (cfgScale + 1) * (logits[i] - logits[half + i]);
    });
    return { logits: guided, V };
  }

  const perBlock = steps / blocks;
  for (let block = 0; block < blocks && T > 0; block++) {
    const end = P + (block + 1) * blockLength;
    const region = { begin: 0, end, rowOf: (b: number, t: number) => b * T + rowFor(t, shift) };
    const shares = rows.map((row) =>
      evenShares(row.subarray(0, end).filter((id) => id === maskToken).length, perBlock),
    );
    for (let step = 0; step < perBlock; step++) {
      await others();
      const [t, s] = [1 - step / perBlock, 1 - (step + 1) / perBlock];
      const probability = (schedule.alpha(s) - schedule.alpha(t)) / (1 - schedule.alpha(t));
      const { logits, V } = scores(t);
      maskedPlaces(rows, maskToken, logits, V, region).forEach((places, b) => {
        const share = { count: shares[b][step], probability: step === perBlock - 1 ? 1 : probability };
        for (const [at, token] of unmask(places, options, share, random)) rows[b][at] = token;
      });
      onStep?.(rows, block * perBlock + step);
    }
  }
  return rows;
}
