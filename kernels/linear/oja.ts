import { exp, fma } from '../core/exp';
import { loadLanes, storeLanes } from '../core/lanes';
import { sumLanes } from '../core/reduce';

// S' = S diag(e^g), c = beta (k - S' v), S_t = S' + c v^T, o = S_t^T q: rows of the state are independent but for o.
// States in scratch have rows padded to a multiple of 4, and so do the step's vectors.

/** The vectors of a step: q (scaled) and k [K], v, w = e^g and a row [V] to sum into. */
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

function loadStep(
  step: Step, q: usize, k: usize, v: usize, g: usize, beta: usize, row: i32, K: i32, V: i32,
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
  H: i32, K: i32, V: i32, scale: f32, begin: i32, end: i32,
): void {
  const step = changetype<Step>(scratch);
  const state = layOut(step, K, V, scratch + 64), size = <usize>(K * V) << 2;
  for (let item = begin; item < end; item++) {
    const bounds = offsets + (<usize>(item / H) << 2);
    loadState(h0 ? h0 + <usize>item * size : 0, state, K, V, step.columns);
    for (let t = load<i32>(bounds); t < load<i32>(bounds, 4); t++) {
      const row = t * H + item % H;
      loadStep(step, q, k, v, g, beta, row, K, V);
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
