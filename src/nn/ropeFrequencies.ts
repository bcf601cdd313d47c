import { checkFinite } from '../tensor/shape';

/** How a model trained on short sequences is made to read longer ones. Names as in checkpoints, in camelCase. */
export type RopeScaling =
  | { type: 'linear'; factor: number }
  | {
      type: 'llama3';
      factor: number;
      lowFreqFactor: number;
      highFreqFactor: number;
      originalMaxPositionEmbeddings: number;
    }
  | {
      type: 'yarn';
      factor: number;
      originalMaxPositionEmbeddings: number;
      /** Turns within the original length above which a pair stays as it is; default 32. */
      betaFast?: number;
      /** Turns below which a pair is slowed down by `factor`; default 1. */
      betaSlow?: number;
      /** Default `0.1 ln(factor) + 1`. */
      attentionFactor?: number;
      /** Whether the blend begins and ends at whole pairs; default true (GPT-OSS: false). */
      truncate?: boolean;
    };

export interface RopeFrequenciesOptions {
  /** Default 10000. */
  theta?: number;
  scaling?: RopeScaling;
}

/** What `rope` takes: `rope(q, { ...ropeFrequencies(64, { scaling }), offset })`. */
export interface RopeFrequencies {
  frequencies: number[];
  attentionScaling: number;
}

const NAME = 'ropeFrequencies';
const clamp = (x: number, low: number, high: number) => Math.min(Math.max(x, low), high);

/** 1 for pairs that keep their frequency, 0 for those that are divided by the factor, between them a line. */
type Kept = (i: number, frequency: number) => number;

function llama3(scaling: Extract<RopeScaling, { type: 'llama3' }>): Kept {
  const { lowFreqFactor: low, highFreqFactor: high, originalMaxPositionEmbeddings: length } = scaling;
  return (_, frequency) => clamp(((length * frequency) / (2 * Math.PI) - low) / (high - low), 0, 1);
}

function yarn(scaling: Extract<RopeScaling, { type: 'yarn' }>, rotaryDim: number, theta: number): Kept {
  const { betaFast = 32, betaSlow = 1, truncate = true, originalMaxPositionEmbeddings: length } = scaling;
  const pairWithTurns = (turns: number) =>
    (rotaryDim * Math.log(length / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const [from, to] = [pairWithTurns(betaFast), pairWithTurns(betaSlow)];
  const first = Math.max(truncate ? Math.floor(from) : from, 0);
  const last = Math.min(truncate ? Math.ceil(to) : to, rotaryDim - 1);
  return (i) => 1 - clamp((i - first) / Math.max(last - first, 1e-3), 0, 1);
}

/**
 * Radians per position of each pair of channels, `theta ** (-2 i / rotaryDim)`, scaled for longer sequences.
 *
 * `linear` divides all by the factor. `llama3` and `yarn` divide slow pairs by it, keep fast ones and blend in between,
 * by wavelength or by index; `yarn` also makes the rotated channels larger.
 *
 * @throws RangeError for an odd rotaryDim or a number that is not finite or not positive
 * @see Chen et al., "Extending Context Window of Large Language Models via Positional Interpolation";
 * Peng et al., "YaRN: Efficient Context Window Extension of Large Language Models"
 */
export function ropeFrequencies(rotaryDim: number, options: RopeFrequenciesOptions = {}): RopeFrequencies {
  const { theta = 10000, scaling } = options;
  if (!Number.isInteger(rotaryDim) || rotaryDim < 0 || rotaryDim % 2 !== 0)
    throw new RangeError(`${NAME}: rotaryDim is ${rotaryDim}; expected an even number`);
  for (const [name, value] of Object.entries({ theta, ...scaling })) {
    if (typeof value !== 'number') continue;
    checkFinite(NAME, name, value);
    if (value <= 0) throw new RangeError(`${NAME}: ${name} is ${value}; expected a positive number`);
  }
  const plain = Array.from({ length: rotaryDim / 2 }, (_, i) => theta ** ((-2 * i) / rotaryDim));
  if (scaling === undefined) return { frequencies: plain, attentionScaling: 1 };
  const { factor } = scaling;
  const kept: Kept =
    scaling.type === 'linear'
      ? () => 0
      : scaling.type === 'llama3'
        ? llama3(scaling)
        : yarn(scaling, rotaryDim, theta);
  const frequencies = plain.map((frequency, i) => {
    const share = kept(i, frequency);
    return frequency * share + (frequency / factor) * (1 - share);
  });
  const { attentionFactor = 0.1 * Math.log(factor) + 1 } =
    scaling.type === 'yarn' ? scaling : { attentionFactor: 1 };
  return { frequencies, attentionScaling: attentionFactor };
}
