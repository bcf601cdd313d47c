import { ropeFrequencies } from '../nn/ropeFrequencies';
import type { Config } from './config';

/** What `rope` is given, but for the position. */
export interface RopeSpec {
  frequencies: readonly number[];
  attentionScaling: number;
  interleaved?: boolean;
}

/**
 * The rotary embedding a config describes, under `rope_parameters` or, before transformers 5, `rope_theta` and
 * `rope_scaling`.
 *
 * @throws RangeError for a scaling that is none of default, linear, llama3 and yarn
 */
export function ropeSpec(
  config: Config,
  headDim: number,
  fallback: { theta?: number; partial?: number } = {},
): RopeSpec {
  const given = config.object('rope_parameters') ?? config.object('rope_scaling');
  const number = (key: string) => given?.optional(key) ?? config.optional(key);
  const theta = number('rope_theta') ?? fallback.theta ?? 10000;
  const rotaryDim =
    2 * Math.floor((headDim * (number('partial_rotary_factor') ?? fallback.partial ?? 1)) / 2);
  const type = given?.has('rope_type')
    ? given.string('rope_type')
    : (given?.string('type', 'default') ?? 'default');
  if (given === undefined || type === 'default') return ropeFrequencies(rotaryDim, { theta });
  const factor = given.number('factor');
  switch (type) {
    case 'linear':
      return ropeFrequencies(rotaryDim, { theta, scaling: { type, factor } });
    case 'llama3':
      return ropeFrequencies(rotaryDim, {
        theta,
        scaling: {
          type,
          factor,
          lowFreqFactor: given.number('low_freq_factor'),
          highFreqFactor: given.number('high_freq_factor'),
          originalMaxPositionEmbeddings: given.number('original_max_position_embeddings'),
        },
      });
    case 'yarn':
      return yarn(config, given, rotaryDim, theta);
    default:
      throw new RangeError(`config: rope_type is '${type}'; expected default, linear, llama3 or yarn`);
  }
}

const growth = (factor: number, mscale: number) => (factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1);

function yarn(config: Config, given: Config, rotaryDim: number, theta: number): RopeSpec {
  const original =
    given.optional('original_max_position_embeddings') ?? config.number('max_position_embeddings');
  const factor = given.optional('factor') ?? config.number('max_position_embeddings') / original;
  const [mscale, allDim] = [given.optional('mscale'), given.optional('mscale_all_dim')];
  const ratio = mscale && allDim ? growth(factor, mscale) / growth(factor, allDim) : growth(factor, 1);
  return ropeFrequencies(rotaryDim, {
    theta,
    scaling: {
      type: 'yarn',
      factor,
      originalMaxPositionEmbeddings: original,
      betaFast: given.optional('beta_fast'),
      betaSlow: given.optional('beta_slow'),
      attentionFactor: given.optional('attention_factor') ?? ratio,
      truncate: given.boolean('truncate', true),
    },
  });
}

/** What YaRN with `mscale_all_dim` multiplies the scores of DeepSeek's attention by. */
export function yarnScoreScale(config: Config): number {
  const given = config.object('rope_parameters') ?? config.object('rope_scaling');
  const allDim = given?.optional('mscale_all_dim');
  return allDim ? growth(given!.number('factor'), allDim) ** 2 : 1;
}
