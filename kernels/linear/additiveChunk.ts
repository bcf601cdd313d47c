import { exp } from '../core/exp';
import { fetchHeads } from '../core/fetch';
import { loadLanes } from '../core/lanes';
import { product } from '../core/product';
import { sumLanes } from '../core/reduce';
import { loadColumns } from '../core/transpose';
import { statesAfter, statesBefore, Turn, Turns } from './turns';

// Every additive recurrence is
//
//   S_t = diag(w_t) S_{t-1} + k_t v_t^T,   o_t = S_t^T q_t   or, with a bonus u,   o_t = (S_{t-1} + diag(u) k_t v_t^T)^T q_t
//
// where beta_t v_t may stand for v_t, and runs in chunks of 16 tokens: with the scores A(t, s) = q_t . k_s, each product
// carrying the decay between its two tokens, and Q, K decayed from the chunk's start and to its end,
//
//   O = Q S + A V,   S' = diag(w_1 ... w_16) S + K^T V.
//
// Decays are running products of w, at most 16 long and never quotients, so any decay from 0 to -inf is right. Where
// channels decay apart, the product between two tokens is split at the blocks of 4 tokens between them: q carries it from
// the start of its own block, k up to the block that reads it.

export const NO_GATE: i32 = 0;
/** One log decay per token and head, per token and channel, or one per head that never changes. */
export const TOKEN_GATE: i32 = 1;
export const CHANNEL_GATE: i32 = 2;
export const HEAD_GATE: i32 = 3;

/** Tokens of a chunk, and the bytes of a row of scores. */
export const TOKENS: i32 = 16;
export const SCORES_ROW: usize = 64;

/** The tensors and sizes of a call and where the pieces of a chunk lie; K and V are padded to multiples of 8. */
@unmanaged
export class Additive {
  q: usize;
  k: usize;
  v: usize;
  g: usize;
  u: usize;
  /** factors of the rows of v [T, HV], or 0 */
  beta: usize;
  gate: i32;
  H: i32;
  HV: i32;
  /** query heads that read the state of each value head */
  readers: i32;
  K: i32;
  V: i32;
  Kp: i32;
  Vp: i32;
  scale: f32;
  reverse: i32;
  /** Bytes of a row of the chunk's q and k, of its v and o, of the state. */
  rowK: usize;
  rowV: usize;
  rowS: usize;
  /** q scaled [16, K], later decayed from the start of the chunk; k [16, K] of gates per channel, and its transpose [K, 16] */
  queries: usize;
  rows: usize;
  keys: usize;
  /** w [16, K] of gates per channel, else w, its running product and the product after each token [3, 16] */
  decay: usize;
  /** decay between two tokens, 0 where the second is earlier [16, 16] */
  factors: usize;
  /** product of w over each block [4, K], and over the chunk [K] */
  blocks: usize;
  total: usize;
  /** u [K] of the head at hand */
  bonus: usize;
  scores: usize;
  values: usize;
  outputs: usize;
  /** [K, V] */
  state: usize;
  /** states before every `apart` chunks, as the way forward keeps them, and how many there are of the sequences before each */
  checkpoints: usize;
  places: usize;
  apart: i32;
}

/** Where the state is kept before the `apart` chunks of a sequence that begin with chunk n. */
// @ts-ignore: decorator
@inline
export function checkpointOf(c: Additive, sequence: i32, head: i32, n: i32): usize {
  const place = load<i32>(c.places + (<usize>sequence << 2)) + n / c.apart;
  return c.checkpoints + <usize>(place * c.HV + head) * (<usize>c.Kp * c.rowV);
}

// @ts-ignore: decorator
@inline
export function padded(size: i32): i32 {
  return max(8, (size + 7) & ~7);
}

export function fillAdditive(
  c: Additive, q: usize, k: usize, v: usize, g: usize, u: usize, beta: usize,
  gate: i32, H: i32, HV: i32, readers: i32, K: i32, V: i32, scale: f32, reverse: i32,
  checkpoints: usize, places: usize, apart: i32,
): void {
  c.checkpoints = checkpoints;
  c.places = places;
  c.apart = apart;
  c.q = q;
  c.k = k;
  c.v = v;
  c.g = g;
  c.u = u;
  c.beta = beta;
  c.gate = gate;
  c.H = H;
  c.HV = HV;
  c.readers = readers;
  c.K = K;
  c.V = V;
  c.Kp = padded(K);
  c.Vp = padded(V);
  c.scale = scale;
  c.reverse = reverse;
  c.rowK = <usize>c.Kp << 2;
  c.rowV = <usize>c.Vp << 2;
  c.rowS = c.rowV + 32;
}

/** Carves the pieces of a chunk out of `work`; returns what follows them. */
export function layOutChunk(c: Additive, work: usize): usize {
  c.queries = work;
  c.rows = c.queries + 16 * c.rowK;
  c.keys = c.rows + 16 * c.rowK;
  c.decay = c.keys + 16 * c.rowK;
  c.blocks = c.decay + 16 * c.rowK;
  c.total = c.blocks + 4 * c.rowK;
  c.bonus = c.total + c.rowK;
  c.factors = c.bonus + c.rowK;
  c.scores = c.factors + 16 * SCORES_ROW;
  c.values = c.scores + 16 * SCORES_ROW;
  c.outputs = c.values + 16 * c.rowV;
  return c.outputs + 16 * c.rowV;
}

/** Bytes from one token's row to the next one's, in the order of the recurrence. */
// @ts-ignore: decorator
@inline
export function pitchOf(c: Additive, heads: i32, D: i32): usize {
  const row = <usize>(heads * D) << 2;
  return c.reverse ? 0 - row : row;
}

/** Fetches k, v and g of heads [from, to) in a chunk. */
export function fetchInputs(c: Additive, from: i32, to: i32, token: i32, rows: i32): void {
  fetchKeys(c, c.k, from, to, token, rows);
  fetchValues(c, c.v, from, to, token, rows);
  fetchGates(c, c.g, from, to, token, rows);
}

/** Fetches what is laid out as k [T, H, K], as q, as v [T, HV, V], as the output or as g [T, HV, K] of a gate per channel. */
export function fetchKeys(c: Additive, x: usize, from: i32, to: i32, token: i32, rows: i32): void {
  const group = c.HV / c.H;
  fetchHeads(x, c.H, c.K, from / group, (to - 1) / group + 1, token, rows, c.reverse != 0, c.scores);
}

export function fetchQueries(c: Additive, x: usize, from: i32, to: i32, token: i32, rows: i32): void {
  const group = c.HV / c.H, n = c.readers, first = from / group * n, end = ((to - 1) / group + 1) * n;
  fetchHeads(x, c.H * n, c.K, first, end, token, rows, c.reverse != 0, c.scores);
}

export function fetchValues(c: Additive, x: usize, from: i32, to: i32, token: i32, rows: i32): void {
  fetchHeads(x, c.HV, c.V, from, to, token, rows, c.reverse != 0, c.scores);
}

export function fetchOutputs(c: Additive, x: usize, from: i32, to: i32, token: i32, rows: i32): void {
  const n = c.readers;
  fetchHeads(x, c.HV * n, c.V, from * n, to * n, token, rows, c.reverse != 0, c.scores);
}

export function fetchGates(c: Additive, x: usize, from: i32, to: i32, token: i32, rows: i32): void {
  if (c.gate == CHANNEL_GATE) fetchHeads(x, c.HV, c.K, from, to, token, rows, c.reverse != 0, c.scores);
}

/** dst [16, Dp] = scale src [rows, D], zeros where there is nothing. */
export function loadRows(src: usize, pitch: usize, rows: i32, D: i32, dst: usize, Dp: i32, scale: f32): void {
  const by = f32x4.splat(scale);
  let from = src, to = dst;
  for (let i = 0; i < rows; i++, from += pitch) {
    let d = 0;
    for (; d + 4 <= D; d += 4, to += 16) v128.store(to, f32x4.mul(by, v128.load(from + (<usize>d << 2))));
    if (d < D) {
      v128.store(to, f32x4.mul(by, loadLanes(from + (<usize>d << 2), D - d)));
      to += 16;
      d += 4;
    }
    for (; d < Dp; d += 4, to += 16) v128.store(to, f32x4.splat(0));
  }
  memory.fill(to, 0, <usize>((TOKENS - rows) * Dp) << 2);
}

/** dst [rows, D] = src [16, Dp], or added to what is there. */
export function storeRows(src: usize, Dp: i32, rows: i32, D: i32, dst: usize, pitch: usize, accumulate: bool): void {
  for (let i = 0; i < rows; i++) {
    const from = src + (<usize>(i * Dp) << 2), to = dst + <usize>i * pitch;
    let d = 0;
    for (; d + 4 <= D; d += 4) {
      const at = <usize>d << 2, x = v128.load(from + at);
      v128.store(to + at, accumulate ? f32x4.add(x, v128.load(to + at)) : x);
    }
    for (; d < D; d++) {
      const at = <usize>d << 2, x = load<f32>(from + at);
      store<f32>(to + at, accumulate ? x + load<f32>(to + at) : x);
    }
  }
}

/** state [rows, columns] with rows of `pitch` bytes and zeros around it = src [K, V]; src may be 0. */
export function loadState(src: usize, K: i32, V: i32, state: usize, Kp: i32, pitch: usize): void {
  memory.fill(state, 0, <usize>Kp * pitch);
  if (!src) return;
  for (let k = 0; k < K; k++) {
    memory.copy(state + <usize>k * pitch, src + (<usize>(k * V) << 2), <usize>V << 2);
  }
}

export function storeState(state: usize, pitch: usize, K: i32, V: i32, dst: usize): void {
  for (let k = 0; k < K; k++) {
    memory.copy(dst + (<usize>(k * V) << 2), state + <usize>k * pitch, <usize>V << 2);
  }
}

/** Loads the states of the heads of a turn: those of h0 [N, heads, K, V], or zeros, where it begins a sequence. */
export function beginStates(
  turn: Turn, turns: Turns, h0: usize, K: i32, V: i32, states: usize, Kp: i32, pitch: usize,
): void {
  const size = <usize>(K * V) << 2, before = statesBefore(turn, turns, h0);
  for (let head = turn.from; head < turn.to; head++, states += turns.bytes) {
    const from = before ? before + <usize>(turn.sequence * turns.heads + head) * size : 0;
    loadState(from, K, V, states, Kp, pitch);
  }
}

/** Stores them, to hT where it ends the sequence, if that is wanted. */
export function endStates(
  turn: Turn, turns: Turns, hT: usize, K: i32, V: i32, states: usize, pitch: usize,
): void {
  const size = <usize>(K * V) << 2, after = statesAfter(turn, turns, hT);
  if (!after) return;
  for (let head = turn.from; head < turn.to; head++, states += turns.bytes) {
    storeState(states, pitch, K, V, after + <usize>(turn.sequence * turns.heads + head) * size);
  }
}

/**
 * Loads q of one reader of a value head, and k anew, which the reader before has left decayed.
 * `token` is the first of `rows` <= 16 in the order of the recurrence.
 */
export function loadReader(c: Additive, head: i32, reader: i32, token: i32, rows: i32): void {
  const key = keyAt(c, head, token), pitch = pitchOf(c, c.H, c.K);
  const query = c.q + queryAt(c, head, reader, token);
  loadRows(query, pitchOf(c, c.H * c.readers, c.K), rows, c.K, c.queries, c.Kp, c.scale);
  if (c.gate == CHANNEL_GATE) loadRows(c.k + key, pitch, rows, c.K, c.rows, c.Kp, 1);
  else loadColumns(c.k + key, pitch, rows, c.K, c.keys, SCORES_ROW, c.Kp);
}

/** Only what the state takes up: k decayed to the chunk's end as `rows`, v and the chunk's decay. */
export function loadWritten(c: Additive, head: i32, token: i32, rows: i32): void {
  loadRows(c.k + keyAt(c, head, token), pitchOf(c, c.H, c.K), rows, c.K, c.rows, c.Kp, 1);
  loadValues(c, head, token, rows);
  if (c.gate == CHANNEL_GATE) decayToEnd(c, c.rows, c.rows, c.total);
  else if (c.gate != NO_GATE) {
    scaleRows(c.rows, c.rowK, c.decay + 128);
    shareTotal(c);
  }
}

/** y [16, K] = x times the decays after each token, and total [K] the product of all. */
export function decayToEnd(c: Additive, x: usize, y: usize, total: usize): void {
  for (let p: usize = 0; p < c.rowK; p += 16) {
    let d = f32x4.splat(1);
    for (let at = c.rowK << 4; at > 0;) {
      at -= c.rowK;
      v128.store(y + at + p, f32x4.mul(d, v128.load(x + at + p)));
      d = f32x4.mul(d, v128.load(c.decay + at + p));
    }
    v128.store(total + p, d);
  }
}

/** Bytes to a token's k and v of a value head, and to q and output of one of its readers. */
// @ts-ignore: decorator
@inline
export function keyAt(c: Additive, head: i32, token: i32): usize {
  return (<usize>token * <usize>(c.H * c.K) + <usize>(head / (c.HV / c.H) * c.K)) << 2;
}

// @ts-ignore: decorator
@inline
export function queryAt(c: Additive, head: i32, reader: i32, token: i32): usize {
  return (<usize>(token * c.H + head / (c.HV / c.H)) * <usize>c.readers + <usize>reader) * <usize>c.K << 2;
}

// @ts-ignore: decorator
@inline
export function valueAt(c: Additive, head: i32, token: i32): usize {
  return <usize>(token * c.HV + head) * <usize>c.V << 2;
}

// @ts-ignore: decorator
@inline
export function outputAt(c: Additive, head: i32, reader: i32, token: i32): usize {
  return (<usize>(token * c.HV + head) * <usize>c.readers + <usize>reader) * <usize>c.V << 2;
}

/** Loads v, times beta if there is one, and the decays of a value head. */
export function loadValues(c: Additive, head: i32, token: i32, rows: i32): void {
  const HV = c.HV, K = c.K;
  loadRows(c.v + valueAt(c, head, token), pitchOf(c, HV, c.V), rows, c.V, c.values, c.Vp, 1);
  if (c.beta) scaleByBeta(c, c.values, head, token, rows);
  if (c.gate == CHANNEL_GATE) {
    const gates = c.g + ((<usize>token * <usize>(HV * K) + <usize>(head * K)) << 2);
    loadRows(gates, pitchOf(c, HV, K), rows, K, c.decay, c.Kp, 1);
    const end = c.decay + 16 * c.rowK;
    for (let p = c.decay; p < end; p += 16) v128.store(p, exp(v128.load(p)));
  } else if (c.gate != NO_GATE) loadTokenDecays(c, head, token, rows);
}

/** x [rows, V] times beta of each token of a value head. */
function scaleByBeta(c: Additive, x: usize, head: i32, token: i32, rows: i32): void {
  let beta = c.beta + (<usize>(token * c.HV + head) << 2);
  for (let end = x + <usize>rows * c.rowV, pitch = pitchOf(c, c.HV, 1); x < end; beta += pitch) {
    const by = v128.load32_splat(beta);
    for (let row = x + c.rowV; x < row; x += 16) v128.store(x, f32x4.mul(by, v128.load(x)));
  }
}

function loadTokenDecays(c: Additive, head: i32, token: i32, rows: i32): void {
  const constant = c.gate == HEAD_GATE;
  const pitch: usize = constant ? 0 : pitchOf(c, c.HV, 1);
  let from = c.g + (<usize>((constant ? 0 : token) * c.HV + head) << 2);
  for (let i = 0; i < TOKENS; i++) {
    store<f32>(c.decay + (<usize>i << 2), i < rows ? load<f32>(from) : 0);
    if (i + 1 < rows) from += pitch;
  }
  for (let lane: usize = 0; lane < 64; lane += 16) {
    v128.store(c.decay + lane, exp(v128.load(c.decay + lane)));
  }
  tokenProducts(c);
}

/** Running products of shared decays, and those between any two tokens. */
function tokenProducts(c: Additive): void {
  let before: f32 = 1, after: f32 = 1;
  let f0 = f32x4.splat(0), f1 = f0, f2 = f0, f3 = f0;
  for (let i: usize = 0; i < 64; i += 4) {
    before *= load<f32>(c.decay + i);
    store<f32>(c.decay + i, before, 64);
    store<f32>(c.decay + 60 - i, after, 128);
    after *= load<f32>(c.decay + 60 - i);
    const w = v128.load32_splat(c.decay + i), row = c.factors + (i << 4);
    f0 = f32x4.mul(f0, w); f1 = f32x4.mul(f1, w); f2 = f32x4.mul(f2, w); f3 = f32x4.mul(f3, w);
    v128.store(row, f0); v128.store(row, f1, 16); v128.store(row, f2, 32); v128.store(row, f3, 48);
    store<f32>(row + i, 1);
    f0 = v128.load(row); f1 = v128.load(row, 16); f2 = v128.load(row, 32); f3 = v128.load(row, 48);
  }
}

/** What a call without decays has instead. */
export function withoutDecays(c: Additive): void {
  for (let i: usize = 0; i < 64; i += 4) store<f32>(c.decay + i, 1);
  tokenProducts(c);
}

export function loadBonus(c: Additive, head: i32): void {
  memory.fill(c.bonus, 0, c.rowK);
  memory.copy(c.bonus, c.u + (<usize>(head / (c.HV / c.H) * c.K) << 2), <usize>c.K << 2);
}

/** Scores of the loaded chunk; afterwards queries are decayed from its start and keys to its end. */
export function prepareChunk(c: Additive): void {
  if (c.gate == CHANNEL_GATE) prepareChannels(c);
  else prepareShared(c);
}

/** x [16, 16] = a [16, n] b [n, 16], on and below the diagonal of its blocks of 8. */
// @ts-ignore: decorator
@inline
export function lowerProduct(a: usize, rowA: usize, b: usize, n: i32, x: usize): void {
  product(a, rowA, 4, b, SCORES_ROW, n, x, SCORES_ROW, 8, 8, false);
  product(a + 8 * rowA, rowA, 4, b, SCORES_ROW, n, x + 8 * SCORES_ROW, SCORES_ROW, 8, 16, false);
}

/** The same blocks times the decays between their tokens, zeros above the diagonal. */
export function decayScores(c: Additive, x: usize): void {
  for (let at: usize = 0; at < 16 * SCORES_ROW; at += SCORES_ROW) {
    const row = x + at, factors = c.factors + at;
    v128.store(row, f32x4.mul(v128.load(row), v128.load(factors)));
    v128.store(row, f32x4.mul(v128.load(row, 16), v128.load(factors, 16)), 16);
    if (at < 8 * SCORES_ROW) continue;
    v128.store(row, f32x4.mul(v128.load(row, 32), v128.load(factors, 32)), 32);
    v128.store(row, f32x4.mul(v128.load(row, 48), v128.load(factors, 48)), 48);
  }
}

/** Zeros above the diagonal of the scores' blocks of 8, also where a product with a later token was no number. */
function clearAbove(scores: usize): void {
  const zero = f32x4.splat(0);
  for (let b: usize = 0; b < 4; b++) {
    const x0 = scores + (b << 2) * SCORES_ROW + (b << 4), x1 = x0 + SCORES_ROW, x2 = x1 + SCORES_ROW;
    v128.store(x0, v128.and(v128.load(x0), i32x4(-1, 0, 0, 0)));
    v128.store(x1, v128.and(v128.load(x1), i32x4(-1, -1, 0, 0)));
    v128.store(x2, v128.and(v128.load(x2), i32x4(-1, -1, -1, 0)));
    if (b & 1) continue;
    v128.store(x0, zero, 16); v128.store(x1, zero, 16); v128.store(x2, zero, 16); v128.store(x2 + SCORES_ROW, zero, 16);
  }
}

function prepareShared(c: Additive): void {
  lowerProduct(c.queries, c.rowK, c.keys, c.Kp, c.scores);
  decayScores(c, c.scores);
  clearAbove(c.scores);
  if (c.gate == NO_GATE) return;
  scaleRows(c.queries, c.rowK, c.decay + 64);
  const a0 = v128.load(c.decay, 128), a1 = v128.load(c.decay, 144);
  const a2 = v128.load(c.decay, 160), a3 = v128.load(c.decay, 176);
  const end = c.keys + 16 * c.rowK;
  for (let p = c.keys; p < end; p += 64) {
    v128.store(p, f32x4.mul(a0, v128.load(p)));
    v128.store(p, f32x4.mul(a1, v128.load(p, 16)), 16);
    v128.store(p, f32x4.mul(a2, v128.load(p, 32)), 32);
    v128.store(p, f32x4.mul(a3, v128.load(p, 48)), 48);
  }
  shareTotal(c);
}

/** total [K] of decays that the channels share. */
// @ts-ignore: decorator
@inline
export function shareTotal(c: Additive): void {
  const total = v128.load32_splat(c.decay + 124);
  for (let p: usize = 0; p < c.rowK; p += 16) v128.store(c.total + p, total);
}

/** x [16, n] times one number per row. */
export function scaleRows(x: usize, row: usize, by: usize): void {
  let p = x;
  for (let i: usize = 0; i < 64; i += 4) {
    const factor = v128.load32_splat(by + i), end = p + row;
    for (; p < end; p += 16) v128.store(p, f32x4.mul(factor, v128.load(p)));
  }
}

function prepareChannels(c: Additive): void {
  const block = c.rowK << 2;
  for (let b: usize = 0; b < 4; b++) decayBlock(c, b);
  for (let b: usize = 1; b < 4; b++) {
    if (b > 1) decayKeys(c, b - 1);
    product(
      c.queries + b * block, c.rowK, 4, c.keys, SCORES_ROW, c.Kp, c.scores + (b << 2) * SCORES_ROW, SCORES_ROW, 4,
      b == 3 ? 16 : 8, false,
    );
  }
  decayKeys(c, 3);
  for (let b: usize = 0; b < 4; b++) diagonalScores(c, b);
  // from the block's start to the chunk's
  for (let p: usize = 0; p < c.rowK; p += 16) {
    let d = v128.load(c.blocks + p);
    for (let b: usize = 1; b < 4; b++) {
      const q = c.queries + b * block + p;
      for (let i: usize = 0; i < block; i += c.rowK) v128.store(q + i, f32x4.mul(d, v128.load(q + i)));
      d = f32x4.mul(d, v128.load(c.blocks + b * c.rowK + p));
    }
    v128.store(c.total + p, d);
  }
}

/** Keys of the blocks before `b` decay through it. */
function decayKeys(c: Additive, b: usize): void {
  const end = c.rowK, blocks = c.blocks + b * c.rowK;
  for (let p: usize = 0; p < end; p += 4) {
    const d = v128.load32_splat(blocks + p), key = c.keys + (p << 4);
    for (let lane: usize = 0; lane < b << 4; lane += 16) {
      v128.store(key + lane, f32x4.mul(d, v128.load(key + lane)));
    }
  }
}

/**
 * Block b: its scores of tokens with themselves and each other, queries decayed from its start, and keys to its end.
 * The scores wait in `outputs` until those of the blocks before are done.
 */
function decayBlock(c: Additive, b: usize): void {
  const row = c.rowK, at = b * row << 2, bonus = c.u != 0;
  const pq = c.queries + at, pk = c.rows + at, pw = c.decay + at, keys = c.keys + (b << 4);
  let d0 = f32x4.splat(0), d1 = d0, d2 = d0, d3 = d0, s10 = d0, s20 = d0, s21 = d0, s30 = d0, s31 = d0, s32 = d0;
  for (let p: usize = 0; p < row; p += 16) {
    let q0 = v128.load(pq + p), q1 = v128.load(pq + row + p);
    let q2 = v128.load(pq + 2 * row + p), q3 = v128.load(pq + 3 * row + p);
    let k0 = v128.load(pk + p), k1 = v128.load(pk + row + p);
    let k2 = v128.load(pk + 2 * row + p), k3 = v128.load(pk + 3 * row + p);
    const w0 = v128.load(pw + p), w1 = v128.load(pw + row + p);
    const w2 = v128.load(pw + 2 * row + p), w3 = v128.load(pw + 3 * row + p);
    if (bonus) {
      const u = v128.load(c.bonus + p);
      d0 = f32x4.add(d0, f32x4.mul(q0, f32x4.mul(u, k0)));
      d1 = f32x4.add(d1, f32x4.mul(q1, f32x4.mul(u, k1)));
      d2 = f32x4.add(d2, f32x4.mul(q2, f32x4.mul(u, k2)));
      d3 = f32x4.add(d3, f32x4.mul(q3, f32x4.mul(u, k3)));
    } else {
      d0 = f32x4.add(d0, f32x4.mul(q0, k0));
      d1 = f32x4.add(d1, f32x4.mul(q1, k1));
      d2 = f32x4.add(d2, f32x4.mul(q2, k2));
      d3 = f32x4.add(d3, f32x4.mul(q3, k3));
      q0 = f32x4.mul(q0, w0);
      q1 = f32x4.mul(q1, w1);
      q2 = f32x4.mul(q2, w2);
      q3 = f32x4.mul(q3, w3);
    }
    s10 = f32x4.add(s10, f32x4.mul(q1, k0));
    s21 = f32x4.add(s21, f32x4.mul(q2, k1));
    s32 = f32x4.add(s32, f32x4.mul(q3, k2));
    k0 = f32x4.mul(k0, w1);
    k1 = f32x4.mul(k1, w2);
    k2 = f32x4.mul(k2, w3);
    s20 = f32x4.add(s20, f32x4.mul(q2, k0));
    s31 = f32x4.add(s31, f32x4.mul(q3, k1));
    k0 = f32x4.mul(k0, w2);
    k1 = f32x4.mul(k1, w3);
    s30 = f32x4.add(s30, f32x4.mul(q3, k0));
    k0 = f32x4.mul(k0, w3);
    storeColumnsOf4(k0, k1, k2, k3, keys + (p << 4));
    const w01 = f32x4.mul(w0, w1), w012 = f32x4.mul(w01, w2);
    v128.store(pq + p, q0);
    v128.store(pq + row + p, f32x4.mul(q1, w0));
    v128.store(pq + 2 * row + p, f32x4.mul(q2, w01));
    v128.store(pq + 3 * row + p, f32x4.mul(q3, w012));
    v128.store(c.blocks + b * row + p, f32x4.mul(w012, w3));
  }
  const to = c.outputs + (b << 6);
  store<f32>(to, sumLanes(d0));
  store<f32>(to, sumLanes(s10), 16); store<f32>(to, sumLanes(d1), 20);
  store<f32>(to, sumLanes(s20), 32); store<f32>(to, sumLanes(s21), 36); store<f32>(to, sumLanes(d2), 40);
  store<f32>(to, sumLanes(s30), 48); store<f32>(to, sumLanes(s31), 52); store<f32>(to, sumLanes(s32), 56);
  store<f32>(to, sumLanes(d3), 60);
}

/** Four channels of four tokens, turned over, to rows of 16 tokens. */
// @ts-ignore: decorator
@inline
function storeColumnsOf4(r0: v128, r1: v128, r2: v128, r3: v128, to: usize): void {
  const t0 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5), t1 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
  const t2 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7), t3 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<f32>(t0, t1, 0, 1, 4, 5));
  v128.store(to, v128.shuffle<f32>(t0, t1, 2, 3, 6, 7), 64);
  v128.store(to, v128.shuffle<f32>(t2, t3, 0, 1, 4, 5), 128);
  v128.store(to, v128.shuffle<f32>(t2, t3, 2, 3, 6, 7), 192);
}

/** The block of scores that `decayBlock` left in `outputs`, zeros right of the diagonal. */
function diagonalScores(c: Additive, b: usize): void {
  const from = c.outputs + (b << 6), to = c.scores + (b << 2) * SCORES_ROW + (b << 4);
  for (let i: usize = 0; i < 4; i++) {
    const x = to + i * SCORES_ROW;
    v128.store(x, v128.load(from + (i << 4)));
    for (let j = i + 1; j < 4; j++) store<f32>(x + (j << 2), 0);
    if ((b & 1) == 0) v128.store(x, f32x4.splat(0), 16);
  }
}
