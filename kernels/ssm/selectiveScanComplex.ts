import { exp } from '../core/exp';
import { softplus } from '../core/log';
import { sigmoid, silu, siluSlope } from '../core/silu';
import { cos, sin } from '../core/trig';
import { BLOCK, SPACING } from './selectiveScan';

// The scan of selectiveScan.ts with complex A, B, C and states, y_t = 2 Re(C_t . h_t) + D u_t, one number at a time.
// States are pairs of doubles. Inputs are given by their real and imaginary parts.

const PAIR: usize = 16;

// @ts-ignore: decorator
@inline
function at(p: usize, i: i32): f32 {
  return load<f32>(p + (<usize>i << 2));
}

// @ts-ignore: decorator
@inline
function put(p: usize, i: i32, x: f64): void {
  store<f32>(p + (<usize>i << 2), <f32>x);
}

// @ts-ignore: decorator
@inline
function add(p: usize, i: i32, x: f64): void {
  put(p, i, at(p, i) + x);
}

// @ts-ignore: decorator
@inline
function stepOf(delta: f32, isSoftplus: i32): f32 {
  return isSoftplus ? f32x4.extract_lane(softplus(f32x4.splat(delta)), 0) : delta;
}

/**
 * Tokens [t, t + tokens) of one channel: from the state h [N] the next one, each `stride` bytes after the one before, and
 * y [tokens] in doubles. The channel's decays go to `decays` [tokens, N]. Strides rowB, rowC of tokens are in numbers.
 */
function scanChannel(
  u: usize, delta: usize, bias: f32, isSoftplus: i32, D: f32, Dm: i32, ARe: usize, AIm: usize, BRe: usize, BIm: usize, rowB: i32,
  CRe: usize, CIm: usize, rowC: i32, h: usize, stride: usize, decays: usize, decayStride: usize, y: usize, tokens: i32, N: i32,
): void {
  for (let t = 0; t < tokens; t++) {
    const vu = at(u, t * Dm), dt = stepOf(at(delta, t * Dm) + bias, isSoftplus);
    const x = <f64>dt * vu;
    let sum: f64 = 0;
    for (let n = 0; n < N; n++) {
      const p = <usize>n * PAIR;
      const size: f64 = f32x4.extract_lane(exp(f32x4.splat(dt * at(ARe, n))), 0), angle = <f64>dt * at(AIm, n);
      const aRe = size * cos(angle), aIm = size * sin(angle);
      store<f64>(decays + p, aRe); store<f64>(decays + p, aIm, 8);
      const hRe = load<f64>(h + p), hIm = load<f64>(h + p, 8);
      const nRe = aRe * hRe - aIm * hIm + x * at(BRe, t * rowB + n), nIm = aRe * hIm + aIm * hRe + x * at(BIm, t * rowB + n);
      store<f64>(h + stride + p, nRe); store<f64>(h + stride + p, nIm, 8);
      sum += nRe * at(CRe, t * rowC + n) - nIm * at(CIm, t * rowC + n);
    }
    store<f64>(y + (<usize>t << 3), 2 * sum + <f64>D * vu);
    h += stride; decays += decayStride;
  }
}

/** Items [begin, end) of batch and channel. `work` holds a state, the decays of a token and y [64]. */
export function selectiveScanComplex(
  u: usize, delta: usize, z: usize, ARe: usize, AIm: usize, BRe: usize, BIm: usize, CRe: usize, CIm: usize, D: usize, bias: usize,
  initialRe: usize, initialIm: usize, out: usize, lastRe: usize, lastIm: usize, work: usize,
  T: i32, Dm: i32, N: i32, G: i32, constantB: i32, constantC: i32, isSoftplus: i32, begin: i32, end: i32,
): void {
  const decays = work + <usize>N * PAIR, y = decays + <usize>N * PAIR;
  for (let item = begin; item < end; item++) {
    const batch = item / Dm, d = item % Dm, group = d / (Dm / G);
    const matrix = <usize>(d * N) << 2, state = <usize>(item * N) << 2;
    for (let n = 0; n < N; n++) {
      const p = work + <usize>n * PAIR;
      store<f64>(p, initialRe ? at(initialRe + state, n) : 0);
      store<f64>(p, initialIm ? at(initialIm + state, n) : 0, 8);
    }
    for (let t = 0; t < T; t += SPACING) {
      const tokens = min(SPACING, T - t), row = <usize>((batch * T + t) * Dm + d) << 2;
      const token = <usize>(((batch * T + t) * G + group) * N) << 2;
      const atB = constantB ? matrix : token, atC = constantC ? matrix : token;
      scanChannel(
        u + row, delta + row, bias ? at(bias, d) : 0, isSoftplus, D ? at(D, d) : 0, Dm, ARe + matrix, AIm + matrix,
        BRe + atB, BIm + atB, constantB ? 0 : G * N, CRe + atC, CIm + atC, constantC ? 0 : G * N, work, 0, decays, 0, y, tokens, N,
      );
      for (let i = 0; i < tokens; i++) {
        let v = load<f64>(y + (<usize>i << 3));
        if (z) v *= f32x4.extract_lane(silu(f32x4.splat(at(z + row, i * Dm))), 0);
        put(out + row, i * Dm, v);
      }
    }
    if (!lastRe) continue;
    for (let n = 0; n < N; n++) {
      put(lastRe + state, n, load<f64>(work + <usize>n * PAIR));
      put(lastIm + state, n, load<f64>(work + <usize>n * PAIR, 8));
    }
  }
}

/**
 * Items [begin, end) of batch, group and block of 64 channels, whose gradients go where those of selectiveScanBackward do.
 * `work` holds per chunk of 64 tokens the state before it, then states [65, N], decays [64, N], g, dA [N] and y [64].
 */
export function selectiveScanComplexBackward(
  u: usize, delta: usize, z: usize, ARe: usize, AIm: usize, BRe: usize, BIm: usize, CRe: usize, CIm: usize, D: usize, bias: usize,
  initialRe: usize, initialIm: usize, dout: usize, dlastRe: usize, dlastIm: usize,
  du: usize, ddelta: usize, dz: usize, dARe: usize, dAIm: usize, dBRe: usize, dBIm: usize, dCRe: usize, dCIm: usize,
  dD: usize, dbias: usize, dinitialRe: usize, dinitialIm: usize, work: usize,
  batches: i32, T: i32, Dm: i32, N: i32, G: i32, constantB: i32, constantC: i32, isSoftplus: i32, begin: i32, end: i32,
): void {
  const grouped = Dm / G, blocks = (grouped + BLOCK - 1) / BLOCK, chunks = (T + SPACING - 1) / SPACING;
  const stateBytes = <usize>N * PAIR, rowBC = G * N;
  const states = work + <usize>chunks * stateBytes, decays = states + <usize>(SPACING + 1) * stateBytes;
  const g = decays + <usize>SPACING * stateBytes, sums = g + stateBytes, y = sums + stateBytes;
  for (let item = begin; item < end; item++) {
    const block = item % blocks, group = item / blocks % G, batch = item / blocks / G;
    const first = group * grouped + block * BLOCK, last = group * grouped + min(grouped, (block + 1) * BLOCK);
    const part = <usize>(block * batches * T * rowBC) << 2, tokenOrigin = (batch * T * G + group) * N;
    for (let t = 0; t < T; t++) {
      const token = <usize>(tokenOrigin + t * rowBC) << 2, bytes = <usize>N << 2;
      if (!constantB) { memory.fill(dBRe + part + token, 0, bytes); memory.fill(dBIm + part + token, 0, bytes); }
      if (!constantC) { memory.fill(dCRe + part + token, 0, bytes); memory.fill(dCIm + part + token, 0, bytes); }
    }
    for (let d = first; d < last; d++) {
      const matrix = <usize>(d * N) << 2, state = <usize>((batch * Dm + d) * N) << 2;
      if (constantB) { memory.fill(dBRe + state, 0, <usize>N << 2); memory.fill(dBIm + state, 0, <usize>N << 2); }
      if (constantC) { memory.fill(dCRe + state, 0, <usize>N << 2); memory.fill(dCIm + state, 0, <usize>N << 2); }
      const shift: f32 = bias ? at(bias, d) : 0, skip: f32 = D ? at(D, d) : 0;
      memory.fill(sums, 0, stateBytes);
      for (let n = 0; n < N; n++) {
        const p = <usize>n * PAIR;
        store<f64>(states + p, initialRe ? at(initialRe + state, n) : 0);
        store<f64>(states + p, initialIm ? at(initialIm + state, n) : 0, 8);
        store<f64>(g + p, dlastRe ? at(dlastRe + state, n) : 0);
        store<f64>(g + p, dlastIm ? at(dlastIm + state, n) : 0, 8);
      }
      // forward once for the states before each chunk, then chunk by chunk from the last
      let sumD: f64 = 0, sumBias: f64 = 0;
      for (let pass = 0; pass < 2 * chunks; pass++) {
        const backward = pass >= chunks, chunk = backward ? 2 * chunks - 1 - pass : pass;
        const t0 = chunk * SPACING, tokens = min(SPACING, T - t0);
        const row = <usize>((batch * T + t0) * Dm + d) << 2, token = <usize>(tokenOrigin + t0 * rowBC) << 2;
        const atB = constantB ? matrix : token, atC = constantC ? matrix : token;
        const stepB = constantB ? 0 : rowBC, stepC = constantC ? 0 : rowBC;
        if (backward) memory.copy(states, work + <usize>chunk * stateBytes, stateBytes);
        else memory.copy(work + <usize>chunk * stateBytes, states, stateBytes);
        scanChannel(
          u + row, delta + row, shift, isSoftplus, skip, Dm, ARe + matrix, AIm + matrix,
          BRe + atB, BIm + atB, stepB, CRe + atC, CIm + atC, stepC, states, stateBytes, decays, stateBytes, y, tokens, N,
        );
        if (!backward) {
          memory.copy(states, states + <usize>tokens * stateBytes, stateBytes);
          continue;
        }
        const toB = constantB ? state : part + token, toC = constantC ? state : part + token;
        for (let t = tokens - 1; t >= 0; t--) {
          const i = t * Dm, vu = at(u + row, i), before = at(delta + row, i) + shift, dt = stepOf(before, isSoftplus);
          const x = <f64>dt * vu, dOut = at(dout + row, i);
          let dy = <f64>dOut;
          if (z) {
            const gate = f32x4.splat(at(z + row, i)), s = sigmoid(gate);
            put(dz + row, i, dOut * load<f64>(y + (<usize>t << 3)) * f32x4.extract_lane(siluSlope(gate, s), 0));
            dy *= f32x4.extract_lane(f32x4.mul(gate, s), 0);
          }
          let dx: f64 = 0, dStep: f64 = 0;
          for (let n = 0; n < N; n++) {
            const p = <usize>n * PAIR, from = states + <usize>t * stateBytes + p, a = decays + <usize>t * stateBytes + p;
            const gRe = load<f64>(g + p) + 2 * dy * at(CRe + atC, t * stepC + n);
            const gIm = load<f64>(g + p, 8) - 2 * dy * at(CIm + atC, t * stepC + n);
            add(dCRe + toC, t * stepC + n, 2 * dy * load<f64>(from + stateBytes));
            add(dCIm + toC, t * stepC + n, -2 * dy * load<f64>(from + stateBytes, 8));
            add(dBRe + toB, t * stepB + n, gRe * x);
            add(dBIm + toB, t * stepB + n, gIm * x);
            dx += gRe * at(BRe + atB, t * stepB + n) + gIm * at(BIm + atB, t * stepB + n);
            const aRe = load<f64>(a), aIm = load<f64>(a, 8), hRe = load<f64>(from), hIm = load<f64>(from, 8);
            const rRe = aRe * gRe + aIm * gIm, rIm = aRe * gIm - aIm * gRe;
            store<f64>(g + p, rRe); store<f64>(g + p, rIm, 8);
            const qRe = rRe * hRe + rIm * hIm, qIm = rIm * hRe - rRe * hIm;
            store<f64>(sums + p, load<f64>(sums + p) + dt * qRe); store<f64>(sums + p, load<f64>(sums + p, 8) + dt * qIm, 8);
            dStep += qRe * at(ARe + matrix, n) + qIm * at(AIm + matrix, n);
          }
          dStep += dx * vu;
          if (isSoftplus) dStep *= f32x4.extract_lane(sigmoid(f32x4.splat(before)), 0);
          put(du + row, i, dx * dt + dy * skip);
          put(ddelta + row, i, dStep);
          sumD += dy * vu;
          sumBias += dStep;
        }
      }
      for (let n = 0; n < N; n++) {
        const p = <usize>n * PAIR;
        put(dARe + state, n, load<f64>(sums + p)); put(dAIm + state, n, load<f64>(sums + p, 8));
        if (!dinitialRe) continue;
        put(dinitialRe + state, n, load<f64>(g + p)); put(dinitialIm + state, n, load<f64>(g + p, 8));
      }
      if (dD) put(dD, batch * Dm + d, sumD);
      if (dbias) put(dbias, batch * Dm + d, sumBias);
    }
  }
}
