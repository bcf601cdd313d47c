import { product } from '../core/product';
import { columnTile, rowTile } from '../core/tile';
import {
  Chunk, HALF, PAIR_PANEL, PANEL_ROW, prepareChunk, ROW, slot, solveTile, stateTile, TOKENS_PANEL,
} from './deltaChunk';
import {
  Call, checkpointOf, copyCorrections, correctionsOf, fetchInputs, fetchValues, fillKept, layOut, loadChunk, loadState,
  loadValues, queryOf, storeRow, storeState,
} from './deltaLoad';
import { spansDone, statesAfter, statesBefore, stopsFor, takeTurn, Turn, Turns } from './turns';

/**
 * o and the final state of a delta rule in chunks of 16 steps, for the items [begin, end) of `turns`. h0, o and hT may be 0
 * (zeros, not wanted), as may g, beta, a and b where the form has none, and `corrections` where nothing is kept for the way
 * back. Without q, o is what the tokens of a delta rule write, beta e.
 */
export function deltaForward(
  q: usize, k: usize, v: usize, g: usize, beta: usize, a: usize, b: usize, h0: usize, o: usize, hT: usize,
  cut: usize, scratch: usize, form: i32, gate: i32, sigmoid: i32, normalize: i32,
  H: i32, HV: i32, K: i32, V: i32, steps: i32, scale: f32,
  corrections: usize, checkpoints: usize, places: usize, apart: i32, begin: i32, end: i32,
): i32 {
  const call = changetype<Call>(scratch), c = changetype<Chunk>(scratch + 256);
  const turn = changetype<Turn>(scratch + 192), turns = changetype<Turns>(cut);
  fillCall(call, q, k, v, g, beta, a, b, turns.offsets, form, gate, sigmoid, normalize, H, HV, K, V, steps, scale);
  fillKept(call, corrections, checkpoints, places, apart);
  const states = layOut(c, call, 1, scratch + 512), size = <usize>(K * V) << 2;
  for (let next = begin; next < end;) {
    next = takeTurn(turn, turns, next, end);
    const sequence = turn.sequence, from = <usize>(sequence * HV + turn.from) * size;
    const before = statesBefore(turn, turns, h0);
    c.state = states;
    for (let at = from, head = turn.from; head < turn.to; head++, at += size, c.state += turns.bytes) {
      loadState(c, call, before ? before + at : 0, c.state);
    }
    for (let at = turn.start; at < turn.last && !stopsFor(turn, turns, at); at += 16) {
      const rows = min(16, turn.last - at), chunk = (at - turn.first) >> 4;
      fetchInputs(c, call, turn.from, turn.to, at, rows);
      if (steps == 1) fetchValues(c, call, o, turn.from, turn.to, at, rows);
      c.state = states;
      for (let head = turn.from; head < turn.to; head++, c.state += turns.bytes) {
        if (corrections && chunk % apart == 0) {
          memory.copy(checkpointOf(c, call, sequence, chunk, head), c.state, turns.bytes);
        }
        loadChunk(c, call, head, at, rows);
        loadValues(c, call, head, at, rows);
        prepareChunk(c);
        for (let panel = 0; panel < c.V >> 3; panel++) {
          correctPanel(c, panel);
          if (q) {
            readPanel(c, panel);
            if (irregular(c.outputs + <usize>panel * PAIR_PANEL)) readInOrder(c, panel);
          } else writtenPanel(c, panel);
          writePanel(c, panel, c.state + <usize>panel * (<usize>c.K * PANEL_ROW));
        }
        if (o) storeOutputs(c, call, head, at, rows, o);
        if (corrections) {
          const kept = correctionsOf(c, call, sequence, chunk, head);
          copyCorrections(c, c.values, c.valuePanel, kept, TOKENS_PANEL);
        }
      }
    }
    const after = statesAfter(turn, turns, hT);
    c.state = states;
    for (let at = from, head = turn.from; head < turn.to && after != 0; head++, at += size, c.state += turns.bytes) {
      storeState(c, call, c.state, after + at);
    }
  }
  return spansDone(turn, turns);
}

export function fillCall(
  call: Call, q: usize, k: usize, v: usize, g: usize, beta: usize, a: usize, b: usize,
  offsets: usize, form: i32, gate: i32, sigmoid: i32, normalize: i32,
  H: i32, HV: i32, K: i32, V: i32, steps: i32, scale: f32,
): void {
  call.q = q;
  call.k = k;
  call.v = v;
  call.g = g;
  call.beta = beta;
  call.a = a;
  call.b = b;
  call.offsets = offsets;
  call.form = form;
  call.gate = gate;
  call.sigmoid = sigmoid;
  call.normalize = normalize;
  call.H = H;
  call.HV = HV;
  call.K = K;
  call.V = V;
  call.steps = steps;
  call.scale = scale;
}

/** E = (I - A)^-1 (U + X S + D V) of one panel. */
function correctPanel(c: Chunk, panel: i32): void {
  const state = c.state + <usize>panel * (<usize>c.K * PANEL_ROW);
  const e = c.values + <usize>panel * c.valuePanel;
  product(c.full, 4, ROW, state, PANEL_ROW, c.K, e, PANEL_ROW, 16, 8, true);
  for (let block = 0; block < 4; block++) {
    const row = c.scores + <usize>(block * 4) * ROW;
    if (c.writes == 2) {
      const values = e + 16 * PANEL_ROW;
      rowTile(row + HALF, ROW, values, PANEL_ROW, block * 4 + 4, e + (<usize>block << 7), PANEL_ROW, true);
    }
    solveTile(row, e, block);
  }
}

/** O = Q S + M E + N V of one panel, once E is known. */
function readPanel(c: Chunk, panel: i32): void {
  const state = c.state + <usize>panel * (<usize>c.K * PANEL_ROW);
  const e = c.values + <usize>panel * c.valuePanel, o = c.outputs + <usize>panel * PAIR_PANEL;
  product(c.full + HALF, 4, ROW, state, PANEL_ROW, c.K, o, PANEL_ROW, 16, 8, false);
  for (let block = 0; block < 4; block++) {
    const out = o + (<usize>block << 7), row = c.scores + <usize>(16 + block * 4) * ROW;
    rowTile(row, ROW, e, PANEL_ROW, block * 4 + 4, out, PANEL_ROW, true);
    if (c.writes == 2) rowTile(row + HALF, ROW, e + 16 * PANEL_ROW, PANEL_ROW, block * 4 + 4, out, PANEL_ROW, true);
  }
}

/** O = diag(beta) E of one panel. */
function writtenPanel(c: Chunk, panel: i32): void {
  let e = c.values + <usize>panel * c.valuePanel, o = c.outputs + <usize>panel * PAIR_PANEL;
  for (let beta = c.beta; beta < c.beta + 64; beta += 4, e += PANEL_ROW, o += PANEL_ROW) {
    const by = v128.load32_splat(beta);
    v128.store(o, f32x4.mul(by, v128.load(e))); v128.store(o, f32x4.mul(by, v128.load(e, 16)), 16);
  }
}

/**
 * Whether NaN or Infinity may have reached tokens before theirs: zeros above the diagonal times either are NaN, in the first
 * row of a block of 4 at least.
 */
// @ts-ignore: decorator
@inline
function irregular(o: usize): bool {
  let sum = f32x4.splat(0);
  for (let row = o; row < o + 512; row += 128) sum = f32x4.add(sum, f32x4.add(v128.load(row), v128.load(row, 16)));
  return v128.any_true(f32x4.ne(sum, sum));
}

/** What readPanel does, where no token meets a later one; otherwise bit for bit the same. */
function readInOrder(c: Chunk, panel: i32): void {
  const state = c.state + <usize>panel * (<usize>c.K * PANEL_ROW);
  const e = c.values + <usize>panel * c.valuePanel, v = e + 16 * PANEL_ROW, o = c.outputs + <usize>panel * PAIR_PANEL;
  for (let i: usize = 0; i < 16 && c.writes == 2; i++) {
    const at = i * PANEL_ROW, scores = c.scores + i * ROW;
    if ((i & 3) == 0) columnTile(c.full + (i << 2), ROW, state, PANEL_ROW, c.K, e + at, PANEL_ROW, false);
    product(scores + HALF, ROW, 4, v, PANEL_ROW, <i32>i, e + at, PANEL_ROW, 1, 8, true);
    if ((i & 3) == 3) solveTile(scores - 3 * ROW, e, <i32>(i >> 2));
  }
  for (let i: usize = 0; i < 16; i++) {
    const at = i * PANEL_ROW, scores = c.scores + (16 + i) * ROW;
    if ((i & 3) == 0) columnTile(c.full + HALF + (i << 2), ROW, state, PANEL_ROW, c.K, o + at, PANEL_ROW, false);
    product(scores, ROW, 4, e, PANEL_ROW, <i32>i + 1, o + at, PANEL_ROW, 1, 8, true);
    if (c.writes == 2) product(scores + HALF, ROW, 4, v, PANEL_ROW, <i32>i + 1, o + at, PANEL_ROW, 1, 8, true);
  }
}

/** S' = diag(w) S + B^T E + K^T V of one panel, from `c.state` to the panel `next`, which may be the same. */
export function writePanel(c: Chunk, panel: i32, next: usize): void {
  const state = c.state + <usize>panel * (<usize>c.K * PANEL_ROW);
  const values = c.values + <usize>panel * c.valuePanel, writes = slot(c, 4);
  for (let k: usize = 0; k < <usize>c.K; k += 4) {
    const at = k * PANEL_ROW;
    stateTile(writes + k * ROW, values, c.writes << 4, state + at, next + at, c.total + (k << 2));
  }
}

function storeOutputs(c: Chunk, call: Call, head: i32, at: i32, rows: i32, o: usize): void {
  const V = call.V;
  for (let i = 0; i < rows; i++) {
    const token = queryOf(call, at + i);
    if (token < 0) continue;
    const to = o + (<usize>(token * call.HV + head) * <usize>V << 2);
    for (let v = 0; v < V; v += 8) {
      storeRow(c.outputs + <usize>(v >> 3) * PAIR_PANEL + <usize>i * PANEL_ROW, to + (<usize>v << 2), min(8, V - v));
    }
  }
}
