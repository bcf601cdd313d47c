import type { NdArray } from '../op/define';
import { type CausalConv1dAttrs, convSizes } from './causalConv1d';
import { silu, siluSlope } from './silu.reference';

interface Inputs {
  x?: NdArray;
  weight?: NdArray;
  bias?: NdArray;
  initialState?: NdArray;
  dOutput?: NdArray;
  dFinal?: NdArray;
}

/** Where the source of tap k of token t lies: in x, in the state before it (as -1 - index), or nowhere. */
function sources({ x, weight, initialState }: Inputs, { sequences }: CausalConv1dAttrs) {
  const { T, D, W } = convSizes(x!.shape, weight!.shape);
  const sequence = (b: number, t: number) => sequences?.[b * T + t] ?? 0;
  return (b: number, t: number, d: number, k: number): number | undefined => {
    const s = t - W + 1 + k;
    if (s < 0) return initialState ? -1 - ((b * D + d) * (W - 1) + s + W - 1) : undefined;
    return sequence(b, t) >= 0 && sequence(b, s) === sequence(b, t) ? (b * T + s) * D + d : undefined;
  };
}

/** bias + sum over k of weight_k x_(t - W + 1 + k), before the activation; undefined where a token takes no part. */
function preActivation(inputs: Inputs, attrs: CausalConv1dAttrs) {
  const { x, weight, bias, initialState } = inputs;
  const { T, W } = convSizes(x!.shape, weight!.shape);
  const source = sources(inputs, attrs);
  return (b: number, t: number, d: number): number | undefined => {
    if ((attrs.sequences?.[b * T + t] ?? 0) < 0) return undefined;
    let sum = bias?.data[d] ?? 0;
    for (let k = 0; k < W; k++) {
      const from = source(b, t, d, k);
      if (from !== undefined)
        sum += weight!.data[d * W + k] * (from < 0 ? initialState!.data[-1 - from] : x!.data[from]);
    }
    return sum;
  };
}

/** Column j of the final state is column T + j of the state followed by x. */
function finalSource({ x, weight }: Inputs, b: number, d: number, j: number): number {
  const { T, D, W } = convSizes(x!.shape, weight!.shape);
  const t = T - W + 1 + j;
  return t < 0 ? -1 - ((b * D + d) * (W - 1) + t + W - 1) : (b * T + t) * D + d;
}

/** y_t = activation(bias + sum over k of weight_k x_(t - W + 1 + k)), and the last W - 1 tokens. */
export function causalConv1dReference(inputs: Inputs, attrs: CausalConv1dAttrs): Float64Array[] {
  const { x, weight, initialState } = inputs;
  const { B, T, D, W } = convSizes(x!.shape, weight!.shape);
  const before = preActivation(inputs, attrs);
  const output = new Float64Array(x!.data.length);
  const final = new Float64Array(B * D * (W - 1));
  for (let b = 0; b < B; b++) {
    for (let d = 0; d < D; d++) {
      for (let t = 0; t < T; t++) {
        const value = before(b, t, d) ?? 0;
        output[(b * T + t) * D + d] = attrs.silu ? silu(value) : value;
      }
      for (let j = 0; j < W - 1; j++) {
        const from = finalSource(inputs, b, d, j);
        final[(b * D + d) * (W - 1) + j] = from < 0 ? (initialState?.data[-1 - from] ?? 0) : x!.data[from];
      }
    }
  }
  return attrs.finalState ? [output, final] : [output];
}

/** With g the gradient before the activation: each tap adds g_t weight_k to its source's and g_t times the source to its own. */
export function causalConv1dBackwardReference(inputs: Inputs, attrs: CausalConv1dAttrs): Float64Array[] {
  const { x, weight, bias, initialState, dOutput, dFinal } = inputs;
  const { B, T, D, W } = convSizes(x!.shape, weight!.shape);
  const before = preActivation(inputs, attrs);
  const source = sources(inputs, attrs);
  const dx = new Float64Array(x!.data.length);
  const dweight = new Float64Array(weight!.data.length);
  const dbias = new Float64Array(bias ? D : 0);
  const dstate = new Float64Array(initialState ? initialState.data.length : 0);
  for (let b = 0; b < B; b++) {
    for (let d = 0; d < D; d++) {
      for (let t = 0; t < T; t++) {
        const value = before(b, t, d);
        if (value === undefined) continue;
        const g = dOutput!.data[(b * T + t) * D + d] * (attrs.silu ? siluSlope(value) : 1);
        if (bias) dbias[d] += g;
        for (let k = 0; k < W; k++) {
          const from = source(b, t, d, k);
          if (from === undefined) continue;
          if (from < 0) {
            dweight[d * W + k] += g * initialState!.data[-1 - from];
            dstate[-1 - from] += g * weight!.data[d * W + k];
          } else {
            dweight[d * W + k] += g * x!.data[from];
            dx[from] += g * weight!.data[d * W + k];
          }
        }
      }
      for (let j = 0; attrs.finalState && j < W - 1; j++) {
        const from = finalSource(inputs, b, d, j);
        const value = dFinal!.data[(b * D + d) * (W - 1) + j];
        if (from >= 0) dx[from] += value;
        else if (initialState) dstate[-1 - from] += value;
      }
    }
  }
  return [dx, dweight, dbias, dstate];
}
