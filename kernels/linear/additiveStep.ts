import { exp, fma } from '../core/exp';
import { loadLanes, storeLanes } from '../core/lanes';
import { CHANNEL_GATE, HEAD_GATE, NO_GATE } from './additiveChunk';

/**
 * The same recurrence one token at a time, on the state [K, V] as it lies in the final state's tensor, or in `work`;
 * each token reads and writes it once. Arguments as those of additiveForward.
 */
export function additiveStep(
  q: usize, k: usize, v: usize, g: usize, u: usize, beta: usize, h0: usize, o: usize, hT: usize, offsets: usize, work: usize,
  gate: i32, H: i32, HV: i32, readers: i32, K: i32, V: i32, scale: f32, reverse: i32, begin: i32, end: i32,
): void {
  const size = <usize>(K * V) << 2, group = HV / H;
  const w = work, spare = work + (<usize>((K + 3) & ~3) << 2);
  for (let item = begin; item < end; item++) {
    const head = item % HV, sequence = <usize>(item / HV) << 2;
    const first = load<i32>(offsets + sequence), last = load<i32>(offsets + sequence, 4);
    const next = hT ? hT + <usize>item * size : spare;
    let state = next;
    if (h0 && first < last) state = h0 + <usize>item * size;
    else if (h0) memory.copy(next, h0 + <usize>item * size, size);
    else memory.fill(next, 0, size);
    const bonus: usize = u ? u + (<usize>(head / group * K) << 2) : 0;
    // the state is read before the token is written if there is a bonus, else after
    const writer = u ? readers - 1 : 0;
    for (let done = first; done < last; done++) {
      const token = reverse ? first + last - 1 - done : done, row = <usize>(token * HV + head);
      const keyRow = <usize>(token * H + head / group), key = k + (keyRow * <usize>K << 2), value = v + (row * <usize>V << 2);
      const by: f32 = beta ? load<f32>(beta + (row << 2)) : 1;
      loadDecay(w, g, gate, row, head, K);
      for (let reader = 0; reader < readers; reader++) {
        const query = q + ((keyRow * <usize>readers + <usize>reader) * <usize>K << 2);
        const out = o + ((row * <usize>readers + <usize>reader) * <usize>V << 2);
        const from = u || reader == writer ? state : next;
        let own: f32 = 0;
        for (let i = 0; i < K && bonus; i++) {
          const p = <usize>i << 2;
          own += load<f32>(query + p) * (load<f32>(bonus + p) * load<f32>(key + p));
        }
        let j = 0;
        for (; j + 16 <= V; j += 16) {
          const at = <usize>j << 2, to = next + at;
          if (reader == writer) wideColumns(query, key, value + at, by, w, from + at, to, out + at, K, V, scale, bonus, own, true);
          else wideColumns(query, key, value + at, by, w, from + at, to, out + at, K, V, scale, bonus, own, false);
        }
        for (; j < V; j += 4) {
          const at = <usize>j << 2, write = reader == writer;
          columns(query, key, value + at, by, w, from + at, next + at, out + at, K, V, scale, bonus, own, write, V - j);
        }
      }
      state = next;
    }
  }
}

/** w [K] of one token and head. */
function loadDecay(w: usize, g: usize, gate: i32, row: usize, head: i32, K: i32): void {
  let x = f32x4.splat(1);
  if (gate == HEAD_GATE) row = head;
  if (gate != NO_GATE && gate != CHANNEL_GATE) x = exp(v128.load32_splat(g + (row << 2)));
  for (let i = 0; i < K; i += 4) {
    const p = <usize>i << 2;
    if (gate == CHANNEL_GATE) x = exp(loadLanes(g + (row * <usize>K << 2) + p, K - i));
    v128.store(w + p, x);
  }
}

/** Sixteen columns of a step, or of what another reader than the one that writes reads in it. */
// @ts-ignore: decorator
@inline
function wideColumns(
  q: usize, k: usize, v: usize, beta: f32, w: usize, state: usize, next: usize, o: usize,
  K: i32, V: i32, scale: f32, before: usize, own: f32, write: bool,
): void {
  const row = <usize>V << 2, zero = f32x4.splat(0);
  const b = f32x4.splat(beta), v0 = f32x4.mul(b, v128.load(v)), v1 = f32x4.mul(b, v128.load(v, 16));
  const v2 = f32x4.mul(b, v128.load(v, 32)), v3 = f32x4.mul(b, v128.load(v, 48));
  let o0 = zero, o1 = zero, o2 = zero, o3 = zero;
  if (before) {
    const by = f32x4.splat(own);
    o0 = f32x4.mul(by, v0); o1 = f32x4.mul(by, v1); o2 = f32x4.mul(by, v2); o3 = f32x4.mul(by, v3);
  }
  for (let i = K; i > 0; i--) {
    let s0 = v128.load(state), s1 = v128.load(state, 16), s2 = v128.load(state, 32), s3 = v128.load(state, 48);
    let x = v128.load32_splat(q);
    if (before) {
      o0 = fma(x, s0, o0); o1 = fma(x, s1, o1); o2 = fma(x, s2, o2); o3 = fma(x, s3, o3);
    }
    if (write) {
      let y = v128.load32_splat(w);
      s0 = f32x4.mul(y, s0); s1 = f32x4.mul(y, s1); s2 = f32x4.mul(y, s2); s3 = f32x4.mul(y, s3);
      y = v128.load32_splat(k);
      s0 = fma(y, v0, s0); s1 = fma(y, v1, s1); s2 = fma(y, v2, s2); s3 = fma(y, v3, s3);
      v128.store(next, s0); v128.store(next, s1, 16); v128.store(next, s2, 32); v128.store(next, s3, 48);
    }
    if (!before) {
      o0 = fma(x, s0, o0); o1 = fma(x, s1, o1); o2 = fma(x, s2, o2); o3 = fma(x, s3, o3);
    }
    q += 4; k += 4; w += 4;
    state += row; next += row;
  }
  const x = f32x4.splat(scale);
  v128.store(o, f32x4.mul(x, o0)); v128.store(o, f32x4.mul(x, o1), 16);
  v128.store(o, f32x4.mul(x, o2), 32); v128.store(o, f32x4.mul(x, o3), 48);
}

/** The same for n <= 4 columns. */
function columns(
  q: usize, k: usize, v: usize, beta: f32, w: usize, state: usize, next: usize, o: usize,
  K: i32, V: i32, scale: f32, before: usize, own: f32, write: bool, n: i32,
): void {
  const row = <usize>V << 2, value = f32x4.mul(f32x4.splat(beta), loadLanes(v, n));
  let sum = before ? f32x4.mul(f32x4.splat(own), value) : f32x4.splat(0);
  for (let i = K; i > 0; i--) {
    let s = loadLanes(state, n);
    if (before) sum = fma(v128.load32_splat(q), s, sum);
    if (write) {
      s = fma(v128.load32_splat(k), value, f32x4.mul(v128.load32_splat(w), s));
      storeLanes(next, s, n);
    }
    if (!before) sum = fma(v128.load32_splat(q), s, sum);
    q += 4; k += 4; w += 4;
    state += row; next += row;
  }
  storeLanes(o, f32x4.mul(f32x4.splat(scale), sum), n);
}
