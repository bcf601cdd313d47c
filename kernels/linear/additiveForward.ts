import { fma } from '../core/exp';
import { product } from '../core/product';
import { loadColumns } from '../core/transpose';
import {
  Additive, beginStates, checkpointOf, endStates, fetchInputs, fetchOutputs, fetchQueries, fillAdditive, layOutChunk,
  loadBonus, loadReader, loadValues, loadWritten, NO_GATE, outputAt, pitchOf, prepareChunk, SCORES_ROW, storeRows, storeState,
  TOKENS, withoutDecays,
} from './additiveChunk';
import { spansDone, stopsFor, takeTurn, Turn, Turns } from './turns';

/**
 * o and the final state of an additive recurrence, for the items [begin, end) of `turns`. Each key head has `readers` query
 * heads, which read the states of all its value heads; o has a row for each of them [T, HV, readers, V]. g, u, beta, h0, o and
 * hT may be 0 (no decay, no bonus, ones, zeros, not wanted), as may `checkpoints` where no states are kept for the way back.
 */
export function additiveForward(
  q: usize, k: usize, v: usize, g: usize, u: usize, beta: usize, h0: usize, o: usize, hT: usize, cut: usize, work: usize,
  gate: i32, H: i32, HV: i32, readers: i32, K: i32, V: i32, scale: f32, reverse: i32,
  checkpoints: usize, places: usize, apart: i32, begin: i32, end: i32,
): i32 {
  const c = changetype<Additive>(work), turn = changetype<Turn>(work + 192), turns = changetype<Turns>(cut);
  fillAdditive(c, q, k, v, g, u, beta, gate, H, HV, readers, K, V, scale, reverse, checkpoints, places, apart);
  const states = layOutChunk(c, work + 256);
  if (gate == NO_GATE) withoutDecays(c);
  for (let next = begin; next < end;) {
    next = takeTurn(turn, turns, next, end);
    const sequence = turn.sequence, first = turn.first, last = turn.last;
    beginStates(turn, turns, h0, K, V, states, c.Kp, c.rowS);
    for (let done = turn.start; done < last && !stopsFor(turn, turns, done); done += TOKENS) {
      const rows = min(TOKENS, last - done), token = reverse ? first + last - 1 - done : done;
      fetchInputs(c, turn.from, turn.to, token, rows);
      if (o) {
        fetchQueries(c, q, turn.from, turn.to, token, rows);
        fetchOutputs(c, o, turn.from, turn.to, token, rows);
      }
      c.state = states;
      for (let head = turn.from; head < turn.to; head++, c.state += turns.bytes) {
        const chunk = (done - first) / TOKENS;
        if (checkpoints && chunk % apart == 0) {
          storeState(c.state, c.rowS, c.Kp, c.Vp, checkpointOf(c, sequence, head, chunk));
        }
        if (!o) {
          loadWritten(c, head, token, rows);
          loadColumns(c.rows, c.rowK, TOKENS, c.Kp, c.keys, SCORES_ROW, c.Kp);
          for (let at: usize = 0; at < c.rowV; at += 32) write(c, at);
          continue;
        }
        if (u) loadBonus(c, head);
        loadValues(c, head, token, rows);
        for (let reader = readers; reader-- > 0;) {
          loadReader(c, head, reader, token, rows);
          prepareChunk(c);
          for (let at: usize = 0; at < c.rowV; at += 32) {
            read(c, at);
            if (reader == 0) write(c, at);
          }
          const row = o + outputAt(c, head, reader, token);
          storeRows(c.outputs, c.Vp, rows, V, row, pitchOf(c, HV * readers, V), false);
        }
      }
    }
    endStates(turn, turns, hT, K, V, states, c.rowS);
  }
  return spansDone(turn, turns);
}

/** O = Q S + A V of eight columns. */
// @ts-ignore: decorator
@inline
function read(c: Additive, at: usize): void {
  const state = c.state + at, values = c.values + at, outputs = c.outputs + at, rowV = c.rowV;
  product(c.queries, c.rowK, 4, state, c.rowS, c.Kp, outputs, rowV, 16, 8, false);
  product(c.scores, SCORES_ROW, 4, values, rowV, 8, outputs, rowV, 8, 8, true);
  product(c.scores + 8 * SCORES_ROW, SCORES_ROW, 4, values, rowV, 16, outputs + 8 * rowV, rowV, 8, 8, true);
  if (irregular(outputs, rowV)) readInOrder(c, at);
}

/** S' = diag(w_1 ... w_16) S + K^T V of eight columns. */
// @ts-ignore: decorator
@inline
function write(c: Additive, at: usize): void {
  const state = c.state + at, values = c.values + at;
  if (c.gate == NO_GATE) product(c.keys, SCORES_ROW, 4, values, c.rowV, 16, state, c.rowS, c.Kp, 8, true);
  else for (let k: usize = 0; k < <usize>c.Kp; k += 4) decayTile(c, k, state + k * c.rowS, values);
}

/**
 * Whether NaN or Infinity among the values may have reached tokens before theirs: zeros above the diagonal times either are
 * NaN, in the first row of a block of 8 scores at least.
 */
// @ts-ignore: decorator
@inline
function irregular(outputs: usize, rowV: usize): bool {
  const first = f32x4.add(v128.load(outputs), v128.load(outputs, 16)), at = outputs + 8 * rowV;
  const sum = f32x4.add(first, f32x4.add(v128.load(at), v128.load(at, 16)));
  return v128.any_true(f32x4.ne(sum, sum));
}

/** O = Q S + A V of eight columns, where no token meets a later one; otherwise bit for bit the same. */
function readInOrder(c: Additive, at: usize): void {
  const outputs = c.outputs + at, rowV = c.rowV;
  product(c.queries, c.rowK, 4, c.state + at, c.rowS, c.Kp, outputs, rowV, 16, 8, false);
  for (let i: usize = 0; i < 16; i++) {
    const scores = c.scores + i * SCORES_ROW;
    product(scores, SCORES_ROW, 4, c.values + at, rowV, <i32>i + 1, outputs + i * rowV, rowV, 1, 8, true);
  }
}

/** Rows k..k+3 of eight columns of the state. */
// @ts-ignore: decorator
@inline
function decayTile(c: Additive, k: usize, s0: usize, values: usize): void {
  const row = c.rowS, rowV = c.rowV, total = c.total + (k << 2);
  const s1 = s0 + row, s2 = s1 + row, s3 = s2 + row;
  let x = v128.load32_splat(total);
  let c00 = f32x4.mul(x, v128.load(s0)), c01 = f32x4.mul(x, v128.load(s0, 16));
  x = v128.load32_splat(total, 4);
  let c10 = f32x4.mul(x, v128.load(s1)), c11 = f32x4.mul(x, v128.load(s1, 16));
  x = v128.load32_splat(total, 8);
  let c20 = f32x4.mul(x, v128.load(s2)), c21 = f32x4.mul(x, v128.load(s2, 16));
  x = v128.load32_splat(total, 12);
  let c30 = f32x4.mul(x, v128.load(s3)), c31 = f32x4.mul(x, v128.load(s3, 16));
  let key = c.keys + (k << 6), value = values;
  for (let i = 16; i > 0; i--) {
    const b0 = v128.load(value), b1 = v128.load(value, 16);
    x = v128.load32_splat(key);
    c00 = fma(x, b0, c00); c01 = fma(x, b1, c01);
    x = v128.load32_splat(key, 64);
    c10 = fma(x, b0, c10); c11 = fma(x, b1, c11);
    x = v128.load32_splat(key, 128);
    c20 = fma(x, b0, c20); c21 = fma(x, b1, c21);
    x = v128.load32_splat(key, 192);
    c30 = fma(x, b0, c30); c31 = fma(x, b1, c31);
    key += 4;
    value += rowV;
  }
  v128.store(s0, c00); v128.store(s0, c01, 16); v128.store(s1, c10); v128.store(s1, c11, 16);
  v128.store(s2, c20); v128.store(s2, c21, 16); v128.store(s3, c30); v128.store(s3, c31, 16);
}
