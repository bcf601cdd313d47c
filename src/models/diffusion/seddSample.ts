import { uniform } from '../../random';
import { checkCount, checkWithin, continued, type Rows, rowsOf } from './checks';
import { type Denoiser, logitsOf, type SamplerOptions, turns } from './denoiser';
import { drawIndex } from './draw';
import { type DiffusionGraph, type NoiseSchedule, noiseSchedules } from './graphs';

export interface SeddSampleOptions extends SamplerOptions {
  /** `absorbingGraph(V)` or `uniformGraph(V)`. */
  graph: DiffusionGraph;
  /** Default `noiseSchedules.logLinear()`. */
  noise?: NoiseSchedule;
  /** Tokens to write behind the prompt. */
  length: number;
  /** Steps from t = 1 to `minTime`, equal in t; default 64. One more call takes out the rest of the noise. */
  steps?: number;
  /**
   * How places change at a step, all at once given the tokens before it: `'tauLeaping'` (default) jumps with the rates at
   * its beginning; `'analytic'` has exact transitions for the ratios there (Tweedie).
   */
  predictor?: 'tauLeaping' | 'analytic';
  /** Time at which the rest of the noise is taken out; default 1e-5. */
  minTime?: number;
}

/**
 * Writes `length` tokens behind a prompt by going back from noise through the ratios a model tells.
 *
 * - tau-leaping: `p(y) = [y = x] + (sigma'(t) dt) Q~(x, y)`, the reverse rate `Q~(x, y) = Q(x, y) s_y` for y != x
 * - analytic: `p(y) = (exp(-d Q) s)_y exp(d Q)(x, y)`, d the noise of the step, and s_x = 1
 *
 * The last step is analytic to no noise at all and gives no mask.
 *
 * @param model log ratios `[B, T, N]` of noised tokens and sigma `[B]`
 * @param prompt `[B, P]`, int32 or rows of one length, P may be 0; it stays as it is
 * @returns B rows of P + length tokens
 * @throws RangeError for an option out of range
 * @see Lou et al., "Discrete Diffusion Modeling by Estimating the Ratios of the Data Distribution", equations 18 and 19,
 *   algorithms 2 and 3
 */
export async function seddSample(
  model: Denoiser,
  prompt: Rows,
  options: SeddSampleOptions,
): Promise<Int32Array[]> {
  const op = 'seddSample';
  const { graph, noise = noiseSchedules.logLinear(), length, steps = 64, minTime = 1e-5 } = options;
  const { predictor = 'tauLeaping', seed = 0, onStep, signal } = options;
  checkCount(op, 'length', length, 0);
  checkCount(op, 'steps', steps);
  checkWithin(op, 'minTime', minTime, 0, 1);
  if (predictor !== 'tauLeaping' && predictor !== 'analytic')
    throw new RangeError(`${op}: predictor is '${predictor}'; expected tauLeaping or analytic`);
  const given = rowsOf(op, 'prompt', prompt);
  const P = given[0]?.length ?? 0;
  const N = graph.size;
  const random = uniform(seed);
  const others = turns(signal);
  const rows = continued(given, P + length, () => graph.sampleLimit(random));
  if (P + length === 0) return rows;

  function move(sigma: number, draw: (from: number, ratios: Float64Array) => number): void {
    const { logits } = logitsOf(op, model, rows, sigma);
    const ratios = new Float64Array(N);
    rows.forEach((row, b) => {
      for (let t = P; t < P + length; t++) {
        const from = (b * (P + length) + t) * N;
        for (let y = 0; y < N; y++) ratios[y] = Math.exp(logits[from + y]);
        ratios[row[t]] = 1;
        row[t] = draw(row[t], ratios);
      }
    });
  }

  function analytic(noiseOfStep: number, states: number) {
    return (from: number, ratios: Float64Array) => {
      const before = graph.staggered(ratios, noiseOfStep);
      return drawIndex(states, (y) => before[y] * graph.transition(y, from, noiseOfStep), random);
    };
  }

  const dt = (1 - minTime) / steps;
  for (let step = 0; step < steps; step++) {
    await others();
    const t = 1 - step * dt;
    const sigma = noise.sigma(t);
    if (predictor === 'analytic') move(sigma, analytic(sigma - noise.sigma(t - dt), N));
    else {
      const leap = dt * noise.rate(t);
      move(sigma, (from, ratios) => {
        let away = 0;
        for (let y = 0; y < N; y++) away += leap * graph.rate(y, from) * ratios[y];
        return drawIndex(N, (y) => (y === from ? 1 - away : leap * graph.rate(y, from) * ratios[y]), random);
      });
    }
    onStep?.(rows, step);
  }
  await others();
  const rest = noise.sigma(minTime);
  move(rest, analytic(rest, graph.maskToken ?? N));
  onStep?.(rows, steps);
  return rows;
}
