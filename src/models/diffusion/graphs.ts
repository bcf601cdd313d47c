/**
 * A continuous-time Markov chain that turns one token into noise: `p_sigma = exp(sigma Q) p_0` for total noise sigma,
 * of which this holds Q (columns sum to 0), its exponential and what samplers need of it.
 */
export interface DiffusionGraph {
  /** States: V tokens, or V + 1 with the mask, which is the last. */
  readonly size: number;
  /** The mask, or undefined if noise is uniform. */
  readonly maskToken?: number;
  /** `Q(to, from)`, the rate of jumps, for `to != from`. */
  rate(from: number, to: number): number;
  /** `exp(sigma Q)(to, from)`, the probability to be in `to` after sigma. */
  transition(from: number, to: number, sigma: number): number;
  /** A state of the limit of infinite noise. */
  sampleLimit(random: () => number): number;
  /** `exp(-sigma Q) ratios`: ratios of probabilities at less noise. */
  staggered(ratios: Float64Array, sigma: number): Float64Array;
}

/**
 * Every token becomes the mask at rate 1 and stays it.
 *
 * @param vocabSize V, tokens without the mask, which is token V
 * @see Lou et al., "Discrete Diffusion Modeling by Estimating the Ratios of the Data Distribution", equation 16
 */
export function absorbingGraph(vocabSize: number): DiffusionGraph {
  const mask = vocabSize;
  return {
    size: vocabSize + 1,
    maskToken: mask,
    rate: (from, to) => (to === mask && from !== mask ? 1 : 0),
    transition: (from, to, sigma) => {
      const stays = from === mask ? 1 : Math.exp(-sigma);
      return to === from ? stays : to === mask ? 1 - stays : 0;
    },
    sampleLimit: () => mask,
    staggered: (ratios, sigma) => {
      const total = ratios.reduce((a, b) => a + b, 0);
      const result = ratios.map((ratio) => ratio * Math.exp(sigma));
      result[mask] = ratios[mask] * Math.exp(sigma) + (1 - Math.exp(sigma)) * total;
      return result;
    },
  };
}

/**
 * Every token becomes any other at rate 1 / V.
 *
 * @see Lou et al., "Discrete Diffusion Modeling by Estimating the Ratios of the Data Distribution", equation 15
 */
export function uniformGraph(vocabSize: number): DiffusionGraph {
  const V = vocabSize;
  return {
    size: V,
    rate: (from, to) => (from === to ? 0 : 1 / V),
    transition: (from, to, sigma) => (1 - Math.exp(-sigma)) / V + (from === to ? Math.exp(-sigma) : 0),
    sampleLimit: (random) => Math.floor(random() * V),
    staggered: (ratios, sigma) => {
      const mean = ratios.reduce((a, b) => a + b, 0) / V;
      return ratios.map((ratio) => mean + (ratio - mean) * Math.exp(sigma));
    },
  };
}

/** Total noise at time t from 0 to 1, and its rate of growth. */
export interface NoiseSchedule {
  sigma(t: number): number;
  /** `sigma'(t)` */
  rate(t: number): number;
}

/**
 * Schedules of SEDD.
 *
 * - `logLinear(eps)`: `sigma = -log(1 - (1 - eps) t)`, so that a token is noise with probability `(1 - eps) t`; default
 *   eps 1e-3
 * - `geometric(min, max)`: `sigma = min^(1 - t) max^t`; default 1e-5 and 20
 *
 * @see Lou et al., "Discrete Diffusion Modeling by Estimating the Ratios of the Data Distribution", appendix C.1
 */
export const noiseSchedules = {
  logLinear: (eps = 1e-3): NoiseSchedule => ({
    sigma: (t) => -Math.log1p(-(1 - eps) * t),
    rate: (t) => (1 - eps) / (1 - (1 - eps) * t),
  }),
  geometric: (min = 1e-5, max = 20): NoiseSchedule => ({
    sigma: (t) => min ** (1 - t) * max ** t,
    rate: (t) => min ** (1 - t) * max ** t * Math.log(max / min),
  }),
};
