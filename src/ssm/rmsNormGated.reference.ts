import type { NdArray } from '../op/define';
import type { RmsNormGatedAttrs } from './rmsNormGated';
import { silu, siluSlope } from './silu.reference';

interface Inputs {
  x?: NdArray;
  weight?: NdArray;
  z?: NdArray;
  dy?: NdArray;
}

/** The values v that are normalised, and their groups' 1 / rms(v). */
function normalised({ x, z }: Inputs, { eps, group, normFirst }: RmsNormGatedAttrs) {
  const v = x!.data.map((value, i) => (z && !normFirst ? value * silu(z.data[i]) : value));
  const rstd = Array.from({ length: v.length / group }, (_, g) => {
    const squares = v.subarray(g * group, (g + 1) * group).reduce((sum, value) => sum + value ** 2, 0);
    return 1 / Math.sqrt(squares / group + eps);
  });
  return { v, rstd };
}

/** y = v / rms(v) * weight, times silu(z) where the norm comes first. */
export function rmsNormGatedReference(inputs: Inputs, attrs: RmsNormGatedAttrs): [y: Float64Array] {
  const { x, weight, z } = inputs;
  const D = x!.shape.at(-1)!;
  const { v, rstd } = normalised(inputs, attrs);
  const gate = (i: number) => (z && attrs.normFirst ? silu(z.data[i]) : 1);
  return [
    v.map((value, i) => value * rstd[Math.floor(i / attrs.group)] * (weight?.data[i % D] ?? 1) * gate(i)),
  ];
}

/** With n = v / rms(v) and g its gradient: dv = (g - n mean(g n)) / rms(v). */
export function rmsNormGatedBackwardReference(inputs: Inputs, attrs: RmsNormGatedAttrs): Float64Array[] {
  const { x, weight, z, dy } = inputs;
  const { group, normFirst } = attrs;
  const D = x!.shape.at(-1)!;
  const { v, rstd } = normalised(inputs, attrs);
  const dx = new Float64Array(v.length);
  const dweight = new Float64Array(weight ? D : 0);
  const dz = new Float64Array(z ? v.length : 0);
  for (let first = 0; first < v.length; first += group) {
    const scale = rstd[first / group];
    let mean = 0;
    const g = (i: number) =>
      dy!.data[i] * (weight?.data[i % D] ?? 1) * (z && normFirst ? silu(z.data[i]) : 1);
    for (let i = first; i < first + group; i++) mean += (g(i) * v[i] * scale) / group;
    for (let i = first; i < first + group; i++) {
      const n = v[i] * scale;
      const dv = scale * (g(i) - n * mean);
      if (weight) dweight[i % D] += dy!.data[i] * n * (z && normFirst ? silu(z.data[i]) : 1);
      dx[i] = dv;
      if (!z) continue;
      const slope = siluSlope(z.data[i]);
      if (normFirst) {
        dz[i] = dy!.data[i] * n * (weight?.data[i % D] ?? 1) * slope;
      } else {
        dx[i] = dv * silu(z.data[i]);
        dz[i] = dv * x!.data[i] * slope;
      }
    }
  }
  return [dx, dweight, dz];
}
