import { exp } from '../core/exp';
import { advance, axpy, copyOut, copyPadded, loadMatrix, matVec, scaleBy, storeMatrix, vecMat } from '../core/matrix';
import { dot } from '../core/reduce';

// A' = e^g A + beta k k^T, C' = e^g C + beta k v^T, x = (A' + diag(lamb))^-1 q, o = C'^T x.
// A state in the workspace is A [Kp, Kp] and C [Kp, Vp]; A is symmetric.

/** CG stops at this square of the residual relative to that of q. */
const CONVERGED: f32 = 1e-14;

@unmanaged
class Token {
  q: usize;
  k: usize;
  v: usize;
  /** beta k */
  written: usize;
  x: usize;
  o: usize;
  lamb: usize;
  /** three vectors [Kp] */
  scratch: usize;
  /** [Kp, Kp], the upper factor of A' + diag(lamb) */
  factor: usize;
  K: i32;
  V: i32;
  /** 0: exact */
  iterations: i32;
  beta: f32;
  decay: f32;
}

function layOut(token: Token, at: usize, K: i32, V: i32): usize {
  const keys = <usize>((K + 3) & ~3) << 2, values = <usize>((V + 3) & ~3) << 2;
  token.K = K;
  token.V = V;
  token.q = at;
  token.k = at + keys;
  token.written = at + 2 * keys;
  token.x = at + 3 * keys;
  token.lamb = at + 4 * keys;
  token.scratch = at + 5 * keys;
  token.v = at + 8 * keys;
  token.o = token.v + values;
  token.factor = token.o + values;
  return token.factor + (<usize>((K + 3) & ~3)) * keys;
}

/** The state after a token, in place or at `next`. */
function write(
  token: Token, q: usize, k: usize, v: usize, g: usize, beta: usize, row: i32, state: usize, next: usize,
): void {
  const K = token.K, V = token.V, Kp = (K + 3) & ~3, Vp = (V + 3) & ~3, size = <usize>(Kp * Kp) << 2;
  copyPadded(q + (<usize>(row * K) << 2), token.q, K);
  copyPadded(k + (<usize>(row * K) << 2), token.k, K);
  copyPadded(v + (<usize>(row * V) << 2), token.v, V);
  token.beta = load<f32>(beta + (<usize>row << 2));
  token.decay = f32x4.extract_lane(exp(v128.load32_splat(g + (<usize>row << 2))), 0);
  memory.copy(token.written, token.k, <usize>Kp << 2);
  scaleBy(token.beta, token.written, Kp);
  advance(state, next, token.decay, token.written, token.k, token.k, token.scratch, Kp, Kp);
  advance(state + size, next + size, token.decay, token.written, token.v, token.k, token.o, Kp, Vp);
}

/** The upper factor U of A + diag(lamb) = U^T D^-1 U, D the diagonal of U; zeros below it, ones in the padding. */
function factorize(token: Token, a: usize): void {
  const K = token.K, Kp = (K + 3) & ~3, pitch = <usize>Kp << 2, u = token.factor;
  memory.copy(u, a, <usize>Kp * pitch);
  for (let i = 0; i < Kp; i++) {
    const p = u + <usize>i * pitch + (<usize>i << 2);
    store<f32>(p, i < K ? load<f32>(p) + load<f32>(token.lamb + (<usize>i << 2)) : 1);
  }
  for (let p = 0; p < Kp; p++) {
    const row = u + <usize>p * pitch, inverse: f32 = 1 / load<f32>(row + (<usize>p << 2));
    memory.fill(row, 0, <usize>p << 2);
    for (let i = p + 1; i < Kp; i++) {
      const factor = f32x4.splat(-inverse * load<f32>(row + (<usize>i << 2)));
      const to = u + <usize>i * pitch;
      for (let at = <usize>(i & ~3) << 2; at < pitch; at += 16) {
        v128.store(to + at, f32x4.add(v128.load(to + at), f32x4.mul(factor, v128.load(row + at))));
      }
    }
  }
}

/** x = (A + diag(lamb))^-1 b: with the factor, or by conjugate gradients. */
function solve(token: Token, a: usize, b: usize, x: usize): void {
  const Kp = (token.K + 3) & ~3, pitch = <usize>Kp << 2;
  if (token.iterations) {
    conjugateGradients(token, a, b, x);
    return;
  }
  const y = token.scratch;
  memory.copy(y, b, pitch);
  for (let p = 0; p < Kp; p++) {
    const row = token.factor + <usize>p * pitch, at = <usize>p << 2, pivot = load<f32>(row + at), value = load<f32>(y + at);
    const from = <usize>(p & ~3) << 2;
    axpy(-value / pivot, row + from, y + from, Kp - (p & ~3));
    store<f32>(y + at, value);
  }
  memory.fill(x, 0, pitch);
  for (let p = Kp - 1; p >= 0; p--) {
    const row = token.factor + <usize>p * pitch, at = <usize>p << 2, from = <usize>(p & ~3) << 2;
    const rest = dot(row + from, x + from, Kp - (p & ~3));
    store<f32>(x + at, (load<f32>(y + at) - rest) / load<f32>(row + at));
  }
}

function conjugateGradients(token: Token, a: usize, b: usize, x: usize): void {
  const Kp = (token.K + 3) & ~3, pitch = <usize>Kp << 2;
  const r = token.scratch, p = r + pitch, product = p + pitch;
  memory.fill(x, 0, pitch);
  memory.copy(r, b, pitch);
  memory.copy(p, b, pitch);
  let residual = dot(r, r, Kp);
  const enough = CONVERGED * residual;
  for (let i = 0; i < token.iterations && residual > enough; i++) {
    matVec(a, p, product, Kp, Kp);
    for (let at: usize = 0; at < pitch; at += 16) {
      const own = f32x4.mul(v128.load(token.lamb + at), v128.load(p + at));
      v128.store(product + at, f32x4.add(v128.load(product + at), own));
    }
    const step = residual / dot(p, product, Kp);
    axpy(step, p, x, Kp);
    axpy(-step, product, r, Kp);
    const next = dot(r, r, Kp);
    scaleBy(next / residual, p, Kp);
    axpy(1, r, p, Kp);
    residual = next;
  }
}

function loadState(a0: usize, c0: usize, item: i32, state: usize, K: i32, V: i32): void {
  const Kp = (K + 3) & ~3;
  loadMatrix(a0 ? a0 + (<usize>(item * K * K) << 2) : 0, state, K, K);
  loadMatrix(c0 ? c0 + (<usize>(item * K * V) << 2) : 0, state + (<usize>(Kp * Kp) << 2), K, V);
}

function storeState(state: usize, a: usize, c: usize, item: i32, K: i32, V: i32): void {
  const Kp = (K + 3) & ~3;
  if (a) storeMatrix(state, a + (<usize>(item * K * K) << 2), K, K);
  if (c) storeMatrix(state + (<usize>(Kp * Kp) << 2), c + (<usize>(item * K * V) << 2), K, V);
}

/** o and the final state for (sequence, head) items [begin, end); the states may be 0. */
export function mesaNet(
  q: usize, k: usize, v: usize, g: usize, beta: usize, lamb: usize, a0: usize, c0: usize, o: usize, aT: usize, cT: usize,
  offsets: usize, workspace: usize, H: i32, K: i32, V: i32, iterations: i32, begin: i32, end: i32,
): void {
  const Kp = (K + 3) & ~3, Vp = (V + 3) & ~3;
  const token = changetype<Token>(workspace), state = layOut(token, workspace + 64, K, V);
  token.iterations = iterations;
  for (let item = begin; item < end; item++) {
    const head = item % H, bounds = offsets + (<usize>(item / H) << 2);
    copyPadded(lamb + (<usize>(head * K) << 2), token.lamb, K);
    loadState(a0, c0, item, state, K, V);
    for (let t = load<i32>(bounds); t < load<i32>(bounds, 4); t++) {
      const row = t * H + head;
      write(token, q, k, v, g, beta, row, state, state);
      if (iterations == 0) factorize(token, state);
      solve(token, state, token.q, token.x);
      vecMat(token.x, state + (<usize>(Kp * Kp) << 2), token.o, Kp, Vp);
      copyOut(token.o, o + (<usize>(row * V) << 2), V);
    }
    storeState(state, aT, cT, item, K, V);
  }
}

/**
 * Gradients of all inputs, for (sequence, head) items [begin, end); that of lamb per sequence [N, H, K]. States are kept
 * at every `segment`-th step and computed again, all of a segment at once, on the way back.
 */
export function mesaNetBackward(
  q: usize, k: usize, v: usize, g: usize, beta: usize, lamb: usize, a0: usize, c0: usize, dO: usize, daT: usize, dcT: usize,
  dq: usize, dk: usize, dv: usize, dg: usize, dBeta: usize, dLamb: usize, da0: usize, dc0: usize,
  offsets: usize, workspace: usize, H: i32, K: i32, V: i32, iterations: i32, segment: i32, begin: i32, end: i32,
): void {
  const Kp = (K + 3) & ~3, Vp = (V + 3) & ~3, keys = <usize>Kp << 2, values = <usize>Vp << 2;
  const size = <usize>Kp * keys, bytes = size + <usize>Kp * values;
  const token = changetype<Token>(workspace), R = layOut(token, workspace + 64, K, V), P = R + size;
  token.iterations = iterations;
  const y = R + bytes, dx = y + keys, dKey = dx + keys, sum = dKey + keys, dy = sum + keys, dValue = dy + values;
  const states = dValue + values, kept = states + <usize>(segment + 1) * bytes;
  for (let item = begin; item < end; item++) {
    const head = item % H, bounds = offsets + (<usize>(item / H) << 2);
    const first = load<i32>(bounds), last = load<i32>(bounds, 4);
    copyPadded(lamb + (<usize>(head * K) << 2), token.lamb, K);
    memory.fill(sum, 0, keys);
    loadState(a0, c0, item, states, K, V);
    for (let t = first; t < last; t++) {
      if ((t - first) % segment == 0) memory.copy(kept + <usize>((t - first) / segment) * bytes, states, bytes);
      write(token, q, k, v, g, beta, t * H + head, states, states);
    }
    loadState(daT, dcT, item, R, K, V);
    for (let s = last > first ? (last - first - 1) / segment : -1; s >= 0; s--) {
      const from = first + s * segment, to = min(last, from + segment);
      memory.copy(states, kept + <usize>s * bytes, bytes);
      for (let t = from; t < to; t++) {
        const state = states + <usize>(t - from) * bytes;
        write(token, q, k, v, g, beta, t * H + head, state, state + bytes);
      }
      for (let t = to - 1; t >= from; t--) {
        const row = t * H + head, before = states + <usize>(t - from) * bytes, after = before + bytes;
        const key = <usize>(row * K) << 2, value = <usize>(row * V) << 2, gate = <usize>row << 2;
        write(token, q, k, v, g, beta, row, before, after);
        if (iterations == 0) factorize(token, after);
        solve(token, after, token.q, token.x);
        copyPadded(dO + value, dy, V);
        matVec(after + size, dy, dx, Kp, Vp);
        solve(token, after, dx, y);
        copyOut(y, dq + key, K);
        scaleBy(-1, y, Kp);
        for (let at: usize = 0; at < keys; at += 16) {
          const product = f32x4.mul(v128.load(y + at), v128.load(token.x + at));
          v128.store(sum + at, f32x4.add(v128.load(sum + at), product));
        }
        advance(R, R, 1, y, token.x, token.k, dKey, Kp, Kp);
        matVec(R, token.k, dx, Kp, Kp);
        axpy(1, dx, dKey, Kp);
        let rate = dot(dx, token.k, Kp);
        advance(P, P, 1, token.x, dy, token.written, dValue, Kp, Vp);
        matVec(P, token.v, dx, Kp, Vp);
        axpy(1, dx, dKey, Kp);
        rate += dot(dx, token.k, Kp);
        scaleBy(token.beta, dKey, Kp);
        copyOut(dKey, dk + key, K);
        copyOut(dValue, dv + value, V);
        store<f32>(dBeta + gate, rate);
        const floats = Kp * (Kp + Vp);
        store<f32>(dg + gate, token.decay * dot(R, before, floats));
        scaleBy(token.decay, R, floats);
      }
    }
    copyOut(sum, dLamb + (<usize>(item * K) << 2), K);
    storeState(R, da0, dc0, item, K, V);
  }
}
