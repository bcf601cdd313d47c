import { customGrad, mul, scalar, type Tensor, tensor, tidy } from '@tensorflow/tfjs-core';
import { uniform } from '../../random';
import { checkShapes } from '../../tensor/shape';
import { noisedRows, type Rows, rowsOf } from './checks';
import { type Denoiser, idTensor } from './denoiser';
import { drawIndex } from './draw';
import { type DiffusionGraph, type NoiseSchedule, noiseSchedules } from './graphs';
import { drawTimes, type TimeOptions } from './maskedLoss';

export interface ScoreEntropyLossOptions extends TimeOptions {
  /** `absorbingGraph(V)` or `uniformGraph(V)`. */
  graph: DiffusionGraph;
  /** Default `noiseSchedules.logLinear()`. */
  noise?: NoiseSchedule;
  /** Noised tokens, int32 `[B, T]`, instead of drawn ones. */
  noised?: Rows;
}

/** What a place that holds `from` adds to the loss: `weight` times its terms, `clean` being the token without noise. */
interface Place {
  row: number;
  from: number;
  clean: number;
  sigma: number;
  weight: number;
}

/**
 * Denoising score entropy, per sequence in nats:
 *
 * `mean over b of sigma'(t) sum over i, y != x_i of Q(x_i, y) (s_y - r_y log s_y + r_y (log r_y - 1))`
 *
 * with `s = exp(model(x, sigma))` the ratios `p(y) / p(x_i)` that the model tells and
 * `r_y = exp(sigma Q)(y, x0_i) / exp(sigma Q)(x_i, x0_i)` those of the clean token. Together with the KL divergence of the
 * last noise from its limit, its expectation is a bound of the negative log likelihood, which is equal if the model is
 * exact.
 *
 * @param model log ratios `[B, T, N]` of noised tokens and sigma `[B]`, N = `graph.size`; that of a token to itself is not read
 * @param ids int32 `[B, T]`
 * @returns a scalar, differentiable in what the model is
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see Lou et al., "Discrete Diffusion Modeling by Estimating the Ratios of the Data Distribution", equations 9 and 11,
 *   algorithm 1
 */
export function scoreEntropyLoss(model: Denoiser, ids: Rows, options: ScoreEntropyLossOptions): Tensor {
  const op = 'scoreEntropyLoss';
  const { graph, noise = noiseSchedules.logLinear(), seed = 0 } = options;
  const clean = rowsOf(op, 'ids', ids);
  const tokens = graph.maskToken ?? graph.size;
  const stray = clean.map((row) => row.find((id) => id >= tokens)).find((id) => id !== undefined);
  if (stray !== undefined) throw new RangeError(`${op}: ids hold ${stray}; expected tokens below ${tokens}`);
  const [B, T] = [clean.length, clean[0]?.length ?? 0];
  const random = uniform(seed);
  const times = drawTimes(op, B, random, options);
  const sigmas = times.map((t) => noise.sigma(t));
  const noised =
    noisedRows(op, options.noised, B, T) ??
    clean.map((row, b) =>
      row.map((from) => drawIndex(graph.size, (to) => graph.transition(from, to, sigmas[b]), random)),
    );
  const places = clean.flatMap((row, b) =>
    Array.from(
      row,
      (token, t): Place => ({
        row: b * T + t,
        from: noised[b][t],
        clean: token,
        sigma: sigmas[b],
        weight: noise.rate(times[b]) / B,
      }),
    ),
  );
  return tidy(() => {
    const logRatios = model(idTensor(noised), tensor(sigmas, [B], 'float32'));
    checkShapes(op, [['logRatios', logRatios, `${B} ${T} ${graph.size}`]]);
    return scoreEntropy(logRatios, places, graph);
  });
}

function scoreEntropy(logRatios: Tensor, places: readonly Place[], graph: DiffusionGraph): Tensor {
  return customGrad((x) => {
    const values = (x as Tensor).dataSync();
    const gradient = new Float32Array(values.length);
    let loss = 0;
    for (const { row, from, clean, sigma, weight } of places) {
      const here = graph.transition(clean, from, sigma);
      for (let y = 0; y < graph.size; y++) {
        const rate = graph.rate(y, from);
        if (rate === 0) continue;
        const at = row * graph.size + y;
        const ratio = graph.transition(clean, y, sigma) / here;
        const score = Math.exp(values[at]);
        const constant = ratio > 0 ? ratio * (Math.log(ratio) - 1) : 0;
        loss += weight * rate * (score - ratio * values[at] + constant);
        gradient[at] = weight * rate * (score - ratio);
      }
    }
    return { value: scalar(loss), gradFunc: (dy: Tensor) => mul(dy, tensor(gradient, (x as Tensor).shape)) };
  })(logRatios);
}
