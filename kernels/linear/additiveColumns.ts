import { product } from '../core/product';
import { loadColumns } from '../core/transpose';
import {
  Additive, beginStates, CHANNEL_GATE, checkpointOf, decayToEnd, endStates, fetchInputs, fetchOutputs, fetchQueries,
  fillAdditive, keyAt, layOutChunk, loadRows, loadValues, lowerProduct, outputAt, pitchOf, queryAt, SCORES_ROW, storeRows,
  TOKENS, valueAt,
} from './additiveChunk';
import {
  decayFromStart, Gradients, layOutGradients, moveDiagonal, queryPairs, turnOver, writeTurned,
} from './additiveBackward';
import { spansDone, stopsFor, takeTurn, Turn, Turns } from './turns';

// S_t = S_{t-1} diag(w_t) + k_t s_t^T, o_t = S_t^T q_t: columns of the state decay. Turned over, with s as keys and k as
// values, o is what dQ is on the way back of an additive recurrence with dO = q, and found in the same way.

/**
 * o and the final state for the items [begin, end) of `turns`. q has `readers` heads for each of the H; h0, hT and
 * `checkpoints` may be 0. States that are kept are for the way back of the recurrence turned over.
 */
export function additiveColumns(
  q: usize, k: usize, s: usize, g: usize, h0: usize, o: usize, hT: usize, cut: usize, work: usize,
  H: i32, readers: i32, K: i32, M: i32, scale: f32, reverse: i32,
  checkpoints: usize, places: usize, apart: i32, begin: i32, end: i32,
): i32 {
  const c = changetype<Additive>(work), turn = changetype<Turn>(work + 192), x = changetype<Gradients>(work + 256);
  const turns = changetype<Turns>(cut);
  fillAdditive(c, 0, s, k, g, 0, 0, CHANNEL_GATE, H, H, readers, M, K, scale, reverse, checkpoints, places, apart);
  const states = layOutGradients(x, c, layOutChunk(c, work + 512));
  for (let next = begin; next < end;) {
    next = takeTurn(turn, turns, next, end);
    const sequence = turn.sequence, first = turn.first, last = turn.last;
    beginStates(turn, turns, h0, K, M, states, c.Vp, x.pitch);
    for (let done = turn.start; done < last && !stopsFor(turn, turns, done); done += TOKENS) {
      const rows = min(TOKENS, last - done), token = reverse ? first + last - 1 - done : done;
      const chunk = (done - first) / TOKENS;
      fetchInputs(c, turn.from, turn.to, token, rows);
      fetchOutputs(c, q, turn.from, turn.to, token, rows);
      fetchQueries(c, o, turn.from, turn.to, token, rows);
      x.R = states;
      for (let head = turn.from; head < turn.to; head++, x.R += turns.bytes) {
        if (checkpoints && chunk % apart == 0) {
          turnOver(x.R, x.pitch, c.Vp, c.Kp, checkpointOf(c, sequence, head, chunk), c.rowV);
        }
        loadRows(s + keyAt(c, head, token), pitchOf(c, H, M), rows, M, c.rows, c.Kp, 1);
        loadColumns(k + valueAt(c, head, token), pitchOf(c, H, K), rows, K, x.columns, SCORES_ROW, c.Vp);
        loadValues(c, head, token, rows);
        for (let reader = 0; reader < readers; reader++) {
          const query = q + outputAt(c, head, reader, token), row = o + queryAt(c, head, reader, token);
          loadRows(query, pitchOf(c, H * readers, K), rows, K, x.dOutputs, c.Vp, scale);
          read(x, c);
          storeRows(x.dqState, c.Kp, rows, M, row, pitchOf(c, H * readers, M), false);
        }
        decayToEnd(c, c.rows, c.rows, c.total);
        writeTurned(x, c, c.values, c.rows, x.R, x.R);
      }
    }
    endStates(turn, turns, hT, K, M, states, x.pitch);
  }
  return spansDone(turn, turns);
}

/** Leaves o of the loaded queries in dqState. */
function read(x: Gradients, c: Additive): void {
  lowerProduct(x.dOutputs, c.rowV, x.columns, c.Vp, x.dScores);
  moveDiagonal(x);
  product(x.dOutputs, c.rowV, 4, x.R, x.pitch, c.Vp, x.dqState, c.rowK, 16, c.Kp, false);
  decayFromStart(c, x.dqState);
  queryPairs(x, c);
  let at: usize = 0;
  for (let i: usize = 0; i < 64; i += 4) {
    const own = v128.load32_splat(x.diagonal + i);
    for (let p: usize = 0; p < c.rowK; p += 16, at += 16) {
      const pairs = f32x4.add(v128.load(x.dqPairs + at), f32x4.mul(own, v128.load(c.rows + at)));
      v128.store(x.dqState + at, f32x4.add(v128.load(x.dqState + at), pairs));
    }
  }
}
