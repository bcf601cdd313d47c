import type { NdArray } from '../op/define';
import { sigmoid, silu, siluSlope, softplus } from './silu.reference';
import type { StepAttrs } from './ssdParts';

type Inputs<I extends string> = { readonly [name in I]?: NdArray };
type StepInputs = Inputs<'dt' | 'A' | 'dtBias' | 'dSteps' | 'dg'>;
type OutputInputs = Inputs<'y' | 'x' | 'D' | 'z' | 'dOutput'>;

function stepOf({ dt, dtBias }: StepInputs, { softplus: isSoftplus, low, high }: StepAttrs, i: number) {
  const raw = dt!.data[i] + (dtBias?.data[i % dtBias.data.length] ?? 0);
  const free = isSoftplus ? softplus(raw) : raw;
  return { raw, step: Math.min(Math.max(free, low), high), isFree: free >= low && free <= high };
}

/** The step sizes after bias, softplus and limits, and g = step A. */
export function ssdStepsReference(inputs: StepInputs, attrs: StepAttrs): Float64Array[] {
  const { dt, A } = inputs;
  const H = A!.data.length;
  const steps = dt!.data.map((_, i) => stepOf(inputs, attrs, i).step);
  return [steps, steps.map((step, i) => step * A!.data[i % H])];
}

/** dA = dg step summed, and in dt dSteps + dg A, through the limits and softplus. */
export function ssdStepsBackwardReference(inputs: StepInputs, attrs: StepAttrs): Float64Array[] {
  const { dt, A, dtBias, dSteps, dg } = inputs;
  const H = A!.data.length;
  const dA = new Float64Array(H);
  const dbias = new Float64Array(dtBias ? H : 0);
  const ddt = dt!.data.map((_, i) => {
    const { raw, step, isFree } = stepOf(inputs, attrs, i);
    dA[i % H] += dg!.data[i] * step;
    const slope = isFree ? (attrs.softplus ? sigmoid(raw) : 1) : 0;
    const gradient = slope * (dSteps!.data[i] + dg!.data[i] * A!.data[i % H]);
    if (dtBias) dbias[i % H] += gradient;
    return gradient;
  });
  return [ddt, dA, dbias];
}

/** The index in D [H] or [H, P] of element i of [rows, H, P]. */
function skipIndex({ y, D }: OutputInputs) {
  const [, , H, P] = y!.shape;
  return (i: number) => (D?.shape.length === 2 ? i % (H * P) : Math.floor(i / P) % H);
}

/** (y + D x) silu(z) */
export function ssdOutputsReference(inputs: OutputInputs): Float64Array[] {
  const { y, x, D, z } = inputs;
  const skip = skipIndex(inputs);
  return [
    y!.data.map((value, i) => (value + (D ? D.data[skip(i)] * x!.data[i] : 0)) * (z ? silu(z.data[i]) : 1)),
  ];
}

/** dy = dout silu(z), dx = D dy, dD = dy x summed, dz = dout (y + D x) silu'(z). */
export function ssdOutputsBackwardReference(inputs: OutputInputs): Float64Array[] {
  const { y, x, D, z, dOutput } = inputs;
  const skip = skipIndex(inputs);
  const dy = dOutput!.data.map((value, i) => value * (z ? silu(z.data[i]) : 1));
  const dx = new Float64Array(x ? x.data.length : 0);
  const dD = new Float64Array(D ? D.data.length : 0);
  const dz = new Float64Array(z ? z.data.length : 0);
  for (let i = 0; i < dy.length; i++) {
    if (D) {
      dx[i] = D.data[skip(i)] * dy[i];
      dD[skip(i)] += dy[i] * x!.data[i];
    }
    if (z) {
      const before = y!.data[i] + (D ? D.data[skip(i)] * x!.data[i] : 0);
      dz[i] = dOutput!.data[i] * before * siluSlope(z.data[i]);
    }
  }
  return [dy, dx, dD, dz];
}

type TokenInputs = StepInputs & Inputs<'x' | 'B' | 'C' | 'D' | 'z' | 'initialState'>;

/** S = exp(dt A) S_0 + dt x B^T, [P, N] for each head of one token, and (S C + D x) silu(z). */
export function ssdStepReference(inputs: TokenInputs, attrs: StepAttrs): Float64Array[] {
  const { x, A, B, C, initialState } = inputs;
  const [, , H, P] = x!.shape;
  const [, , G, N] = B!.shape;
  const y = new Float64Array(x!.data.length);
  const state = new Float64Array(y.length * N);
  for (let row = 0; row < y.length; row++) {
    const item = Math.floor(row / P);
    const [batch, h] = [Math.floor(item / H), item % H];
    const shared = (batch * G + Math.floor(h / (H / G))) * N;
    const { step } = stepOf(inputs, attrs, item);
    for (let n = 0; n < N; n++) {
      const before = initialState?.data[row * N + n] ?? 0;
      const next = Math.exp(step * A!.data[h]) * before + step * x!.data[row] * B!.data[shared + n];
      state[row * N + n] = next;
      y[row] += next * C!.data[shared + n];
    }
  }
  const [output] = ssdOutputsReference({ ...inputs, y: { data: y, shape: x!.shape } });
  return [output, state];
}

/** The last two axes exchanged. */
export function transposeReference({ x }: Inputs<'x'>): Float64Array[] {
  const [rows, columns] = x!.shape.slice(-2);
  const size = rows * columns;
  const y = new Float64Array(x!.data.length);
  x!.data.forEach((value, i) => {
    const [r, c] = [Math.floor((i % size) / columns), i % columns];
    y[i - (i % size) + c * rows + r] = value;
  });
  return [y];
}
