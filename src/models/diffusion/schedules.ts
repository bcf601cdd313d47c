/** How many tokens are still there at time t: `alpha(0) = 1`, `alpha(1) = 0`. */
export interface MaskSchedule {
  alpha(t: number): number;
  /** `alpha'(t)`, negative */
  slope(t: number): number;
}

/**
 * Schedules of masked diffusion. The loss in expectation does not depend on the choice, its variance and the steps of a
 * sampler do.
 *
 * - `linear`: `alpha = 1 - t` (LLaDA; the log-linear schedule of MDLM and SEDD)
 * - `cosine`: `alpha = 1 - cos(pi (1 - t) / 2)`
 * - `polynomial(p)`: `alpha = 1 - t^p`
 *
 * @see Sahoo et al., "Simple and Effective Masked Diffusion Language Models", appendix E.1
 * @see Shi et al., "Simplified and Generalized Masked Diffusion for Discrete Data", table 4
 */
export const maskSchedules = {
  linear: { alpha: (t) => 1 - t, slope: () => -1 } as MaskSchedule,
  cosine: {
    alpha: (t) => 1 - Math.cos((Math.PI * (1 - t)) / 2),
    slope: (t) => (-Math.PI / 2) * Math.sin((Math.PI * (1 - t)) / 2),
  } as MaskSchedule,
  polynomial: (p: number): MaskSchedule => ({ alpha: (t) => 1 - t ** p, slope: (t) => -p * t ** (p - 1) }),
};
