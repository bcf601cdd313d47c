import { exp } from '../core/exp';
import { softplus } from '../core/log';
import { advance, axpy, copyOut, copyPadded, loadMatrix, matVec, scaleBy, scalePadded, storeMatrix, vecMat } from '../core/matrix';
import { dot } from '../core/reduce';

// C' = F C + I k v^T, n' = F n + I k, h = C'^T q / max(|n' . q|, e^-m) with F = e^(log f + m - m'), I = e^(i - m').
// A state in the workspace is C [Kp, Vp], n [Kp] and m, padded to 4 floats.

// @ts-ignore: decorator
@inline
function expOf(x: f32): f32 {
  return f32x4.extract_lane(exp(f32x4.splat(x)), 0);
}

// @ts-ignore: decorator
@inline
function logSigmoid(x: f32): f32 {
  return -f32x4.extract_lane(softplus(f32x4.splat(-x)), 0);
}

/** Vectors of a token, the key times its input gate, and the two gates. */
@unmanaged
class Token {
  q: usize;
  k: usize;
  v: usize;
  written: usize;
  y: usize;
  forget: f32;
  input: f32;
  /** n . q, and the larger of its size and e^-m */
  read: f32;
  norm: f32;
}

function layOut(token: Token, Kp: i32, Vp: i32, at: usize): usize {
  token.q = at;
  token.k = token.q + (<usize>Kp << 2);
  token.written = token.k + (<usize>Kp << 2);
  token.v = token.written + (<usize>Kp << 2);
  token.y = token.v + (<usize>Vp << 2);
  return token.y + (<usize>Vp << 2);
}

function loadState(c0: usize, n0: usize, m0: usize, item: i32, state: usize, K: i32, V: i32): void {
  const Kp = (K + 3) & ~3, n = state + (<usize>(Kp * ((V + 3) & ~3)) << 2);
  loadMatrix(c0 ? c0 + (<usize>(item * K * V) << 2) : 0, state, K, V);
  copyPadded(n0 ? n0 + (<usize>(item * K) << 2) : 0, n, K);
  store<f32>(n + (<usize>Kp << 2), m0 ? load<f32>(m0 + (<usize>item << 2)) : 0);
}

/** The state after a token, which may take the place of the one before it; token.y = C'^T q. */
function step(
  token: Token, q: usize, k: usize, v: usize, i: usize, f: usize, row: i32, K: i32, V: i32, scale: f32,
  state: usize, next: usize,
): void {
  const Kp = (K + 3) & ~3, Vp = (V + 3) & ~3, size = <usize>(Kp * Vp) << 2, keys = <usize>Kp << 2;
  scalePadded(q + (<usize>(row * K) << 2), token.q, K, scale);
  copyPadded(k + (<usize>(row * K) << 2), token.k, K);
  copyPadded(v + (<usize>(row * V) << 2), token.v, V);
  const gate = load<f32>(i + (<usize>row << 2));
  const kept = logSigmoid(load<f32>(f + (<usize>row << 2))) + load<f32>(state + size + keys);
  const m = max(kept, gate);
  token.forget = expOf(kept - m);
  token.input = expOf(gate - m);
  memory.copy(token.written, token.k, keys);
  scaleBy(token.input, token.written, Kp);
  advance(state, next, token.forget, token.written, token.v, token.q, token.y, Kp, Vp);
  if (next != state) memory.copy(next + size, state + size, keys);
  scaleBy(token.forget, next + size, Kp);
  axpy(1, token.written, next + size, Kp);
  store<f32>(next + size + keys, m);
  token.read = dot(next + size, token.q, Kp);
  token.norm = max(abs(token.read), expOf(-m));
}

/** h and the final state for (sequence, head) items [begin, end); the states may be 0. */
export function mLstm(
  q: usize, k: usize, v: usize, i: usize, f: usize, c0: usize, n0: usize, m0: usize,
  h: usize, cT: usize, nT: usize, mT: usize, offsets: usize, workspace: usize,
  H: i32, K: i32, V: i32, scale: f32, begin: i32, end: i32,
): void {
  const Kp = (K + 3) & ~3, Vp = (V + 3) & ~3, size = <usize>(Kp * Vp) << 2;
  const token = changetype<Token>(workspace);
  const state = layOut(token, Kp, Vp, workspace + 64);
  for (let item = begin; item < end; item++) {
    const bounds = offsets + (<usize>(item / H) << 2);
    loadState(c0, n0, m0, item, state, K, V);
    for (let t = load<i32>(bounds); t < load<i32>(bounds, 4); t++) {
      const row = t * H + item % H;
      step(token, q, k, v, i, f, row, K, V, scale, state, state);
      scaleBy(1 / token.norm, token.y, Vp);
      copyOut(token.y, h + (<usize>(row * V) << 2), V);
    }
    if (cT == 0) continue;
    storeMatrix(state, cT + (<usize>(item * K * V) << 2), K, V);
    copyOut(state + size, nT + (<usize>(item * K) << 2), K);
    store<f32>(mT + (<usize>item << 2), load<f32>(state + size + (<usize>Kp << 2)));
  }
}

/**
 * Gradients of all inputs, for (sequence, head) items [begin, end). States are kept at every `segment`-th step and
 * computed again, all of a segment at once, on the way back. h does not depend on any m, so they count as constants
 * until the end, whose m follows one path back to an input gate or the first state.
 */
export function mLstmBackward(
  q: usize, k: usize, v: usize, i: usize, f: usize, c0: usize, n0: usize, m0: usize,
  dh: usize, dcT: usize, dnT: usize, dmT: usize,
  dq: usize, dk: usize, dv: usize, di: usize, df: usize, dc0: usize, dn0: usize, dm0: usize,
  offsets: usize, workspace: usize, H: i32, K: i32, V: i32, scale: f32, segment: i32, begin: i32, end: i32,
): void {
  const Kp = (K + 3) & ~3, Vp = (V + 3) & ~3, size = <usize>(Kp * Vp) << 2, keys = <usize>Kp << 2;
  const bytes = size + keys + 16;
  const token = changetype<Token>(workspace);
  const R = layOut(token, Kp, Vp, workspace + 64), r = R + size;
  const dy = R + bytes, Rv = dy + (<usize>Vp << 2), dQuery = Rv + keys, dValue = dQuery + keys;
  const states = dValue + (<usize>Vp << 2), kept = states + <usize>(segment + 1) * bytes;
  for (let item = begin; item < end; item++) {
    const head = item % H, bounds = offsets + (<usize>(item / H) << 2);
    const first = load<i32>(bounds), last = load<i32>(bounds, 4);
    loadState(c0, n0, m0, item, states, K, V);
    for (let t = first; t < last; t++) {
      if ((t - first) % segment == 0) memory.copy(kept + <usize>((t - first) / segment) * bytes, states, bytes);
      step(token, q, k, v, i, f, t * H + head, K, V, scale, states, states);
    }
    loadState(dcT, dnT, 0, item, R, K, V);
    // what m of the end weighs, apart from C and n
    let path: f32 = dmT ? load<f32>(dmT + (<usize>item << 2)) : 0;
    path -= dot(R, states, Kp * Vp) + dot(r, states + size, Kp);
    for (let s = last > first ? (last - first - 1) / segment : -1; s >= 0; s--) {
      const from = first + s * segment, to = min(last, from + segment);
      memory.copy(states, kept + <usize>s * bytes, bytes);
      for (let t = from; t < to; t++) {
        const state = states + <usize>(t - from) * bytes;
        step(token, q, k, v, i, f, t * H + head, K, V, scale, state, state + bytes);
      }
      for (let t = to - 1; t >= from; t--) {
        const row = t * H + head, before = states + <usize>(t - from) * bytes, after = before + bytes;
        const key = <usize>(row * K) << 2, value = <usize>(row * V) << 2, gate = <usize>row << 2;
        step(token, q, k, v, i, f, row, K, V, scale, before, after);
        copyPadded(dh + value, dy, V);
        const along = dot(dy, token.y, Vp) / token.norm;
        scaleBy(1 / token.norm, dy, Vp);
        let dRead: f32 = 0;
        if (abs(token.read) == token.norm) dRead = -along / token.norm * (token.read < 0 ? -1 : 1);
        matVec(after, dy, dQuery, Kp, Vp);
        axpy(dRead, after + size, dQuery, Kp);
        scaleBy(scale, dQuery, Kp);
        copyOut(dQuery, dq + key, K);
        advance(R, R, 1, token.q, dy, token.written, dValue, Kp, Vp);
        axpy(dRead, token.q, r, Kp);
        copyOut(dValue, dv + value, V);
        matVec(R, token.v, Rv, Kp, Vp);
        axpy(1, r, Rv, Kp);
        let dGate = dot(Rv, token.written, Kp);
        scaleBy(token.input, Rv, Kp);
        copyOut(Rv, dk + key, K);
        let dForget = token.forget * (dot(R, before, Kp * Vp) + dot(r, before + size, Kp));
        scaleBy(token.forget, R, Kp * Vp);
        scaleBy(token.forget, r, Kp);
        if (token.forget == 1) dForget += path;
        else {
          dGate += path;
          path = 0;
        }
        store<f32>(di + gate, dGate);
        store<f32>(df + gate, dForget * expOf(logSigmoid(-load<f32>(f + gate))));
        if (dm0 && t == first) store<f32>(dm0 + (<usize>item << 2), dForget);
      }
    }
    if (dc0 == 0) continue;
    storeMatrix(R, dc0 + (<usize>(item * K * V) << 2), K, V);
    copyOut(r, dn0 + (<usize>(item * K) << 2), K);
    if (first == last) store<f32>(dm0 + (<usize>item << 2), dmT ? load<f32>(dmT + (<usize>item << 2)) : 0);
  }
}
