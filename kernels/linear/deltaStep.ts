import { exp, fma } from '../core/exp';
import { loadLanes, storeLanes } from '../core/lanes';
import { dot } from '../core/reduce';
import { SCALAR_GATE, VECTOR_GATE } from './deltaChunk';
import { fillCall } from './deltaForward';
import { Call, COMBA, DPLR, NORM_EPS, queryOf } from './deltaLoad';

// The same recurrence one step at a time, on the state [K, V] as it lies in the final state's tensor. A step reads every
// row of the old state once for e = u + S^T x and o = S^T (w q) + (b.q) e + (k.q) v, and once more to write the new one.

/** The vectors of a step [K], padded with zeros to a multiple of 4: x, b, w, q (scaled), w q and the second write k. */
@unmanaged
class Vectors {
  x: usize;
  b: usize;
  w: usize;
  q: usize;
  wq: usize;
  k: usize;
  bq: f32;
  kq: f32;
}

/** o and the final state for (sequence, value head) items [begin, end); arguments as those of deltaForward. */
export function deltaStep(
  q: usize, k: usize, v: usize, g: usize, beta: usize, a: usize, b: usize, h0: usize, o: usize, hT: usize,
  offsets: usize, scratch: usize, form: i32, gate: i32, sigmoid: i32, normalize: i32,
  H: i32, HV: i32, K: i32, V: i32, steps: i32, scale: f32, begin: i32, end: i32,
): void {
  const call = changetype<Call>(scratch), vectors = changetype<Vectors>(scratch + 256);
  fillCall(call, q, k, v, g, beta, a, b, offsets, form, gate, sigmoid, normalize, H, HV, K, V, steps, scale);
  const bytes = <usize>((K + 3) & ~3) << 2;
  vectors.x = scratch + 320;
  vectors.b = vectors.x + bytes;
  vectors.w = vectors.b + bytes;
  vectors.q = vectors.w + bytes;
  vectors.wq = vectors.q + bytes;
  vectors.k = vectors.wq + bytes;
  const spare = vectors.k + bytes, size = <usize>(K * V) << 2;
  for (let item = begin; item < end; item++) {
    const head = item % HV;
    const first = load<i32>(offsets + (<usize>(item / HV) << 2)) * steps;
    const last = load<i32>(offsets + (<usize>(item / HV) << 2), 4) * steps;
    const next = hT ? hT + <usize>item * size : spare;
    let state = next;
    if (h0 && first < last) state = h0 + <usize>item * size;
    else if (h0) memory.copy(next, h0 + <usize>item * size, size);
    else memory.fill(next, 0, size);
    for (let at = first; at < last; at++) {
      loadVectors(vectors, call, head, at);
      const token = queryOf(call, at);
      const value = v + (<usize>(at * HV + head) * <usize>V << 2);
      const out = token < 0 ? 0 : o + (<usize>(token * HV + head) * <usize>V << 2);
      let j = 0;
      for (; j + 16 <= V; j += 16) wideColumns(vectors, call, state, next, value, out, <usize>j << 2);
      for (; j < V; j += 4) columns(vectors, call, state, next, value, out, <usize>j << 2, V - j);
      state = next;
    }
  }
}

function loadVectors(vectors: Vectors, call: Call, head: i32, at: i32): void {
  const H = call.H, HV = call.HV, K = call.K, keyHead = head / (HV / H);
  const key = (<usize>at * <usize>(H * K) + <usize>(keyHead * K)) << 2;
  const token = queryOf(call, at), dplr = call.form == DPLR;
  const query = call.q + ((<usize>(token < 0 ? 0 : token) * <usize>(H * K) + <usize>(keyHead * K)) << 2);
  const first = at % call.steps == 0, row = <usize>(at / call.steps * HV + head);
  let rate: f32 = 1, w = f32x4.splat(1);
  if (call.gate == SCALAR_GATE && first) w = exp(v128.load32_splat(call.g + (row << 2)));
  if (!dplr) {
    const given = v128.load32_splat(call.beta + (<usize>(at * HV + head) << 2));
    const one = f32x4.splat(1);
    rate = f32x4.extract_lane(call.sigmoid ? f32x4.div(one, f32x4.add(one, exp(f32x4.neg(given)))) : given, 0);
  }
  let keyNorm: f32 = 1, queryNorm: f32 = call.scale, readNorm: f32 = 1;
  if (call.normalize) {
    keyNorm = 1 / sqrt<f32>(dot(call.k + key, call.k + key, K) + NORM_EPS);
    queryNorm = call.scale / sqrt<f32>(dot(query, query, K) + NORM_EPS);
    if (call.form == COMBA) readNorm = 1 / sqrt<f32>(dot(call.a + key, call.a + key, K) + NORM_EPS);
  }
  const betas = f32x4.splat(rate), keys = f32x4.splat(keyNorm), reads = f32x4.splat(-readNorm);
  const queries = f32x4.splat(queryNorm);
  for (let i = 0; i < K; i += 4) {
    const p = <usize>i << 2, n = K - i;
    if (call.gate == VECTOR_GATE) w = exp(loadLanes(call.g + (row * <usize>K << 2) + p, n));
    const own = f32x4.mul(keys, loadLanes(call.k + key + p, n));
    const q = f32x4.mul(queries, loadLanes(query + p, n));
    let x = f32x4.neg(f32x4.mul(w, own)), b = f32x4.mul(betas, own);
    if (dplr) {
      x = loadLanes(call.a + key + p, n);
      b = loadLanes(call.b + key + p, n);
      v128.store(vectors.k + p, own);
    } else if (call.form == COMBA) x = f32x4.mul(reads, loadLanes(call.a + key + p, n));
    v128.store(vectors.x + p, x);
    v128.store(vectors.b + p, b);
    v128.store(vectors.w + p, w);
    v128.store(vectors.q + p, q);
    v128.store(vectors.wq + p, f32x4.mul(w, q));
  }
  vectors.bq = dot(vectors.b, vectors.q, K);
  vectors.kq = dplr ? dot(vectors.k, vectors.q, K) : 0;
}

/** Columns [at / 4, at / 4 + 16) of a step. */
function wideColumns(
  vectors: Vectors, call: Call, state: usize, next: usize, value: usize, out: usize, at: usize,
): void {
  const K = call.K, row = <usize>call.V << 2, dplr = call.form == DPLR, zero = f32x4.splat(0);
  const v0 = v128.load(value + at), v1 = v128.load(value + at, 16);
  const v2 = v128.load(value + at, 32), v3 = v128.load(value + at, 48);
  let e0 = v0, e1 = v1, e2 = v2, e3 = v3, o0 = zero, o1 = zero, o2 = zero, o3 = zero;
  if (dplr) {
    e0 = zero; e1 = zero; e2 = zero; e3 = zero;
  }
  let x = vectors.x, wq = vectors.wq, from = state + at;
  for (let i = 0; i < K; i++) {
    const s0 = v128.load(from), s1 = v128.load(from, 16), s2 = v128.load(from, 32), s3 = v128.load(from, 48);
    let by = v128.load32_splat(x);
    e0 = fma(by, s0, e0); e1 = fma(by, s1, e1); e2 = fma(by, s2, e2); e3 = fma(by, s3, e3);
    by = v128.load32_splat(wq);
    o0 = fma(by, s0, o0); o1 = fma(by, s1, o1); o2 = fma(by, s2, o2); o3 = fma(by, s3, o3);
    x += 4; wq += 4;
    from += row;
  }
  if (out) {
    const b = f32x4.splat(vectors.bq), k = f32x4.splat(vectors.kq);
    o0 = fma(b, e0, o0); o1 = fma(b, e1, o1); o2 = fma(b, e2, o2); o3 = fma(b, e3, o3);
    if (dplr) {
      o0 = fma(k, v0, o0); o1 = fma(k, v1, o1); o2 = fma(k, v2, o2); o3 = fma(k, v3, o3);
    }
    v128.store(out + at, o0); v128.store(out + at, o1, 16); v128.store(out + at, o2, 32); v128.store(out + at, o3, 48);
  }
  let b = vectors.b, w = vectors.w, k = vectors.k, to = next + at;
  from = state + at;
  for (let i = 0; i < K; i++) {
    const decay = v128.load32_splat(w), by = v128.load32_splat(b);
    let s0 = fma(by, e0, f32x4.mul(decay, v128.load(from)));
    let s1 = fma(by, e1, f32x4.mul(decay, v128.load(from, 16)));
    let s2 = fma(by, e2, f32x4.mul(decay, v128.load(from, 32)));
    let s3 = fma(by, e3, f32x4.mul(decay, v128.load(from, 48)));
    if (dplr) {
      const own = v128.load32_splat(k);
      s0 = fma(own, v0, s0); s1 = fma(own, v1, s1); s2 = fma(own, v2, s2); s3 = fma(own, v3, s3);
    }
    v128.store(to, s0); v128.store(to, s1, 16); v128.store(to, s2, 32); v128.store(to, s3, 48);
    b += 4; w += 4; k += 4;
    from += row; to += row;
  }
}

/** The same for n <= 4 columns. */
function columns(
  vectors: Vectors, call: Call, state: usize, next: usize, value: usize, out: usize, at: usize, n: i32,
): void {
  const K = call.K, row = <usize>call.V << 2, dplr = call.form == DPLR;
  const v = loadLanes(value + at, n);
  let e = dplr ? f32x4.splat(0) : v, o = f32x4.splat(0);
  for (let i = 0; i < K; i++) {
    const s = loadLanes(state + <usize>i * row + at, n), p = <usize>i << 2;
    e = fma(v128.load32_splat(vectors.x + p), s, e);
    o = fma(v128.load32_splat(vectors.wq + p), s, o);
  }
  if (out) {
    o = fma(f32x4.splat(vectors.bq), e, o);
    if (dplr) o = fma(f32x4.splat(vectors.kq), v, o);
    storeLanes(out + at, o, n);
  }
  for (let i = 0; i < K; i++) {
    const p = <usize>i << 2, from = loadLanes(state + <usize>i * row + at, n);
    let s = fma(v128.load32_splat(vectors.b + p), e, f32x4.mul(v128.load32_splat(vectors.w + p), from));
    if (dplr) s = fma(v128.load32_splat(vectors.k + p), v, s);
    storeLanes(next + <usize>i * row + at, s, n);
  }
}
