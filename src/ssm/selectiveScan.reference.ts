import type { NdArray } from '../op/define';
import {
  gradientNames,
  type SelectiveScanAttrs,
  type SelectiveScanInput,
  sizesOf,
} from './selectiveScan.attrs';
import { sigmoid, silu, siluSlope, softplus } from './silu.reference';

type Inputs = { [name in SelectiveScanInput | 'kept' | 'dOutput' | 'dLast' | 'dLastIm']?: NdArray };

/** A number, complex or not, at an index of the array of real parts and that of imaginary parts. */
function complexAt(re: NdArray | undefined, im: NdArray | undefined, i: number): readonly [number, number] {
  return [re?.data[i] ?? 0, im?.data[i] ?? 0];
}

/** What one channel d of one batch entry b sees of the inputs. */
function channelOf(inputs: Inputs, attrs: SelectiveScanAttrs, b: number, d: number) {
  const { u, delta, D, z, deltaBias } = inputs;
  const { T, Dm, N, G, constantB, constantC } = sizesOf(shapesOf(inputs), attrs);
  const group = Math.floor(d / (Dm / G));
  const matrix = (n: number) => d * N + n;
  const token = (t: number, n: number) => ((b * T + t) * G + group) * N + n;
  const state = (n: number) => (b * Dm + d) * N + n;
  const at = (t: number) => (b * T + t) * Dm + d;
  const indexB = (t: number, n: number) => (constantB ? matrix(n) : token(t, n));
  const indexC = (t: number, n: number) => (constantC ? matrix(n) : token(t, n));
  const before = (t: number) => delta!.data[at(t)] + (deltaBias?.data[d] ?? 0);
  return {
    at,
    matrix,
    indexB,
    indexC,
    state,
    before,
    step: (t: number) => (attrs.softplus ? softplus(before(t)) : before(t)),
    u: (t: number) => u!.data[at(t)],
    z: (t: number) => (z ? z.data[at(t)] : undefined),
    D: D?.data[d] ?? 0,
    A: (n: number) => complexAt(inputs.A, inputs.AIm, matrix(n)),
    B: (t: number, n: number) => complexAt(inputs.B, inputs.BIm, indexB(t, n)),
    C: (t: number, n: number) => complexAt(inputs.C, inputs.CIm, indexC(t, n)),
    initial: (n: number) => complexAt(inputs.initialState, inputs.initialStateIm, state(n)),
  };
}

function shapesOf(inputs: Inputs) {
  return Object.fromEntries(Object.entries(inputs).map(([name, array]) => [name, array?.shape]));
}

type Channel = ReturnType<typeof channelOf>;

/** exp(step A) */
function decayOf(channel: Channel, step: number, n: number): readonly [number, number] {
  const [re, im] = channel.A(n);
  const size = Math.exp(step * re);
  return [size * Math.cos(step * im), size * Math.sin(step * im)];
}

/** The states h_0 = initial to h_T of a channel, [T + 1, N, 2], and y_t = C_t . h_t (twice its real part if complex) + D u_t. */
function scan(channel: Channel, T: number, N: number, factor: number) {
  const h = new Float64Array((T + 1) * N * 2);
  const y = new Float64Array(T);
  for (let n = 0; n < N; n++) h.set(channel.initial(n), 2 * n);
  for (let t = 0; t < T; t++) {
    const step = channel.step(t);
    const x = step * channel.u(t);
    y[t] = channel.D * channel.u(t);
    for (let n = 0; n < N; n++) {
      const i = 2 * (t * N + n);
      const next = i + 2 * N;
      const [aRe, aIm] = decayOf(channel, step, n);
      const [bRe, bIm] = channel.B(t, n);
      const [cRe, cIm] = channel.C(t, n);
      h[next] = aRe * h[i] - aIm * h[i + 1] + x * bRe;
      h[next + 1] = aRe * h[i + 1] + aIm * h[i] + x * bIm;
      y[t] += factor * (cRe * h[next] - cIm * h[next + 1]);
    }
  }
  return { h, y };
}

/** h_t = exp(delta_t A) h_(t-1) + delta_t u_t B_t, y_t = C_t . h_t + D u_t, o_t = y_t silu(z_t), channel by channel. */
export function selectiveScanReference(inputs: Inputs, attrs: SelectiveScanAttrs): Float64Array[] {
  const { B, T, Dm, N, complex, checkpoints } = sizesOf(shapesOf(inputs), attrs);
  const output = new Float64Array(B * T * Dm);
  const last = [0, 1].map(() => new Float64Array(attrs.lastState ? B * Dm * N : 0));
  for (let b = 0; b < B; b++) {
    for (let d = 0; d < Dm; d++) {
      const channel = channelOf(inputs, attrs, b, d);
      const { h, y } = scan(channel, T, N, complex ? 2 : 1);
      for (let t = 0; t < T; t++) {
        const gate = channel.z(t);
        output[channel.at(t)] = gate === undefined ? y[t] : y[t] * silu(gate);
      }
      for (let n = 0; n < N && attrs.lastState; n++) {
        for (let part = 0; part < 2; part++) last[part][channel.state(n)] = h[2 * (T * N + n) + part];
      }
    }
  }
  return [output, new Float64Array(checkpoints), last[0], complex ? last[1] : new Float64Array(0)];
}

/**
 * With g_t the gradient in h_t, g_t = dy_t conj(C_t) + conj(a_(t+1)) g_(t+1): dC_t = dy_t conj(h_t), dB_t = g_t x_t,
 * dx_t = g_t . B_t, d(delta_t A) = g_t conj(a_t h_(t-1)).
 */
export function selectiveScanBackwardReference(inputs: Inputs, attrs: SelectiveScanAttrs): Float64Array[] {
  const { dOutput, dLast, dLastIm, kept: _kept, ...forward } = inputs;
  const { B, T, Dm, N, complex } = sizesOf(shapesOf(forward), attrs);
  const names = gradientNames(forward);
  const gradients = names.map((name) => new Float64Array(inputs[name]!.data.length));
  const add = (name: SelectiveScanInput, i: number, value: number) => {
    const gradient = gradients[names.indexOf(name)];
    if (gradient !== undefined) gradient[i] += value;
  };
  const addComplex = (name: 'A' | 'B' | 'C' | 'initialState', i: number, re: number, im: number) => {
    add(name, i, re);
    add(`${name}Im`, i, im);
  };
  const factor = complex ? 2 : 1;
  for (let b = 0; b < B; b++) {
    for (let d = 0; d < Dm; d++) {
      const channel = channelOf(inputs, attrs, b, d);
      const { h, y } = scan(channel, T, N, factor);
      const g = new Float64Array(2 * N);
      for (let n = 0; n < N && attrs.lastState; n++)
        g.set(complexAt(dLast, dLastIm, channel.state(n)), 2 * n);
      for (let t = T - 1; t >= 0; t--) {
        const at = channel.at(t);
        const gate = channel.z(t);
        const dout = dOutput!.data[at];
        const dy = gate === undefined ? dout : dout * silu(gate);
        if (gate !== undefined) add('z', at, dout * y[t] * siluSlope(gate));
        const step = channel.step(t);
        const x = step * channel.u(t);
        let dx = 0;
        let dstep = 0;
        for (let n = 0; n < N; n++) {
          const before = 2 * (t * N + n);
          const after = before + 2 * N;
          const [cRe, cIm] = channel.C(t, n);
          const [bRe, bIm] = channel.B(t, n);
          const [ARe, AIm] = channel.A(n);
          const [aRe, aIm] = decayOf(channel, step, n);
          const gRe = g[2 * n] + factor * dy * cRe;
          const gIm = g[2 * n + 1] - factor * dy * cIm;
          addComplex('C', channel.indexC(t, n), factor * dy * h[after], -factor * dy * h[after + 1]);
          addComplex('B', channel.indexB(t, n), gRe * x, gIm * x);
          dx += gRe * bRe + gIm * bIm;
          g[2 * n] = aRe * gRe + aIm * gIm;
          g[2 * n + 1] = aRe * gIm - aIm * gRe;
          const qRe = g[2 * n] * h[before] + g[2 * n + 1] * h[before + 1];
          const qIm = g[2 * n + 1] * h[before] - g[2 * n] * h[before + 1];
          addComplex('A', channel.matrix(n), step * qRe, step * qIm);
          dstep += qRe * ARe + qIm * AIm;
        }
        dstep += dx * channel.u(t);
        const ddelta = attrs.softplus ? dstep * sigmoid(channel.before(t)) : dstep;
        add('u', at, dx * step + channel.D * dy);
        add('delta', at, ddelta);
        add('deltaBias', d, ddelta);
        add('D', d, dy * channel.u(t));
      }
      for (let n = 0; n < N; n++) addComplex('initialState', channel.state(n), g[2 * n], g[2 * n + 1]);
    }
  }
  return gradients;
}
