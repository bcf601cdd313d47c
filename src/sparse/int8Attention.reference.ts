import type { NdArray } from '../op/define';
import type { Int8Attrs } from './int8Attention';

type Inputs = { readonly [name in 'q' | 'keys' | 'keyScales' | 'values' | 'valueScales']?: NdArray };

export function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  return x - floor === 0.5 ? floor + (floor & 1) : Math.round(x);
}

/** Four int8 to an int32, the first in its low byte; scale = max |x| / 127. */
export function quantizeReference({ data, shape }: NdArray, words: number): [Int32Array, Float64Array] {
  const D = shape.at(-1)!;
  const rows = D === 0 ? 0 : data.length / D;
  const bytes = new Int8Array(rows * words * 4);
  const scales = new Float64Array(rows);
  for (let row = 0; row < rows; row++) {
    for (let d = 0; d < D; d++) scales[row] = Math.max(scales[row], Math.abs(data[row * D + d]) / 127);
    for (let d = 0; d < D && scales[row] > 0; d++) {
      bytes[row * words * 4 + d] = roundHalfEven(data[row * D + d] / scales[row]);
    }
  }
  return [new Int32Array(bytes.buffer), scales];
}

/** Byte d of a row of words. */
function byteOf(x: NdArray, row: number, d: number): number {
  return (x.data[row * x.shape[3] + (d >> 2)] << (24 - 8 * (d & 3))) >> 24;
}

/** Softmax attention over the keys [lo, hi) of each query, x = scale * int8. */
export function int8AttentionReference(x: Inputs, { scale, Dv, ranges }: Int8Attrs): Float64Array {
  const [B, Tq, Hq, D] = x.q!.shape;
  const [, Tk, Hkv] = x.keys!.shape;
  const output = new Float64Array(B * Tq * Hq * Dv);
  for (let b = 0; b < B; b++) {
    for (let i = 0; i < Tq; i++) {
      const [lo, hi] = ranges.subarray(2 * i);
      for (let h = 0; h < Hq; h++) {
        const row = (b * Tq + i) * Hq + h;
        const keyRows = Array.from(
          { length: Math.max(hi - lo, 0) },
          (_, j) => (b * Tk + lo + j) * Hkv + Math.floor(h / (Hq / Hkv)),
        );
        const scores = keyRows.map((key) => {
          let score = 0;
          for (let d = 0; d < D; d++) score += x.q!.data[row * D + d] * byteOf(x.keys!, key, d);
          return scale * score * x.keyScales!.data[key];
        });
        const max = Math.max(...scores);
        const sum = scores.reduce((total, score) => total + Math.exp(score - max), 0);
        keyRows.forEach((key, n) => {
          const p = (Math.exp(scores[n] - max) / sum) * x.valueScales!.data[key];
          for (let d = 0; d < Dv; d++) output[row * Dv + d] += p * byteOf(x.values!, key, d);
        });
      }
    }
  }
  return output;
}
