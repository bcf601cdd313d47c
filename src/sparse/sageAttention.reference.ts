import type { NdArray } from '../op/define';
import { roundHalfEven } from './int8Attention.reference';
import type { SageAttrs } from './sageAttention';

type Inputs = { readonly [name in 'q' | 'k' | 'v']?: NdArray };

/** Means over tokens [B, H, D]. */
function meansOf({ data, shape: [B, T, H, D] }: NdArray): Float64Array {
  const means = new Float64Array(B * H * D);
  for (let i = 0; i < data.length; i++)
    means[Math.floor(i / (T * H * D)) * H * D + (i % (H * D))] += data[i] / T;
  return means;
}

/** x to the nearest of 255 steps of max |x| / 127 of its block of tokens and head. */
function quantized({ data, shape: [B, T, H, D] }: NdArray, blockSize: number): Float64Array {
  const result = new Float64Array(data.length);
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      for (let first = 0; first < T; first += blockSize) {
        const rows = Array.from(
          { length: Math.min(blockSize, T - first) },
          (_, t) => ((b * T + first + t) * H + h) * D,
        );
        let step = 0;
        for (const row of rows) {
          for (let d = row; d < row + D; d++) step = Math.max(step, Math.abs(data[d]) / 127);
        }
        if (step === 0) continue;
        for (const row of rows) {
          for (let d = row; d < row + D; d++) result[d] = step * roundHalfEven(data[d] / step);
        }
      }
    }
  }
  return result;
}

/** Softmax attention of quantised queries over quantised keys; output and lse. */
export function sageAttentionReference(
  { q, k, v }: Inputs,
  { isCausal, scale, smoothK, blockSize }: SageAttrs,
): [Float64Array, Float64Array] {
  const [B, Tq, Hq, D] = q!.shape;
  const [, Tk, Hkv] = k!.shape;
  const Dv = v!.shape[3];
  const means = smoothK ? meansOf(k!) : new Float64Array(B * Hkv * D);
  const at = (i: number) => Math.floor(i / (Tk * Hkv * D)) * Hkv * D + (i % (Hkv * D));
  const Q = quantized(q!, blockSize);
  const K = quantized({ ...k!, data: k!.data.map((x, i) => x - means[at(i)]) }, blockSize);
  const output = new Float64Array(B * Tq * Hq * Dv);
  const lse = new Float64Array(B * Tq * Hq);
  for (let row = 0; row < lse.length; row++) {
    const [h, i, b] = [row % Hq, Math.floor(row / Hq) % Tq, Math.floor(row / (Hq * Tq))];
    const kv = Math.floor(h / (Hq / Hkv));
    const end = isCausal ? Math.max(0, Math.min(Tk, Tk - Tq + i + 1)) : Tk;
    const scores = Array.from({ length: end }, (_, j) => {
      let score = 0;
      for (let d = 0; d < D; d++) score += Q[row * D + d] * K[((b * Tk + j) * Hkv + kv) * D + d];
      return scale * score;
    });
    const max = Math.max(...scores);
    const sum = scores.reduce((total, score) => total + Math.exp(score - max), 0);
    lse[row] = end === 0 ? -Infinity : max + Math.log(sum);
    for (let d = 0; d < D; d++) lse[row] += scale * q!.data[row * D + d] * means[(b * Hkv + kv) * D + d];
    scores.forEach((score, j) => {
      const p = Math.exp(score - max) / sum;
      for (let d = 0; d < Dv; d++) output[row * Dv + d] += p * v!.data[((b * Tk + j) * Hkv + kv) * Dv + d];
    });
  }
  return [output, lse];
}
