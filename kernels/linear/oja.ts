import { exp, fma } from '../core/exp';
import { loadLanes, storeLanes } from '../core/lanes';
import { dot, sumLanes } from '../core/reduce';

// S' = S diag(e^g), c = beta (k - S' v), S_t = S' + c v^T, o = S_t^T q: rows of the state are independent but for o.
// States in scratch have rows padded to a multiple of 4, and so do the step's vectors.

const NORM_EPS: f32 = 1e-6;

/** The vectors of a step: q (scaled) and k [K], v, w = e^g and a row [V] to sum into; reciprocal norms of q and k. */
@unmanaged
class Step {
  q: usize;
  k: usize;
  v: usize;
  w: usize;
  sum: usize;
  /** K and V, padded */
  rows: i32;
  columns: i32;
  beta: f32;
  qNorm: f32;
  kNorm: f32;
}

function layOut(step: Step, K: i32, V: i32, scratch: usize): usize {
  step.rows = (K + 3) & ~3;
  step.columns = (V + 3) & ~3;
  step.q = scratch;
  step.k = step.q + (<usize>step.rows << 2);
  step.v = step.k + (<usize>step.rows << 2);
  step.w = step.v + (<usize>step.columns << 2);
  step.sum = step.w + (<usize>step.columns << 2);
  return step.sum + (<usize>step.columns << 2);
}

/** dst = src [n], padded with zeros */
function copyPadded(src: usize, dst: usize, n: i32): void {
  for (let i = 0; i < n; i += 4) v128.store(dst + (<usize>i << 2), loadLanes(src + (<usize>i << 2), n - i));
}

function normalize(x: usize, n: i32): f32 {
  const norm: f32 = 1 / sqrt<f32>(dot(x, x, n) + NORM_EPS);
  for (let i = 0; i < n; i++) store<f32>(x + (<usize>i << 2), norm * load<f32>(x + (<usize>i << 2)));
  return norm;
}

function loadStep(
  step: Step, q: usize, k: usize, v: usize, g: usize, beta: usize, normalizeQ: i32, normalizeK: i32,
  row: i32, K: i32, V: i32,
): void {
  const key = <usize>(row * K) << 2, value = <usize>(row * V) << 2;
  copyPadded(q + key, step.q, K);
  copyPadded(k + key, step.k, K);
  copyPadded(v + value, step.v, V);
  for (let j = 0; j < V; j += 4) {
    const at = <usize>j << 2;
    v128.store(step.w + at, exp(loadLanes(g + value + at, V - j)));
  }
  step.beta = load<f32>(beta + (<usize>row << 2));
  step.qNorm = normalizeQ ? normalize(step.q, K) : 1;
  step.kNorm = normalizeK ? normalize(step.k, K) : 1;
}

function loadState(from: usize, to: usize, K: i32, V: i32, columns: i32): void {
  for (let i = 0; i < K; i++) {
    const row = to + (<usize>(i * columns) << 2);
    if (from) copyPadded(from + (<usize>(i * V) << 2), row, V);
    else memory.fill(row, 0, <usize>columns << 2);
  }
}

function storeState(from: usize, to: usize, K: i32, V: i32, columns: i32): void {
  for (let i = 0; i < K; i++) {
    for (let j = 0; j < V; j += 4) {
      const x = v128.load(from + (<usize>(i * columns + j) << 2));
      storeLanes(to + (<usize>(i * V + j) << 2), x, V - j);
    }
  }
}

/** next = S_t from S = S_{t-1}, which may be the same memory; sums q . S_t into step.sum. */
function advance(step: Step, s: usize, next: usize, K: i32): void {
  const bytes = <usize>step.columns << 2;
  memory.fill(step.sum, 0, bytes);
  for (let i = 0; i < K; i++) {
    const from = s + <usize>i * bytes, to = next + <usize>i * bytes;
    let read = f32x4.splat(0);
    for (let at: usize = 0; at < bytes; at += 16) {
      const decayed = f32x4.mul(v128.load(step.w + at), v128.load(from + at));
      read = fma(decayed, v128.load(step.v + at), read);
      v128.store(to + at, decayed);
    }
    const c = f32x4.splat(step.beta * (load<f32>(step.k + (<usize>i << 2)) - sumLanes(read)));
    const query = v128.load32_splat(step.q + (<usize>i << 2));
    for (let at: usize = 0; at < bytes; at += 16) {
      const row = fma(c, v128.load(step.v + at), v128.load(to + at));
      v128.store(to + at, row);
      v128.store(step.sum + at, fma(query, row, v128.load(step.sum + at)));
    }
  }
}

/** o and the final state for (sequence, head) items [begin, end); h0 and hT may be 0. */
export function gatedOjaRule(
  q: usize, k: usize, v: usize, g: usize, beta: usize, h0: usize, o: usize, hT: usize, offsets: usize, scratch: usize,
  normalizeQ: i32, normalizeK: i32, H: i32, K: i32, V: i32, scale: f32, begin: i32, end: i32,
): void {
  const step = changetype<Step>(scratch);
  const state = layOut(step, K, V, scratch + 64), size = <usize>(K * V) << 2;
  for (let item = begin; item < end; item++) {
    const bounds = offsets + (<usize>(item / H) << 2);
    loadState(h0 ? h0 + <usize>item * size : 0, state, K, V, step.columns);
    for (let t = load<i32>(bounds); t < load<i32>(bounds, 4); t++) {
      const row = t * H + item % H;
      loadStep(step, q, k, v, g, beta, normalizeQ, normalizeK, row, K, V);
      advance(step, state, state, K);
      for (let j = 0; j < V; j += 4) {
        const at = <usize>j << 2;
        const y = f32x4.mul(f32x4.splat(scale), v128.load(step.sum + at));
        storeLanes(o + (<usize>(row * V) << 2) + at, y, V - j);
      }
    }
    if (hT) storeState(state, hT + <usize>item * size, K, V, step.columns);
  }
}

/**
 * Gradients of all inputs, for (sequence, head) items [begin, end). States are kept at every `segment`-th step and
 * computed again, all of a segment at once, on the way back.
 */
export function gatedOjaRuleBackward(
  q: usize, k: usize, v: usize, g: usize, beta: usize, h0: usize, dO: usize, dhT: usize,
  dq: usize, dk: usize, dv: usize, dg: usize, dBeta: usize, dh0: usize, offsets: usize, scratch: usize,
  normalizeQ: i32, normalizeK: i32, H: i32, K: i32, V: i32, scale: f32, segment: i32, begin: i32, end: i32,
): void {
  const step = changetype<Step>(scratch);
  const R = layOut(step, K, V, scratch + 64), size = <usize>(K * V) << 2;
  const bytes = <usize>(K * step.columns) << 2;
  const dy = R + bytes, dValue = dy + (<usize>step.columns << 2), dGate = dValue + (<usize>step.columns << 2);
  const states = dGate + (<usize>step.columns << 2), kept = states + <usize>(segment + 1) * bytes;
  for (let item = begin; item < end; item++) {
    const head = item % H, bounds = offsets + (<usize>(item / H) << 2);
    const first = load<i32>(bounds), last = load<i32>(bounds, 4);
    loadState(h0 ? h0 + <usize>item * size : 0, states, K, V, step.columns);
    for (let t = first; t < last; t++) {
      if ((t - first) % segment == 0) memory.copy(kept + <usize>((t - first) / segment) * bytes, states, bytes);
      loadStep(step, q, k, v, g, beta, normalizeQ, normalizeK, t * H + head, K, V);
      advance(step, states, states, K);
    }
    loadState(dhT ? dhT + <usize>item * size : 0, R, K, V, step.columns);
    for (let s = (last - first - 1) / segment; s >= 0 && last > first; s--) {
      const from = first + s * segment, to = min(last, from + segment);
      memory.copy(states, kept + <usize>s * bytes, bytes);
      for (let t = from; t < to; t++) {
        loadStep(step, q, k, v, g, beta, normalizeQ, normalizeK, t * H + head, K, V);
        advance(step, states + <usize>(t - from) * bytes, states + <usize>(t - from + 1) * bytes, K);
      }
      for (let t = to - 1; t >= from; t--) {
        const row = t * H + head, value = <usize>(row * V) << 2, key = <usize>(row * K) << 2;
        loadStep(step, q, k, v, g, beta, normalizeQ, normalizeK, row, K, V);
        copyPadded(dO + value, dy, V);
        const before = states + <usize>(t - from) * bytes;
        stepBackward(step, before, before + bytes, R, dy, dValue, dGate, dq + key, dk + key, dBeta + (<usize>row << 2), scale, K);
        for (let j = 0; j < V; j += 4) {
          const at = <usize>j << 2;
          storeLanes(dv + value + at, v128.load(dValue + at), V - j);
          storeLanes(dg + value + at, v128.load(dGate + at), V - j);
        }
        if (normalizeQ) normGradient(step.q, dq + key, step.qNorm, K);
        if (normalizeK) normGradient(step.k, dk + key, step.kNorm, K);
      }
    }
    if (dh0) storeState(R, dh0 + <usize>item * size, K, V, step.columns);
  }
}

/** R from the gradient of S_t to that of S_{t-1}; S and next are S_{t-1} and S_t. */
function stepBackward(
  step: Step, s: usize, next: usize, R: usize, dy: usize, dValue: usize, dGate: usize,
  dq: usize, dk: usize, dBeta: usize, scale: f32, K: i32,
): void {
  const bytes = <usize>step.columns << 2;
  memory.fill(dValue, 0, bytes);
  memory.fill(dGate, 0, bytes);
  let dRate: f32 = 0;
  for (let i = 0; i < K; i++) {
    const at = <usize>i << 2, row = <usize>i * bytes;
    const query = f32x4.splat(scale * load<f32>(step.q + at));
    let dQuery = f32x4.splat(0), dC = f32x4.splat(0), read = f32x4.splat(0);
    for (let j: usize = 0; j < bytes; j += 16) {
      const y = v128.load(dy + j), value = v128.load(step.v + j);
      const r = fma(query, y, v128.load(R + row + j));
      v128.store(R + row + j, r);
      dQuery = fma(y, v128.load(next + row + j), dQuery);
      dC = fma(value, r, dC);
      read = fma(value, f32x4.mul(v128.load(step.w + j), v128.load(s + row + j)), read);
    }
    const error = load<f32>(step.k + at) - sumLanes(read), written = sumLanes(dC);
    store<f32>(dq + at, scale * sumLanes(dQuery));
    store<f32>(dk + at, step.beta * written);
    dRate += written * error;
    const c = f32x4.splat(step.beta * error), dRead = f32x4.splat(-step.beta * written);
    for (let j: usize = 0; j < bytes; j += 16) {
      const w = v128.load(step.w + j), r = v128.load(R + row + j);
      const decayed = f32x4.mul(w, v128.load(s + row + j));
      const dDecayed = fma(dRead, v128.load(step.v + j), r);
      v128.store(dValue + j, fma(c, r, fma(dRead, decayed, v128.load(dValue + j))));
      v128.store(dGate + j, fma(decayed, dDecayed, v128.load(dGate + j)));
      v128.store(R + row + j, f32x4.mul(w, dDecayed));
    }
  }
  store<f32>(dBeta, dRate);
}

/** dx = (dy - y (y . dy)) / norm, in place */
function normGradient(y: usize, dy: usize, norm: f32, n: i32): void {
  const along = dot(y, dy, n);
  for (let i = 0; i < n; i++) {
    const p = dy + (<usize>i << 2);
    store<f32>(p, norm * (load<f32>(p) - along * load<f32>(y + (<usize>i << 2))));
  }
}
