import type { NdArray } from '../op/define';
import { conj, mode, modeGradient, type Pair, plus, power, scaled, times } from './modes';
import type { S4dAttrs } from './s4dKernel';

export interface S4dInputs<T> {
  logDt?: T;
  logAReal?: T;
  aImag?: T;
  cRe?: T;
  cIm?: T;
}
type Arrays = S4dInputs<{ data: ArrayLike<number> }>;

/** Mode `at` of channel `h`: A, C, the step, z and w = C f. */
export function s4dMode(
  { logDt, logAReal, aImag, cRe, cIm }: Arrays,
  { rule }: S4dAttrs,
  h: number,
  at: number,
) {
  const A: Pair = [-Math.exp(logAReal!.data[at]), aImag!.data[at]];
  const C: Pair = [cRe!.data[at], cIm!.data[at]];
  const step = Math.exp(logDt!.data[h]);
  const { z, f } = mode(A, step, rule);
  return { A, C, step, z, f, w: times(C, f) };
}

/**
 * The gradients of the inputs, in their order, from the sums over t of dK_t z^t and of dK_t t z^(t - 1) of each
 * mode: dw = 2 conj(S0), dz = 2 conj(w S1).
 */
export function s4dGradients(
  inputs: Arrays,
  attrs: S4dAttrs,
  [H, N]: readonly [number, number],
  sums: (at: number) => readonly [S0: Pair, S1: Pair],
): Float64Array[] {
  const gradients = [H, H * N, H * N, H * N, H * N].map((size) => new Float64Array(size));
  const [dLogDt, dLogAReal, dAImag, dCRe, dCIm] = gradients;
  for (let at = 0; at < H * N; at++) {
    const h = Math.floor(at / N);
    const { A, C, step, f, w } = s4dMode(inputs, attrs, h, at);
    const [s0, s1] = sums(at);
    const dw = scaled(conj(s0), 2);
    const dz = scaled(conj(times(w, s1)), 2);
    const { dA, dStep } = modeGradient(A, step, attrs.rule, dz, times(conj(C), dw));
    const dC = times(conj(f), dw);
    dLogDt[h] += step * dStep;
    dLogAReal[at] = A[0] * dA[0];
    dAImag[at] = dA[1];
    dCRe[at] = dC[0];
    dCIm[at] = dC[1];
  }
  return gradients;
}

/** z^t for t >= 0 */
function raised([re, im]: Pair, t: number): Pair {
  return t === 0 ? [1, 0] : power([t * Math.log(Math.hypot(re, im)), t * Math.atan2(im, re)]);
}

/** K_t = 2 Re sum over n of w_n z_n^t. */
export function s4dKernelReference(inputs: S4dInputs<NdArray>, attrs: S4dAttrs): [K: Float64Array] {
  const [H, N] = inputs.aImag!.shape;
  const { length } = attrs;
  const K = new Float64Array(H * length);
  for (let at = 0; at < H * N; at++) {
    const h = Math.floor(at / N);
    const { z, w } = s4dMode(inputs, attrs, h, at);
    for (let t = 0; t < length; t++) K[h * length + t] += 2 * times(w, raised(z, t))[0];
  }
  return [K];
}

export function s4dKernelBackwardReference(
  inputs: S4dInputs<NdArray> & { dK?: NdArray },
  attrs: S4dAttrs,
): Float64Array[] {
  const [H, N] = inputs.aImag!.shape as [number, number];
  const { length } = attrs;
  return s4dGradients(inputs, attrs, [H, N], (at) => {
    const h = Math.floor(at / N);
    const { z } = s4dMode(inputs, attrs, h, at);
    let [s0, s1]: [Pair, Pair] = [
      [0, 0],
      [0, 0],
    ];
    for (let t = 0; t < length; t++) {
      const dK = inputs.dK!.data[h * length + t];
      s0 = plus(s0, scaled(raised(z, t), dK));
      if (t > 0) s1 = plus(s1, scaled(raised(z, t - 1), t * dK));
    }
    return [s0, s1];
  });
}
