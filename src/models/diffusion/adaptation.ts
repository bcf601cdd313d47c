import { customGrad, type Tensor, tensor } from '@tensorflow/tfjs-core';
import { uniform } from '../../random';
import { checkCount, checkWithin } from './checks';

export interface AnnealedMaskOptions {
  /** Tokens. */
  length: number;
  /** From 0, the causal mask, to 1, every key. */
  progress: number;
  /** The same seed opens the same keys first, so that masks of growing progress hold each other; default 0. */
  seed?: number;
}

/**
 * Attention mask on the way from an autoregressive model to one of diffusion: keys up to the query's own position, and
 * each later one with probability `progress`.
 *
 * @returns bool `[T, T]`, true where a key is seen: a `mask` of `scaledDotProductAttention`
 * @throws RangeError for an option out of range
 * @see Gong et al., "Scaling Diffusion Language Models via Adaptation from Autoregressive Models", section 3.3
 */
export function annealedMask({ length, progress, seed = 0 }: AnnealedMaskOptions): Tensor {
  checkCount('annealedMask', 'length', length, 0);
  checkWithin('annealedMask', 'progress', progress, 0, 1);
  const random = uniform(seed);
  const visible = new Uint8Array(length * length);
  for (let q = 0; q < length; q++) {
    for (let kv = 0; kv < length; kv++) visible[q * length + kv] = +(kv <= q || random() < progress);
  }
  return tensor(visible, [length, length], 'bool');
}

/**
 * Logits of every place from those an autoregressive model gives one place before: `y_i = x_(i - 1)`, and `y_0 = x_0`,
 * since nothing tells of the first token. Losses and samplers do the same with `shift: true`.
 *
 * @param logits `[B, T, V]`, differentiable
 * @see Gong et al., "Scaling Diffusion Language Models via Adaptation from Autoregressive Models", section 3.3
 * @see Ye et al., "Dream 7B: Diffusion Large Language Models", section 3.1
 */
export function shiftLogits(logits: Tensor): Tensor {
  const { shape } = logits;
  const [B, T, V] = shape;
  const source = (t: number) => Math.max(t - 1, 0);
  return customGrad((x) => {
    const values = (x as Tensor).dataSync();
    const output = new Float32Array(values.length);
    for (let b = 0; b < B; b++) {
      for (let t = 0; t < T!; t++) {
        const from = (b * T! + source(t)) * V!;
        output.set(values.subarray(from, from + V!), (b * T! + t) * V!);
      }
    }
    const gradFunc = (dy: Tensor) => {
      const weights = dy.dataSync();
      const gradient = new Float32Array(values.length);
      for (let b = 0; b < B; b++) {
        for (let t = 0; t < T!; t++) {
          const [from, to] = [(b * T! + t) * V!, (b * T! + source(t)) * V!];
          for (let v = 0; v < V!; v++) gradient[to + v] += weights[from + v];
        }
      }
      return tensor(gradient, shape);
    };
    return { value: tensor(output, shape), gradFunc };
  })(logits);
}
