import type { NdArray } from '../op/define';
import type { RopeAttrs } from './rope';

/** Pair i of the row at position p turns by p * frequencies[i], backwards when `inverse`, and grows by attentionScaling. */
export function ropeReference({ x }: { x?: NdArray }, attrs: RopeAttrs): [y: Float64Array] {
  const { positions, frequencies, interleaved, attentionScaling, inverse } = attrs;
  const { data, shape } = x!;
  const [B, T, H, D] = shape;
  const F = frequencies.length;
  const y = Float64Array.from(data);
  for (let row = 0; row < B * T; row++) {
    const position = positions[row % positions.length];
    for (let h = 0; h < H; h++) {
      const at = (row * H + h) * D;
      for (let i = 0; i < F; i++) {
        const angle = position * frequencies[i] * (inverse ? -1 : 1);
        const [cos, sin] = [attentionScaling * Math.cos(angle), attentionScaling * Math.sin(angle)];
        const first = at + (interleaved ? 2 * i : i);
        const second = at + (interleaved ? 2 * i + 1 : i + F);
        y[first] = data[first] * cos - data[second] * sin;
        y[second] = data[second] * cos + data[first] * sin;
      }
    }
  }
  return [y];
}
