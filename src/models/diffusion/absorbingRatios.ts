import { customGrad, type Tensor, tensor } from '@tensorflow/tfjs-core';
import { logSumExp } from './crossEntropy';
import type { Denoiser } from './denoiser';

/**
 * The ratios of absorbing diffusion that a model of clean tokens tells: with the mask at a place,
 * `p(y) / p(mask) = softmax(logits)_y / (exp(sigma) - 1)`. So a model of masked diffusion, which knows no time, can be
 * sampled and trained as SEDD.
 *
 * @param denoiser logits `[B, T, V]` or `[B, T, V + 1]`, of which the last is not read
 * @param vocabSize V, as of `absorbingGraph`
 * @returns a model for `seddSample` and `scoreEntropyLoss`, differentiable in what the denoiser is
 * @see Ou et al., "Your Absorbing Discrete Diffusion Secretly Models the Conditional Distributions of Clean Data",
 *   theorem 1
 */
export function absorbingRatios(denoiser: Denoiser, vocabSize: number): Denoiser {
  const V = vocabSize;
  return (ids, sigma) => {
    const logits = denoiser(ids, sigma);
    const [B, T, width] = logits.shape;
    if (width !== V && width !== V + 1) {
      throw new RangeError(
        `absorbingRatios: logits has shape [${logits.shape}]; expected [B, T, V] or [B, T, V + 1], V = ${V}`,
      );
    }
    const sigmas = sigma.dataSync();
    return customGrad((x) => {
      const values = (x as Tensor).dataSync();
      const output = new Float32Array(B * T! * (V + 1));
      const logZ = new Float64Array(B * T!);
      for (let row = 0; row < B * T!; row++) {
        const begin = row * width!;
        logZ[row] = logSumExp(values, begin, begin + V);
        const shift = logZ[row] + Math.log(Math.expm1(sigmas[Math.floor(row / T!)]));
        for (let v = 0; v < V; v++) output[row * (V + 1) + v] = values[begin + v] - shift;
      }
      const gradFunc = (dy: Tensor) => {
        const weights = dy.dataSync();
        const gradient = new Float32Array(values.length);
        for (let row = 0; row < B * T!; row++) {
          const [from, to] = [row * (V + 1), row * width!];
          let total = 0;
          for (let v = 0; v < V; v++) total += weights[from + v];
          for (let v = 0; v < V; v++) {
            gradient[to + v] = weights[from + v] - total * Math.exp(values[to + v] - logZ[row]);
          }
        }
        return tensor(gradient, logits.shape);
      };
      return { value: tensor(output, [B, T!, V + 1]), gradFunc };
    })(logits);
  };
}
