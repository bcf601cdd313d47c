import { columnTile } from '../core/tile';
import { fma } from '../core/exp';

// Every delta rule is one recurrence,
//
//   e_t = u_t + S_{t-1}^T x_t,   S_t = diag(w_t) S_{t-1} + b_t e_t^T [+ k_t v_t^T],   o_t = S_t^T q_t
//
// with x = -w k, b = beta k, u = v for the delta rules, and x = a, u = 0 and the second write for DPLR.
// It runs in chunks of 16 tokens. Within a chunk, with A = x.b, D = x.k (strictly lower) and M = q.b, N = q.k (lower),
// each product carrying the decay between its two tokens, and X, Q, B, K decayed to the chunk's start or end,
//
//   (I - A) E = U + X S + D V,   O = Q S + M E + N V,   S' = diag(w_1 ... w_16) S + B^T E + K^T V.
//
// Decays are running products of w, at most 16 long and never quotients, so any decay from 0 to -inf is right. A product
// over the distance of two tokens is split at the blocks of 4 tokens between them: x and q carry it from the start of
// their own block, b and k up to the block that reads them.
//
// Layout: channels are rows and tokens lanes. [K, 32] holds x in columns 0..15 and q in 16..31, or b and k likewise;
// the scores [32, 32] have x and q as rows, b and k as columns. State and values are panels of 8 columns: [V/8, rows, 8].

/** Bytes of a row of 32 floats, of a panel row, of a panel of 16 or 32 tokens. */
export const ROW: usize = 128;
export const PANEL_ROW: usize = 32;
export const HALF: usize = 64;
export const TOKENS_PANEL: usize = 512;
export const PAIR_PANEL: usize = 1024;

/** Where a chunk's pieces lie in scratch; K and V are padded to multiples of 8. */
@unmanaged
export class Chunk {
  K: i32;
  V: i32;
  /** 1 when only b is written, 2 when k is as well. */
  writes: i32;
  /** Whether the reads of x and q are wanted, not the writes alone. */
  reading: bool;
  /** Log decays: none, one per token or one per token and channel. */
  gate: i32;
  /** x | q and b | k [K, 32] as loaded; w [K, 16], or [16] with `decayPitch` 0 when all channels share it */
  reads: usize;
  keys: usize;
  decay: usize;
  decayPitch: usize;
  /** x | q decayed from the start of their block of 4, and from the start of the chunk */
  local: usize;
  full: usize;
  /** b | k decayed up to block i, in slot i = 1..4, the last being the chunk's end. With slotBytes = 0 all slots are one. */
  decayed: usize;
  slotBytes: usize;
  /** product of w over each block [K, 4], and over all of the chunk [K] */
  blockDecay: usize;
  total: usize;
  /** beta [16], after the sigmoid */
  beta: usize;
  /** of shared decays: w up to and including, up to but without, and after each token of the chunk [3, 16] */
  products: usize;
  /** and between two tokens: row 1 + i, column j is w_{j+1} ... w_i; row 0 is 0 [17, 16] */
  factors: usize;
  /** reciprocal norms of k, q and Comba's second key [3, 16] */
  norms: usize;
  scores: usize;
  /** e | v [V/8, 32, 8], or e alone with panels of 16 rows where there is one write; o [V/8, 16, 8] with panels of 32 */
  values: usize;
  valuePanel: usize;
  outputs: usize;
  /** [V/8, K, 8] */
  state: usize;
}

// @ts-ignore: decorator
@inline
export function slot(c: Chunk, block: i32): usize {
  return c.decayed + <usize>(block - 1) * c.slotBytes;
}

/** Log decays: none, one per head, one per channel. */
export const SCALAR_GATE: i32 = 1;
export const VECTOR_GATE: i32 = 2;

/** Decayed writes of the loaded chunk and, where they are wanted, its decayed reads and scores. */
export function prepareChunk(c: Chunk): void {
  if (c.gate != VECTOR_GATE) prepareShared(c);
  else if (c.reading) prepareChannels(c);
  else decayToEnd(c);
}

/** All channels share their decays, so the scores are plain products times what lies between their tokens. */
function prepareShared(c: Chunk): void {
  tokenProducts(c);
  for (let read: usize = 0; read < 2 && c.reading; read++) {
    for (let block: usize = 0; block < 4; block++) {
      const tokens = c.reads + read * HALF + (block << 4), rows = c.scores + (block * 4 + read * 16) * ROW;
      for (let write: usize = 0; write < <usize>c.writes; write++) {
        for (let column: usize = 0; column <= block << 4; column += 32) {
          const at = write * HALF + column;
          columnTile(tokens, ROW, c.keys + at, ROW, c.K, rows + at, ROW, false);
        }
        for (let row: usize = 0; row < 4; row++) {
          const scores = rows + row * ROW + write * HALF, factors = c.factors + (block * 4 + row + read) * HALF;
          for (let column: usize = 0; column <= block << 4; column += 16) {
            v128.store(scores + column, f32x4.mul(v128.load(scores + column), v128.load(factors + column)));
          }
          clearAbove(scores + (block << 4), row + read);
        }
      }
    }
  }
  if (c.gate == 0) return;
  const all = load<f32>(c.products, 60);
  for (let k: usize = 0; k < <usize>c.K; k++) {
    store<f32>(c.total + (k << 2), all);
    for (let lane: usize = 0; lane < HALF; lane += 16) {
      const at = k * ROW + lane, upTo = v128.load(c.products + lane), before = v128.load(c.products + lane, 64);
      v128.store(c.full + at, f32x4.mul(before, v128.load(c.reads + at)));
      v128.store(c.full + at, f32x4.mul(upTo, v128.load(c.reads + at, 64)), 64);
      v128.store(c.decayed + at, f32x4.mul(v128.load(c.products + lane, 128), v128.load(c.keys + at)));
    }
  }
}

/** Keeps the first n <= 4 scores of a row of a block: a product with a later token need be no number. */
// @ts-ignore: decorator
@inline
function clearAbove(x: usize, n: usize): void {
  const kept = i32x4.gt_s(i32x4.splat(<i32>n), i32x4(0, 1, 2, 3));
  v128.store(x, v128.and(v128.load(x), kept));
}

/** Products of the shared decays, and the factors of the scores. */
function tokenProducts(c: Chunk): void {
  let before: f32 = 1, after: f32 = 1;
  memory.fill(c.factors, 0, 17 * HALF);
  for (let i: usize = 0; i < 16; i++) {
    const p = c.products + (i << 2), w = load<f32>(c.decay + (i << 2)), last = 15 - i;
    store<f32>(p, before, 64);
    before *= w;
    store<f32>(p, before);
    store<f32>(c.products + (last << 2), after, 128);
    after *= load<f32>(c.decay + (last << 2));
    const row = c.factors + i * HALF, by = f32x4.splat(w);
    for (let lane: usize = 0; lane < HALF; lane += 16) v128.store(row + lane, f32x4.mul(by, v128.load(row + lane)), 64);
    store<f32>(row + (i << 2), 1, 64);
  }
}

/** Every channel has its own decays. */
function prepareChannels(c: Chunk): void {
  for (let k = 0; k < c.K; k++) store<f32>(c.total + (<usize>k << 2), 1);
  for (let block = 0; block < 4; block++) {
    decayBlock(c, block);
    if (block > 0) crossScores(c, block);
    for (let write = 0; write < c.writes; write++) diagonalScores(c, block, write);
  }
  decayWrites(c, 3);
}

/** The writes decayed to the chunk's end. */
function decayToEnd(c: Chunk): void {
  const to = slot(c, 4);
  for (let k: usize = 0; k < <usize>c.K; k++) {
    const row = k * ROW;
    let end = f32x4.splat(1);
    for (let lane: usize = HALF; lane > 0;) {
      lane -= 16;
      const w = v128.load(c.decay + k * HALF + lane), after = f32x4.mul(end, following(w));
      v128.store(to + row + lane, f32x4.mul(after, v128.load(c.keys + row + lane)));
      if (c.writes == 2) v128.store(to + row + lane, f32x4.mul(after, v128.load(c.keys + row + lane, 64)), 64);
      const first = f32x4.mul(w, after);
      end = v128.shuffle<i32>(first, first, 0, 0, 0, 0);
    }
    store<f32>(c.total + (k << 2), f32x4.extract_lane(end, 0));
  }
}

/** [1, w0, w0 w1, w0 w1 w2, ...] of one block are these products of its four lanes. */
// @ts-ignore: decorator
@inline
export function inclusive(w: v128): v128 {
  const one = f32x4.splat(1);
  const p = f32x4.mul(w, v128.shuffle<f32>(one, w, 0, 4, 5, 6));
  return f32x4.mul(p, v128.shuffle<f32>(one, p, 0, 1, 4, 5));
}
// @ts-ignore: decorator
@inline
export function exclusive(inclusiveProducts: v128): v128 {
  return v128.shuffle<f32>(f32x4.splat(1), inclusiveProducts, 0, 4, 5, 6);
}
/** [w1 w2 w3, w2 w3, w3, 1] */
// @ts-ignore: decorator
@inline
export function following(w: v128): v128 {
  const one = f32x4.splat(1);
  const p = v128.shuffle<f32>(w, one, 1, 2, 3, 4);
  const pairs = f32x4.mul(p, v128.shuffle<f32>(p, one, 1, 2, 3, 4));
  return f32x4.mul(pairs, v128.shuffle<f32>(pairs, one, 2, 3, 4, 5));
}
/** Lane i takes lane i - 1; lane 0 takes 0. */
// @ts-ignore: decorator
@inline
export function later(x: v128): v128 {
  return v128.shuffle<f32>(f32x4.splat(0), x, 0, 4, 5, 6);
}
/** Lane i takes lane i + 1; lane 3 takes 0. */
// @ts-ignore: decorator
@inline
export function earlier(x: v128): v128 {
  return v128.shuffle<f32>(x, f32x4.splat(0), 1, 2, 3, 4);
}

/** Moves the writes of the earlier blocks up to `block` and decays the reads and writes of `block` itself. */
function decayBlock(c: Chunk, block: i32): void {
  if (block > 0) decayWrites(c, block - 1);
  const lane = <usize>block << 4;
  const to = slot(c, block + 1);
  for (let k = 0; k < c.K; k++) {
    const row = <usize>k * ROW + lane;
    const w = v128.load(c.decay + <usize>k * HALF + lane); // [4 tokens]
    const upTo = inclusive(w), before = exclusive(upTo), after = following(w);
    const start = v128.load32_splat(c.total + (<usize>k << 2));
    const x = f32x4.mul(v128.load(c.reads + row), before);
    v128.store(c.local + row, x);
    v128.store(c.full + row, f32x4.mul(x, start));
    const q = f32x4.mul(v128.load(c.reads + row, 64), upTo);
    v128.store(c.local + row, q, 64);
    v128.store(c.full + row, f32x4.mul(q, start), 64);
    v128.store(to + row, f32x4.mul(v128.load(c.keys + row), after));
    if (c.writes == 2) v128.store(to + row, f32x4.mul(v128.load(c.keys + row, 64), after), 64);
    const product = f32x4.extract_lane(upTo, 3);
    store<f32>(c.blockDecay + (<usize>k << 4) + (<usize>block << 2), product);
    store<f32>(c.total + (<usize>k << 2), product * f32x4.extract_lane(start, 0));
  }
}

/** Moves the writes of the blocks before `block` past it: slot block -> slot block + 1. */
function decayWrites(c: Chunk, block: i32): void {
  if (block == 0) return;
  const from = slot(c, block), to = slot(c, block + 1);
  const lanes = <usize>block << 4;
  for (let k = 0; k < c.K; k++) {
    const w = v128.load32_splat(c.blockDecay + (<usize>k << 4) + (<usize>block << 2));
    for (let write: usize = 0; write < <usize>c.writes; write++) {
      const row = <usize>k * ROW + write * HALF;
      for (let lane: usize = 0; lane < lanes; lane += 16) {
        v128.store(to + row + lane, f32x4.mul(w, v128.load(from + row + lane)));
      }
    }
  }
}

/** Scores of `block` against all blocks before it, up to the end of the tile of 8 that holds them. */
function crossScores(c: Chunk, block: i32): void {
  const lane = <usize>block << 4, columns = <usize>block << 4;
  const writes = slot(c, block);
  for (let read: usize = 0; read < 2; read++) {
    const rows = c.scores + (<usize>block * 4 + read * 16) * ROW;
    for (let write: usize = 0; write < <usize>c.writes; write++) {
      for (let column: usize = 0; column < columns; column += 32) {
        const at = write * HALF + column;
        columnTile(c.local + read * HALF + lane, ROW, writes + at, ROW, c.K, rows + at, ROW, false);
      }
    }
  }
}

/** Scores within `block`: strictly lower for x, lower for q; zero above. */
function diagonalScores(c: Chunk, block: i32, write: i32): void {
  const lane = <usize>block << 4, column = <usize>write * HALF + lane;
  const zero = f32x4.splat(0);
  let x1 = zero, x2 = zero, x3 = zero, q0 = zero, q1 = zero, q2 = zero, q3 = zero;
  for (let k = 0; k < c.K; k++) {
    const row = <usize>k * ROW;
    const w = v128.load(c.decay + <usize>k * HALF + lane);
    const x = v128.load(c.reads + row + lane), q = v128.load(c.reads + row + lane, 64);
    const own = v128.load(c.keys + row + column);
    // the write of one, two, three tokens ago, as x sees it (before the decay) and as q does (after it)
    const b1 = later(own), c1 = f32x4.mul(w, b1);
    const b2 = later(c1), c2 = f32x4.mul(w, b2);
    const b3 = later(c2), c3 = f32x4.mul(w, b3);
    q0 = fma(q, own, q0); q1 = fma(q, c1, q1); q2 = fma(q, c2, q2); q3 = fma(q, c3, q3);
    x1 = fma(x, b1, x1); x2 = fma(x, b2, x2); x3 = fma(x, b3, x3);
  }
  const rx = c.scores + (<usize>block * 4) * ROW + column, rq = rx + 16 * ROW;
  placeDiagonal(rx, zero, x1, x2, x3);
  placeDiagonal(rq, q0, q1, q2, q3);
}

/** Lane i of d_n goes to row i, column i - n. */
// @ts-ignore: decorator
@inline
function placeDiagonal(to: usize, d0: v128, d1: v128, d2: v128, d3: v128): void {
  const zero = f32x4.splat(0);
  v128.store(to, v128.shuffle<f32>(d0, zero, 0, 4, 5, 6));
  const r1 = v128.shuffle<f32>(d1, d0, 1, 5, 1, 5);
  v128.store(to + ROW, v128.shuffle<f32>(r1, zero, 0, 1, 4, 5));
  const r2 = v128.shuffle<f32>(d2, d1, 2, 6, 2, 6);
  const s2 = v128.shuffle<f32>(d0, zero, 2, 4, 5, 6);
  v128.store(to + 2 * ROW, v128.shuffle<f32>(r2, s2, 0, 1, 4, 5));
  const r3 = v128.shuffle<f32>(d3, d2, 3, 7, 3, 7), s3 = v128.shuffle<f32>(d1, d0, 3, 7, 3, 7);
  v128.store(to + 3 * ROW, v128.shuffle<f32>(r3, s3, 0, 1, 4, 5));
}

/** E = (I - A)^-1 E for rows [4 block, 4 block + 4) of a panel: those before are done. a points to scores row 4 block. */
// @ts-ignore: decorator
@inline
export function solveTile(a: usize, e: usize, block: i32): void {
  const c = e + (<usize>block << 7);
  const a1 = a + ROW, a2 = a + 2 * ROW, a3 = a + 3 * ROW;
  let c00 = v128.load(c), c01 = v128.load(c, 16), c10 = v128.load(c, 32), c11 = v128.load(c, 48);
  let c20 = v128.load(c, 64), c21 = v128.load(c, 80), c30 = v128.load(c, 96), c31 = v128.load(c, 112);
  let at: usize = 0, from = e;
  for (let s = block << 2; s > 0; s--) {
    const e0 = v128.load(from), e1 = v128.load(from, 16);
    let x = v128.load32_splat(a + at);
    c00 = fma(x, e0, c00); c01 = fma(x, e1, c01);
    x = v128.load32_splat(a1 + at);
    c10 = fma(x, e0, c10); c11 = fma(x, e1, c11);
    x = v128.load32_splat(a2 + at);
    c20 = fma(x, e0, c20); c21 = fma(x, e1, c21);
    x = v128.load32_splat(a3 + at);
    c30 = fma(x, e0, c30); c31 = fma(x, e1, c31);
    at += 4;
    from += PANEL_ROW;
  }
  let x = v128.load32_splat(a1 + at);
  c10 = fma(x, c00, c10); c11 = fma(x, c01, c11);
  x = v128.load32_splat(a2 + at);
  c20 = fma(x, c00, c20); c21 = fma(x, c01, c21);
  x = v128.load32_splat(a2 + at, 4);
  c20 = fma(x, c10, c20); c21 = fma(x, c11, c21);
  x = v128.load32_splat(a3 + at);
  c30 = fma(x, c00, c30); c31 = fma(x, c01, c31);
  x = v128.load32_splat(a3 + at, 4);
  c30 = fma(x, c10, c30); c31 = fma(x, c11, c31);
  x = v128.load32_splat(a3 + at, 8);
  c30 = fma(x, c20, c30); c31 = fma(x, c21, c31);
  v128.store(c, c00); v128.store(c, c01, 16); v128.store(c, c10, 32); v128.store(c, c11, 48);
  v128.store(c, c20, 64); v128.store(c, c21, 80); v128.store(c, c30, 96); v128.store(c, c31, 112);
}

/** Rows k..k+3 of a state panel: to = diag(d) S + sum over s < n of a[k][s] b[s]; `to` may be S. */
// @ts-ignore: decorator
@inline
export function stateTile(a: usize, b: usize, n: i32, s: usize, to: usize, d: usize): void {
  let x = v128.load32_splat(d);
  let c00 = f32x4.mul(x, v128.load(s)), c01 = f32x4.mul(x, v128.load(s, 16));
  x = v128.load32_splat(d, 4);
  let c10 = f32x4.mul(x, v128.load(s, 32)), c11 = f32x4.mul(x, v128.load(s, 48));
  x = v128.load32_splat(d, 8);
  let c20 = f32x4.mul(x, v128.load(s, 64)), c21 = f32x4.mul(x, v128.load(s, 80));
  x = v128.load32_splat(d, 12);
  let c30 = f32x4.mul(x, v128.load(s, 96)), c31 = f32x4.mul(x, v128.load(s, 112));
  let pa = a, pb = b;
  for (let i = n; i > 0; i--) {
    const b0 = v128.load(pb), b1 = v128.load(pb, 16);
    x = v128.load32_splat(pa);
    c00 = fma(x, b0, c00); c01 = fma(x, b1, c01);
    x = v128.load32_splat(pa, 128);
    c10 = fma(x, b0, c10); c11 = fma(x, b1, c11);
    x = v128.load32_splat(pa, 256);
    c20 = fma(x, b0, c20); c21 = fma(x, b1, c21);
    x = v128.load32_splat(pa, 384);
    c30 = fma(x, b0, c30); c31 = fma(x, b1, c31);
    pa += 4;
    pb += PANEL_ROW;
  }
  v128.store(to, c00); v128.store(to, c01, 16); v128.store(to, c10, 32); v128.store(to, c11, 48);
  v128.store(to, c20, 64); v128.store(to, c21, 80); v128.store(to, c30, 96); v128.store(to, c31, 112);
}

