import { fma } from '../core/exp';
import { loadLanes } from '../core/lanes';
import { product } from '../core/product';
import { sumLanes } from '../core/reduce';
import { loadColumns, storeColumns, transpose4 } from '../core/transpose';
import {
  Additive, CHANNEL_GATE, checkpointOf, decayScores, decayToEnd, fetchGates, fetchInputs, fetchKeys, fetchOutputs,
  fetchQueries, fetchValues, fillAdditive, keyAt, layOutChunk, loadBonus, loadReader, loadRows, loadValues, loadWritten,
  lowerProduct, NO_GATE, outputAt, pitchOf, prepareChunk, queryAt, scaleRows, SCORES_ROW, shareTotal, storeRows, TOKENS,
  valueAt, withoutDecays,
} from './additiveChunk';

// With R the gradient of the state after a chunk and dA = dO V^T, each product carrying the decay between its tokens,
//
//   dQ = dO S^T + dA K,   dK = V R^T + dA^T Q,   dV = K R + A^T dO,   R <- diag(w_1 ... w_16) R + Q^T dO.
//
// States and R are kept turned over, [V, K], so that only dV is computed turned over. The log decay of token t is in every
// product from a token before it to t or one after: the sum of q dQ over those after less that of k dK over those before,
// where the products of tokens with themselves take no part, so that nothing large cancels. Where several query heads read
// the state, what stands with Q and dO is the sum over them; dQ is each one's own.

/** What the backward pass has besides a chunk. */
@unmanaged
export class Gradients {
  /** as loaded: q scaled [16, K], dO [16, V], v turned over [V, 16] */
  queries: usize;
  dOutputs: usize;
  columns: usize;
  dScores: usize;
  /** the diagonal of dScores [16] */
  diagonal: usize;
  /** q and k decayed to the block at hand [16, K] */
  localQueries: usize;
  localKeys: usize;
  /** through the state, in the end whole, and from pairs of different tokens of the chunk [16, K] */
  dqState: usize;
  dkState: usize;
  dqPairs: usize;
  dkPairs: usize;
  dDecay: usize;
  /** dV [16, V], and its part from the state turned over [V, 16] */
  dValues: usize;
  dColumns: usize;
  /** R [V, K], and the states before chunks, with rows of `pitch` bytes */
  R: usize;
  pitch: usize;
  bytes: usize;
  states: usize;
  /** where the states of the heads that take turns lie, and the bytes of each of them */
  buffers: usize;
  buffer: usize;
  /** the first of those heads, and how many there are of each key head */
  firstHead: i32;
  members: i32;
}

/**
 * Gradients of an additive recurrence for items [begin, end) of sequence, part and key head. A part is up to `together` of the
 * value heads of a key head; the dq and dk of each go to part [parts, size]. The heads of `across` items take turns at a chunk,
 * so that memory is read in order. All but dq, dOutput, what additiveForward needs and dbeta where there is beta may be 0; du has
 * one row [K] per item. additiveForward has kept the states before every `apart` chunks; those between are computed again.
 */
export function additiveBackward(
  q: usize, k: usize, v: usize, g: usize, u: usize, beta: usize, dOutput: usize, dFinal: usize,
  dq: usize, dk: usize, dv: usize, dg: usize, du: usize, dbeta: usize, dh0: usize, offsets: usize, work: usize,
  gate: i32, H: i32, HV: i32, readers: i32, K: i32, V: i32, scale: f32, reverse: i32,
  checkpoints: usize, places: usize, apart: i32, together: i32, across: i32, size: i32, begin: i32, end: i32,
): void {
  const c = changetype<Additive>(work), x = changetype<Gradients>(work + 256);
  fillAdditive(c, q, k, v, g, u, beta, gate, H, HV, readers, K, V, scale, reverse, checkpoints, places, apart);
  x.buffers = layOutGradients(x, c, layOutChunk(c, work + 512));
  const group = HV / H, parts = (group + together - 1) / together, bytes = <usize>(K * V) << 2;
  x.buffer = <usize>(1 + apart) * x.bytes;
  if (gate == NO_GATE) {
    withoutDecays(c);
    shareTotal(c);
  }
  for (let from = begin, to = begin; from < end; from = to) {
    const sequence = from / H / parts, part = from / H % parts;
    to = min(min(end, (from / H + 1) * H), from + across);
    const first = load<i32>(offsets + (<usize>sequence << 2)), last = load<i32>(offsets + (<usize>sequence << 2), 4);
    const chunks = (last - first + TOKENS - 1) / TOKENS, partial = <usize>part * (<usize>size << 2);
    x.firstHead = from % H * group + part * together;
    x.members = min(together, group - part * together);
    const turns = (to - from) * x.members, bonuses = du + (<usize>(from * K) << 2);
    if (du) memory.fill(bonuses, 0, <usize>((to - from) * K) << 2);
    for (let turn = 0; turn < turns; turn++) {
      const state = <usize>(sequence * HV + takeTurn(x, turn, group)) * bytes;
      loadTurned(x, c, dFinal ? dFinal + state : 0, x.R);
    }
    for (let stop = chunks, start = chunks; stop > 0; stop = start) {
      start = (stop - 1) / apart * apart;
      for (let turn = 0; turn < turns; turn++) {
        const head = takeTurn(x, turn, group);
        turnOver(checkpointOf(c, sequence, head, start), c.rowV, c.Kp, c.Vp, x.states, x.pitch);
      }
      for (let n = start; n + 1 < stop; n++) {
        for (let turn = 0; turn < turns; turn++) {
          const head = takeTurn(x, turn, group), state = x.states + <usize>(n - start) * x.bytes;
          loadWritten(c, head, tokenOf(c, first, last, n), TOKENS);
          writeTurned(x, c, c.values, c.rows, state, state + x.bytes);
        }
      }
      for (let n = stop - 1; n >= start; n--) {
        const rows = min(TOKENS, last - first - n * TOKENS), token = tokenOf(c, first, last, n);
        for (let turn = 0; turn < turns; turn += x.members) {
          const head = takeTurn(x, turn, group), next = head + x.members;
          fetchInputs(c, head, next, token, rows);
          fetchQueries(c, q, head, next, token, rows);
          fetchOutputs(c, dOutput, head, next, token, rows);
          fetchQueries(c, dq + partial * <usize>readers, head, next, token, rows);
          if (dk) fetchKeys(c, dk + partial, head, next, token, rows);
          if (dv) fetchValues(c, dv, head, next, token, rows);
          if (dg) fetchGates(c, dg, head, next, token, rows);
        }
        for (let turn = 0; turn < turns; turn++) {
          const head = takeTurn(x, turn, group), add = turn % x.members > 0;
          const bonus = bonuses + (<usize>(turn / x.members * K) << 2);
          const state = x.states + <usize>(n - start) * x.bytes;
          if (u) loadBonus(c, head);
          loadValues(c, head, token, rows);
          loadColumns(c.values, c.rowV, TOKENS, c.Vp, x.columns, SCORES_ROW, c.Vp);
          for (let reader = 0; reader < readers; reader++) {
            loadReader(c, head, reader, token, rows);
            const dOutputs = dOutput + outputAt(c, head, reader, token);
            loadRows(dOutputs, pitchOf(c, HV * readers, V), rows, V, x.dOutputs, c.Vp, 1);
            chunkGradients(x, c, state, reader == 0, dg != 0, bonus);
            const query = partial * <usize>readers + queryAt(c, head, reader, token);
            storeRows(x.dqState, c.Kp, rows, K, dq + query, pitchOf(c, H * readers, K), add);
          }
          if (dk) storeRows(x.dkState, c.Kp, rows, K, dk + partial + keyAt(c, head, token), pitchOf(c, H, K), add);
          if (beta) betaGradients(x, c, head, token, rows, dbeta);
          if (dv) storeRows(x.dValues, c.Vp, rows, V, dv + valueAt(c, head, token), pitchOf(c, HV, V), false);
          if (dg) storeDecays(x, c, head, token, rows, dg);
        }
      }
    }
    for (let turn = 0; turn < turns && dh0 != 0; turn++) {
      storeTurned(x, c, dh0 + <usize>(sequence * HV + takeTurn(x, turn, group)) * bytes);
    }
  }
}

/** From the gradient of beta v in dValues to those of beta and v. */
function betaGradients(x: Gradients, c: Additive, head: i32, token: i32, rows: i32, dbeta: usize): void {
  const pitch = pitchOf(c, c.HV, c.V), step = pitchOf(c, c.HV, 1);
  let value = c.v + valueAt(c, head, token), at = <usize>(token * c.HV + head) << 2, row = x.dValues;
  for (let i = 0; i < rows; i++, value += pitch, at += step, row += c.rowV) {
    const by = v128.load32_splat(c.beta + at);
    let sum = f32x4.splat(0);
    for (let j = 0; j < c.V; j += 4) {
      const p = <usize>j << 2, d = v128.load(row + p);
      sum = fma(d, loadLanes(value + p, c.V - j), sum);
      v128.store(row + p, f32x4.mul(by, d));
    }
    store<f32>(dbeta + at, sumLanes(sum));
  }
}

/** The value head whose turn it is; its states are at hand. */
// @ts-ignore: decorator
@inline
function takeTurn(x: Gradients, turn: i32, group: i32): i32 {
  x.R = x.buffers + <usize>turn * x.buffer;
  x.states = x.R + x.bytes;
  return x.firstHead + turn / x.members * group + turn % x.members;
}

/** Carves the rest of a chunk's pieces out of `work`; returns what follows them. */
export function layOutGradients(x: Gradients, c: Additive, work: usize): usize {
  const tokensK = c.rowK << 4, tokensV = c.rowV << 4;
  x.queries = work;
  x.localQueries = x.queries + tokensK;
  x.localKeys = x.localQueries + tokensK;
  x.dqState = x.localKeys + tokensK;
  x.dkState = x.dqState + tokensK;
  x.dqPairs = x.dkState + tokensK;
  x.dkPairs = x.dqPairs + tokensK;
  x.dDecay = x.dkPairs + tokensK;
  x.dOutputs = x.dDecay + tokensK;
  x.columns = x.dOutputs + tokensV;
  x.dValues = x.columns + tokensV;
  x.dColumns = x.dValues + tokensV;
  x.dScores = x.dColumns + tokensV;
  x.pitch = c.rowK + 32;
  x.bytes = <usize>c.Vp * x.pitch;
  x.diagonal = x.dScores + 16 * SCORES_ROW;
  return x.diagonal + 64;
}

/** The first token of chunk n in the order of the recurrence. */
// @ts-ignore: decorator
@inline
function tokenOf(c: Additive, first: i32, last: i32, n: i32): i32 {
  return c.reverse ? last - 1 - n * TOKENS : first + n * TOKENS;
}

/** dst [V, K] = src [K, V] turned over, zeros if src is 0. */
function loadTurned(x: Gradients, c: Additive, src: usize, dst: usize): void {
  memory.fill(dst, 0, x.bytes);
  if (!src) return;
  for (let k = 0; k < c.K; k++) {
    for (let v = 0; v < c.V; v++, src += 4) {
      store<f32>(dst + <usize>v * x.pitch + (<usize>k << 2), load<f32>(src));
    }
  }
}

/** dst [columns, rows] = src [rows, columns] turned over, both multiples of 4. */
export function turnOver(src: usize, srcPitch: usize, rows: i32, columns: i32, dst: usize, dstPitch: usize): void {
  for (let i: usize = 0; i < <usize>rows; i += 4) {
    for (let j: usize = 0; j < <usize>columns; j += 4) {
      transpose4(src + i * srcPitch + (j << 2), srcPitch, dst + j * dstPitch + (i << 2), dstPitch, false);
    }
  }
}

function storeTurned(x: Gradients, c: Additive, dst: usize): void {
  for (let k = 0; k < c.K; k++) {
    for (let v = 0; v < c.V; v++, dst += 4) {
      store<f32>(dst, load<f32>(x.R + <usize>v * x.pitch + (<usize>k << 2)));
    }
  }
}

/** x [16, K] times the decays from the chunk's start to each token, without the token's own where u gives a bonus. */
export function decayFromStart(c: Additive, x: usize): void {
  const before = c.u != 0;
  for (let p: usize = 0; p < c.rowK; p += 16) {
    let d = f32x4.splat(1);
    for (let at: usize = 0; at < 16 * c.rowK; at += c.rowK) {
      const next = f32x4.mul(d, v128.load(c.decay + at + p));
      if (!before) d = next;
      v128.store(x + at + p, f32x4.mul(d, v128.load(x + at + p)));
      d = next;
    }
  }
}

/** next [V, K] = state diag(total) + values^T rows; both may be the same. */
export function writeTurned(x: Gradients, c: Additive, values: usize, rows: usize, state: usize, next: usize): void {
  for (let at: usize = 0; at < c.rowK; at += 32) {
    for (let v: usize = 0; v < c.rowV; v += 16) {
      const i = (v >> 2) * x.pitch + at;
      decayTile(c.total + at, values + v, c.rowV, rows + at, c.rowK, state + i, next + i, x.pitch);
    }
  }
}

/** Rows v..v+3 of eight columns of a state turned over. */
// @ts-ignore: decorator
@inline
function decayTile(
  total: usize, value: usize, rowV: usize, key: usize, rowK: usize, s0: usize, n0: usize, row: usize,
): void {
  const s1 = s0 + row, s2 = s1 + row, s3 = s2 + row, n1 = n0 + row, n2 = n1 + row, n3 = n2 + row;
  const t0 = v128.load(total), t1 = v128.load(total, 16);
  let c00 = f32x4.mul(t0, v128.load(s0)), c01 = f32x4.mul(t1, v128.load(s0, 16));
  let c10 = f32x4.mul(t0, v128.load(s1)), c11 = f32x4.mul(t1, v128.load(s1, 16));
  let c20 = f32x4.mul(t0, v128.load(s2)), c21 = f32x4.mul(t1, v128.load(s2, 16));
  let c30 = f32x4.mul(t0, v128.load(s3)), c31 = f32x4.mul(t1, v128.load(s3, 16));
  for (let i = 16; i > 0; i--) {
    const b0 = v128.load(key), b1 = v128.load(key, 16);
    let x = v128.load32_splat(value);
    c00 = fma(x, b0, c00); c01 = fma(x, b1, c01);
    x = v128.load32_splat(value, 4);
    c10 = fma(x, b0, c10); c11 = fma(x, b1, c11);
    x = v128.load32_splat(value, 8);
    c20 = fma(x, b0, c20); c21 = fma(x, b1, c21);
    x = v128.load32_splat(value, 12);
    c30 = fma(x, b0, c30); c31 = fma(x, b1, c31);
    value += rowV;
    key += rowK;
  }
  v128.store(n0, c00); v128.store(n0, c01, 16); v128.store(n1, c10); v128.store(n1, c11, 16);
  v128.store(n2, c20); v128.store(n2, c21, 16); v128.store(n3, c30); v128.store(n3, c31, 16);
}

/**
 * Leaves dq of the loaded reader in dqState, adds what is of it to dk, dv and dg in dkState, dValues and dDecay, and to R,
 * which the first moves to the start of the chunk.
 */
function chunkGradients(x: Gradients, c: Additive, state: usize, first: bool, decays: bool, du: usize): void {
  if (c.gate != CHANNEL_GATE) storeColumns(c.keys, SCORES_ROW, TOKENS, c.Kp, c.rows, c.rowK, false);
  memory.copy(x.queries, c.queries, c.rowK << 4);
  lowerProduct(x.dOutputs, c.rowV, x.columns, c.Vp, x.dScores);
  moveDiagonal(x);
  prepareChunk(c);
  if (first) stateGradients(x, c, state, decays);

  product(x.dOutputs, c.rowV, 4, state, x.pitch, c.Vp, x.dqState, c.rowK, 16, c.Kp, false);
  if (c.gate == CHANNEL_GATE) decayFromStart(c, x.dqState);
  else if (c.gate != NO_GATE) scaleRows(x.dqState, c.rowK, c.decay + 64);
  if (c.gate == CHANNEL_GATE) {
    queryPairs(x, c);
    keyPairs(x, c);
  } else sharedPairs(x, c);
  readGradients(x, c, first);
  if (decays) decayGradients(x, c);
  addUp(x, c, du);
}

/** What a chunk's end gives to dk, dv and dg, before R moves. */
function stateGradients(x: Gradients, c: Additive, state: usize, decays: bool): void {
  product(x.R, x.pitch, 4, c.keys, SCORES_ROW, c.Kp, x.dColumns, SCORES_ROW, c.Vp, 16, false);
  storeColumns(x.dColumns, SCORES_ROW, TOKENS, c.Vp, x.dValues, c.rowV, false);
  product(c.values, c.rowV, 4, x.R, x.pitch, c.Vp, x.dkState, c.rowK, 16, c.Kp, false);
  if (c.gate == CHANNEL_GATE) decayToEnd(c, x.dkState, x.dkState, c.total);
  else if (c.gate != NO_GATE) scaleRows(x.dkState, c.rowK, c.decay + 128);
  if (decays) stateDecays(x, c, state);
}

/** dV += A^T dO and R <- diag(total) R + Q^T dO, of readers after the first without the decay. */
function readGradients(x: Gradients, c: Additive, first: bool): void {
  product(c.scores, 4, SCORES_ROW, x.dOutputs, c.rowV, 16, x.dValues, c.rowV, 8, c.Vp, true);
  product(
    c.scores + 8 * SCORES_ROW + 32, 4, SCORES_ROW, x.dOutputs + 8 * c.rowV, c.rowV, 8, x.dValues + 8 * c.rowV, c.rowV, 8,
    c.Vp, true,
  );
  if (first) writeTurned(x, c, x.dOutputs, c.queries, x.R, x.R);
  else product(x.dOutputs, 4, c.rowV, c.queries, c.rowK, 16, x.R, x.pitch, c.Vp, c.Kp, true);
}

/** dqPairs and dkPairs, of different tokens, where channels share their decays. */
function sharedPairs(x: Gradients, c: Additive): void {
  decayScores(c, x.dScores);
  product(x.dScores, SCORES_ROW, 4, c.rows, c.rowK, 8, x.dqPairs, c.rowK, 8, c.Kp, false);
  product(x.dScores + 8 * SCORES_ROW, SCORES_ROW, 4, c.rows, c.rowK, 16, x.dqPairs + 8 * c.rowK, c.rowK, 8, c.Kp, false);
  product(x.dScores, 4, SCORES_ROW, x.queries, c.rowK, 16, x.dkPairs, c.rowK, 8, c.Kp, false);
  product(
    x.dScores + 8 * SCORES_ROW + 32, 4, SCORES_ROW, x.queries + 8 * c.rowK, c.rowK, 8, x.dkPairs + 8 * c.rowK, c.rowK, 8,
    c.Kp, false,
  );
}

/** The diagonal of dScores moves out of it and leaves zeros. */
export function moveDiagonal(x: Gradients): void {
  for (let i: usize = 0; i < 16; i++) {
    const at = x.dScores + i * (SCORES_ROW + 4);
    store<f32>(x.diagonal + (i << 2), load<f32>(at));
    store<f32>(at, 0);
  }
}

/** dqPairs where channels decay apart: between blocks of 4 by products, within them one by one. */
export function queryPairs(x: Gradients, c: Additive): void {
  const block = c.rowK << 2, row = c.rowK;
  decayToBlocks(x, c);
  memory.fill(x.dqPairs, 0, block);
  for (let b: usize = 1; b < 4; b++) {
    if (b > 1) decayBlocks(c, x.localKeys, 0, b - 1, b - 1);
    const to = x.dqPairs + b * block;
    product(x.dScores + (b << 2) * SCORES_ROW, SCORES_ROW, 4, x.localKeys, row, <i32>b << 2, to, row, 4, c.Kp, false);
  }
  for (let b: usize = 0; b < 4; b++) queryBlock(x, c, b);
}

/** dkPairs likewise. */
function keyPairs(x: Gradients, c: Additive): void {
  const block = c.rowK << 2, row = c.rowK;
  decayFromBlocks(x, c);
  memory.fill(x.dkPairs + 3 * block, 0, block);
  for (let b: usize = 3; b-- > 0;) {
    if (b < 2) decayBlocks(c, x.localQueries, b + 2, 4, b + 1);
    const after = b + 1, scores = x.dScores + (after << 2) * SCORES_ROW + (b << 4);
    product(
      scores, 4, SCORES_ROW, x.localQueries + after * block, row, 16 - (<i32>after << 2), x.dkPairs + b * block, row, 4,
      c.Kp, false,
    );
  }
  for (let b: usize = 0; b < 4; b++) keyBlock(x, c, b);
}

/** localKeys = k decayed to the end of its block of 4; also the decay of each block. */
function decayToBlocks(x: Gradients, c: Additive): void {
  const row = c.rowK;
  for (let b: usize = 0; b < 4; b++) {
    for (let p = b * row << 2; p < (b * row << 2) + row; p += 16) {
      let d = f32x4.splat(1);
      for (let i = p + 3 * row, n = 4; n > 0; i -= row, n--) {
        v128.store(x.localKeys + i, f32x4.mul(d, v128.load(c.rows + i)));
        d = f32x4.mul(d, v128.load(c.decay + i));
      }
      v128.store(c.blocks + p - 3 * b * row, d);
    }
  }
}

/** localQueries = q decayed from the start of its block of 4. */
function decayFromBlocks(x: Gradients, c: Additive): void {
  const row = c.rowK, before = c.u != 0;
  for (let at: usize = 0; at < 16 * row; at += row << 2) {
    for (let p = at; p < at + row; p += 16) {
      let d = f32x4.splat(1);
      for (let i = p; i < p + (row << 2); i += row) {
        const next = f32x4.mul(d, v128.load(c.decay + i));
        if (!before) d = next;
        v128.store(x.localQueries + i, f32x4.mul(d, v128.load(x.queries + i)));
        d = next;
      }
    }
  }
}

/** Blocks [from, to) of y decay through block b. */
function decayBlocks(c: Additive, y: usize, from: usize, to: usize, b: usize): void {
  const row = c.rowK;
  for (let p: usize = 0; p < row; p += 16) {
    const d = v128.load(c.blocks + b * row + p);
    for (let at = (from << 2) * row; at < (to << 2) * row; at += row) {
      v128.store(y + at + p, f32x4.mul(d, v128.load(y + at + p)));
    }
  }
}

/** Block b of dqPairs decays within its block, then gets its own pairs. */
function queryBlock(x: Gradients, c: Additive, b: usize): void {
  const row = c.rowK, at = b * row << 2, before = c.u != 0;
  const s = x.dScores + (b << 2) * SCORES_ROW + (b << 4);
  const s10 = v128.load32_splat(s + SCORES_ROW), s20 = v128.load32_splat(s + 2 * SCORES_ROW);
  const s21 = v128.load32_splat(s + 2 * SCORES_ROW, 4), s30 = v128.load32_splat(s + 3 * SCORES_ROW);
  const s31 = v128.load32_splat(s + 3 * SCORES_ROW, 4), s32 = v128.load32_splat(s + 3 * SCORES_ROW, 8);
  for (let p = at; p < at + row; p += 16) {
    const p1 = p + row, p2 = p1 + row, p3 = p2 + row, one = f32x4.splat(1);
    const w0 = v128.load(c.decay + p), w1 = v128.load(c.decay + p1);
    const w2 = v128.load(c.decay + p2), w3 = v128.load(c.decay + p3);
    const k0 = v128.load(c.rows + p), k1 = v128.load(c.rows + p1), k2 = v128.load(c.rows + p2);
    const k01 = f32x4.mul(k0, w1), k12 = f32x4.mul(k1, w2), k012 = f32x4.mul(k01, w2);
    const w01 = f32x4.mul(w0, w1), w012 = f32x4.mul(w01, w2);
    let d = f32x4.add(f32x4.mul(w0, v128.load(x.dqPairs + p1)), f32x4.mul(s10, k0));
    v128.store(x.dqPairs + p1, f32x4.mul(before ? one : w1, d));
    d = f32x4.add(f32x4.mul(w01, v128.load(x.dqPairs + p2)), f32x4.mul(s20, k01));
    v128.store(x.dqPairs + p2, f32x4.mul(before ? one : w2, f32x4.add(d, f32x4.mul(s21, k1))));
    d = f32x4.add(f32x4.mul(w012, v128.load(x.dqPairs + p3)), f32x4.mul(s30, k012));
    d = f32x4.add(d, f32x4.add(f32x4.mul(s31, k12), f32x4.mul(s32, k2)));
    v128.store(x.dqPairs + p3, f32x4.mul(before ? one : w3, d));
    if (!before) v128.store(x.dqPairs + p, f32x4.mul(w0, v128.load(x.dqPairs + p)));
  }
}

/** The same of dkPairs. */
function keyBlock(x: Gradients, c: Additive, b: usize): void {
  const row = c.rowK, at = b * row << 2, before = c.u != 0;
  const s = x.dScores + (b << 2) * SCORES_ROW + (b << 4);
  const s10 = v128.load32_splat(s + SCORES_ROW), s20 = v128.load32_splat(s + 2 * SCORES_ROW);
  const s21 = v128.load32_splat(s + 2 * SCORES_ROW, 4), s30 = v128.load32_splat(s + 3 * SCORES_ROW);
  const s31 = v128.load32_splat(s + 3 * SCORES_ROW, 4), s32 = v128.load32_splat(s + 3 * SCORES_ROW, 8);
  for (let p = at; p < at + row; p += 16) {
    const p1 = p + row, p2 = p1 + row, p3 = p2 + row, one = f32x4.splat(1);
    const w1 = v128.load(c.decay + p1), w2 = v128.load(c.decay + p2), w3 = v128.load(c.decay + p3);
    const q1 = f32x4.mul(before ? one : w1, v128.load(x.queries + p1));
    const q2 = f32x4.mul(before ? one : w2, v128.load(x.queries + p2));
    const q3 = f32x4.mul(before ? one : w3, v128.load(x.queries + p3));
    const q23 = f32x4.mul(w2, q3), w23 = f32x4.mul(w2, w3), w123 = f32x4.mul(w1, w23);
    let d = f32x4.add(f32x4.mul(s20, q2), f32x4.mul(s30, q23));
    d = f32x4.add(f32x4.mul(w1, d), f32x4.mul(s10, q1));
    v128.store(x.dkPairs + p, f32x4.add(d, f32x4.mul(w123, v128.load(x.dkPairs + p))));
    d = f32x4.add(f32x4.mul(s21, q2), f32x4.mul(s31, q23));
    v128.store(x.dkPairs + p1, f32x4.add(d, f32x4.mul(w23, v128.load(x.dkPairs + p1))));
    v128.store(x.dkPairs + p2, f32x4.add(f32x4.mul(s32, q3), f32x4.mul(w3, v128.load(x.dkPairs + p2))));
  }
}

/**
 * dDecay = what each token's decay gets from the states at the chunk's ends: that of the whole chunk times the products of S
 * before it and R after it, summed over v, and what the tokens before write into R.
 */
function stateDecays(x: Gradients, c: Additive, state: usize): void {
  for (let p: usize = 0; p < c.rowK; p += 16) {
    let sum = f32x4.splat(0);
    for (let at = p; at < x.bytes; at += x.pitch) {
      sum = f32x4.add(sum, f32x4.mul(v128.load(state + at), v128.load(x.R + at)));
    }
    sum = f32x4.mul(sum, v128.load(c.total + p));
    for (let at = p; at < 16 * c.rowK; at += c.rowK) {
      v128.store(x.dDecay + at, sum);
      sum = f32x4.add(sum, f32x4.mul(v128.load(c.rows + at), v128.load(x.dkState + at)));
    }
  }
}

/** Adds to dDecay what a reader's reading gives. */
function decayGradients(x: Gradients, c: Additive): void {
  const row = c.rowK, before = c.u != 0;
  for (let p: usize = 0; p < row; p += 16) {
    let sum = f32x4.splat(0);
    for (let at = (row << 4) + p; at > p;) {
      at -= row;
      const read = f32x4.mul(v128.load(x.queries + at), f32x4.add(v128.load(x.dqState + at), v128.load(x.dqPairs + at)));
      if (!before) sum = f32x4.add(sum, read);
      sum = f32x4.sub(sum, f32x4.mul(v128.load(c.rows + at), v128.load(x.dkPairs + at)));
      v128.store(x.dDecay + at, f32x4.add(sum, v128.load(x.dDecay + at)));
      if (before) sum = f32x4.add(sum, read);
    }
  }
}

/** dq in whole and dk of a reader, with the pairs of tokens with themselves, where u acts. */
function addUp(x: Gradients, c: Additive, du: usize): void {
  const row = c.rowK, scale = f32x4.splat(c.scale);
  let at: usize = 0;
  for (let i: usize = 0; i < 64; i += 4) {
    const own = v128.load32_splat(x.diagonal + i);
    for (let p: usize = 0; p < row; p += 16, at += 16) {
      const q = v128.load(x.queries + at), k = v128.load(c.rows + at);
      const by = c.u ? f32x4.mul(own, v128.load(c.bonus + p)) : own;
      const dq = f32x4.add(v128.load(x.dqState + at), f32x4.add(v128.load(x.dqPairs + at), f32x4.mul(by, k)));
      const dk = f32x4.add(v128.load(x.dkState + at), f32x4.add(v128.load(x.dkPairs + at), f32x4.mul(by, q)));
      v128.store(x.dqState + at, f32x4.mul(scale, dq));
      v128.store(x.dkState + at, dk);
    }
  }
  if (!c.u) return;
  for (let k: usize = 0; k < <usize>c.K << 2; k += 4) {
    let sum: f32 = 0;
    for (let i: usize = 0; i < 16; i++) {
      const both = load<f32>(x.queries + i * row + k) * load<f32>(c.rows + i * row + k);
      sum += load<f32>(x.diagonal + (i << 2)) * both;
    }
    store<f32>(du + k, load<f32>(du + k) + sum);
  }
}

function storeDecays(x: Gradients, c: Additive, head: i32, token: i32, rows: i32, dg: usize): void {
  if (c.gate == CHANNEL_GATE) {
    const to = dg + ((<usize>token * <usize>(c.HV * c.K) + <usize>(head * c.K)) << 2);
    storeRows(x.dDecay, c.Kp, rows, c.K, to, pitchOf(c, c.HV, c.K), false);
    return;
  }
  let to = dg + (<usize>(token * c.HV + head) << 2), from = x.dDecay;
  for (let i = 0; i < rows; i++, to += pitchOf(c, c.HV, 1)) {
    let sum = f32x4.splat(0);
    for (const end = from + c.rowK; from < end; from += 16) sum = f32x4.add(sum, v128.load(from));
    store<f32>(to, sumLanes(sum));
  }
}
