import { fma } from '../core/exp';
import { sumLanes } from '../core/reduce';
import { columnTile, rowTile } from '../core/tile';
import { storeColumns, transpose4 } from '../core/transpose';
import {
  Chunk, earlier, exclusive, following, HALF, inclusive, later, PAIR_PANEL, PANEL_ROW, prepareChunk, ROW,
  SCALAR_GATE, slot, stateTile, TOKENS_PANEL, VECTOR_GATE,
} from './deltaChunk';
import { fillCall, writePanel } from './deltaForward';
import {
  Call, checkpointOf, COMBA, copyCorrections, correctionsOf, DPLR, fetchGates, fetchInputs, fetchKeys, fetchValues, fillKept,
  layOut, loadChunk, loadPanels, loadState, loadValues, queryOf, storeRow, storeState,
} from './deltaLoad';

// With Z the gradient of the right-hand side of (I - A) E = U + X S + D V and dS' that of the state after the chunk,
//
//   (I - A)^T Z = M^T dO + B dS',   dX = Z S^T, dQ = dO S^T, dB = E dS'^T, dK = V dS'^T,
//   dA = Z E^T, dD = Z V^T, dM = dO E^T, dN = dO V^T,   dS = diag(w) dS' + X^T Z + Q^T dO.
//
// E of every chunk and the states before every few of them are kept on the way forward; the states between those are computed
// again.

@unmanaged
class Gradients {
  q: usize;
  k: usize;
  v: usize;
  g: usize;
  beta: usize;
  a: usize;
  b: usize;
  dO: usize;
  /** x | q and b | k [K, 32]; first decayed to the chunk's bounds, at the end of the inputs themselves */
  reads: usize;
  keys: usize;
  written: usize;
  /** of log w [K, 16] */
  decay: usize;
  /** log of the decay up to the current block [K] */
  total: usize;
  /** of x | q of one block through the scores against earlier blocks [K, 8], and scores turned over [32, 8] or [32, 32] */
  cross: usize;
  packed: usize;
  scores: usize;
  /** diagonals of the scores of one block: 7 vectors for b, 7 for k */
  diagonals: usize;
  /** z | do and e | v [4, V, 8 tokens] */
  readsT: usize;
  valuesT: usize;
  /** of a head: dS' [K, V], followed by the states that are computed again */
  state: usize;
}

/**
 * Gradients of all inputs for (sequence, key head) items [begin, end); those of absent inputs have pointer 0. Value heads of
 * a sequence take turns at a chunk, `together` at a time, so that memory is read in order.
 */
export function deltaBackward(
  q: usize, k: usize, v: usize, g: usize, beta: usize, a: usize, b: usize, dO: usize, dhT: usize,
  dq: usize, dk: usize, dv: usize, dg: usize, dbeta: usize, da: usize, db: usize, dh0: usize,
  offsets: usize, scratch: usize, form: i32, gate: i32, sigmoid: i32, normalize: i32,
  H: i32, HV: i32, K: i32, V: i32, steps: i32, scale: f32, together: i32,
  corrections: usize, checkpoints: usize, places: usize, apart: i32, begin: i32, end: i32,
): void {
  const call = changetype<Call>(scratch), c = changetype<Chunk>(scratch + 256);
  const d = changetype<Gradients>(scratch + 512);
  fillCall(call, q, k, v, g, beta, a, b, offsets, form, gate, sigmoid, normalize, H, HV, K, V, steps, scale);
  fillKept(call, corrections, checkpoints, places, apart);
  const states = layOutGradients(d, c, layOut(c, call, 4, scratch + 768));
  d.q = dq;
  d.k = dk;
  d.v = dv;
  d.g = dg;
  d.beta = dbeta;
  d.a = da;
  d.b = db;
  d.dO = dO;
  const size = <usize>(K * V) << 2, bytes = <usize>(c.K * c.V) << 2, own = <usize>apart * bytes, group = HV / H;
  for (let from = begin * group, to = from; from < end * group; from = to) {
    const sequence = from / HV;
    to = min(min(end * group, (sequence + 1) * HV), from + together);
    const first = load<i32>(offsets + (<usize>sequence << 2)) * steps;
    const last = load<i32>(offsets + (<usize>sequence << 2), 4) * steps;
    for (let item = from; item < to; item++) {
      loadState(c, call, dhT ? dhT + <usize>item * size : 0, states + <usize>(item - from) * own);
    }
    for (let stop = (last - first + 15) >> 4, start = stop; stop > 0; stop = start) {
      start = (stop - 1) / apart * apart;
      c.reading = false;
      for (let i = start; i + 1 < stop; i++) {
        for (let item = from; item < to; item++) {
          d.state = states + <usize>(item - from) * own;
          loadStep(c, call, d, sequence, item % HV, first + (i << 4), 16, i);
          write(c, d.state + <usize>(i + 1 - start) * bytes);
        }
      }
      c.reading = true;
      for (let i = stop - 1; i >= start; i--) {
        const at = first + (i << 4), rows = min(16, last - at), head = from % HV, next = head + to - from;
        fetchInputs(c, call, head, next, at, rows);
        fetchKeys(c, call, dq, head, next, at, rows);
        fetchKeys(c, call, dk, head, next, at, rows);
        fetchKeys(c, call, da, head, next, at, rows);
        fetchKeys(c, call, db, head, next, at, rows);
        fetchGates(c, call, dg, head, next, at, rows);
        if (steps == 1) fetchValues(c, call, dO, head, next, at, rows);
        fetchValues(c, call, dv, head, next, at, rows);
        for (let item = from; item < to; item++) {
          d.state = states + <usize>(item - from) * own;
          loadStep(c, call, d, sequence, item % HV, at, rows, i);
          chunkBackward(c, call, d, item % HV, at, rows);
          storeGradients(c, call, d, item % HV, at, rows, item % group > 0);
        }
      }
    }
    for (let item = from; item < to && dh0 != 0; item++) {
      storeState(c, call, states + <usize>(item - from) * own, dh0 + <usize>item * size);
    }
  }
}

/** Carves the rest of a chunk's pieces out of `scratch`; returns what follows them. */
function layOutGradients(d: Gradients, c: Chunk, scratch: usize): usize {
  const rows = <usize>c.K * ROW, columns = <usize>c.V * ROW;
  d.reads = scratch;
  d.keys = d.reads + rows;
  d.written = d.keys + rows;
  d.decay = d.written + rows;
  d.total = d.decay + <usize>c.K * HALF;
  d.cross = d.total + <usize>c.K * 4;
  d.packed = d.cross + <usize>c.K * PANEL_ROW;
  d.scores = d.packed + 32 * ROW;
  d.diagonals = d.scores + 32 * ROW;
  d.readsT = d.diagonals + 256;
  d.valuesT = d.readsT + columns;
  return d.valuesT + columns;
}

/** Chunk i with its E, and the state before it, as it was kept or has been computed again since. */
function loadStep(c: Chunk, call: Call, d: Gradients, sequence: i32, head: i32, at: i32, rows: i32, i: i32): void {
  const since = <usize>(i % call.apart), kept = correctionsOf(c, call, sequence, i, head);
  c.state = checkpointOf(c, call, sequence, i, head);
  if (since) c.state = d.state + since * (<usize>(c.K * c.V) << 2);
  if (c.writes == 1) c.values = kept;
  else {
    loadValues(c, call, head, at, rows);
    copyCorrections(c, kept, TOKENS_PANEL, c.values, c.valuePanel);
  }
  loadChunk(c, call, head, at, rows);
  prepareChunk(c);
}

function write(c: Chunk, next: usize): void {
  const panels = c.V >> 3, bytes = <usize>c.K * PANEL_ROW;
  for (let panel = 0; panel < panels; panel++) writePanel(c, panel, next + <usize>panel * bytes);
}

/** From dO and dS' to the gradients of the loaded chunk's reads, keys and decays, and dS. */
function chunkBackward(c: Chunk, call: Call, d: Gradients, head: i32, at: i32, rows: i32): void {
  loadOutputGradients(c, call, d, head, at, rows);
  for (let panel = 0; panel < c.V >> 3; panel++) {
    solveTransposed(c, d, panel);
    storeValueGradients(c, call, d, panel, head, at, rows);
    transposePanel(c.outputs + <usize>panel * PAIR_PANEL, d.readsT, c.V, panel, 8);
    transposePanel(c.values + <usize>panel * c.valuePanel, d.valuesT, c.V, panel, c.writes << 2);
  }
  stateProducts(c, d);
  scoreGradients(c, d);
  if (call.gate) totalGradients(c, d);
  const columns = c.V >> 3;
  for (let panel = 0; panel < columns; panel++) {
    const state = d.state + <usize>panel * (<usize>c.K * PANEL_ROW), zdo = c.outputs + <usize>panel * PAIR_PANEL;
    for (let k: usize = 0; k < <usize>c.K; k += 4) {
      const tile = state + k * PANEL_ROW;
      stateTile(c.full + k * ROW, zdo, 32, tile, tile, c.total + (k << 2));
    }
  }
  if (call.gate != VECTOR_GATE) {
    sharedGradients(c, d, call.gate == SCALAR_GATE);
    return;
  }
  for (let block = 3; block >= 0; block--) {
    diagonalsOf(c, d, block);
    if (block > 0) crossReads(c, d, block);
    blockGradients(c, d, block);
    if (block > 0) crossWrites(c, d, block);
  }
}

/** dO goes to the lower half of the output panels; steps that are not read have none. */
function loadOutputGradients(c: Chunk, call: Call, d: Gradients, head: i32, at: i32, rows: i32): void {
  const V = call.V, pitch = <usize>(call.HV * V) << 2, own = <usize>(head * V) << 2;
  if (call.steps == 1) {
    loadPanels(d.dO + <usize>at * pitch + own, pitch, rows, V, c.outputs + TOKENS_PANEL, PAIR_PANEL);
    return;
  }
  for (let panel = 0; panel < c.V >> 3; panel++) {
    const to = c.outputs + <usize>panel * PAIR_PANEL + TOKENS_PANEL;
    for (let i = 0; i < 16; i++) {
      const token = i < rows ? queryOf(call, at + i) : -1;
      for (let j = 0; j < 8; j++) {
        const v = panel * 8 + j;
        const here = token >= 0 && v < V;
        const x: f32 = here ? load<f32>(d.dO + <usize>token * pitch + own + (<usize>v << 2)) : 0;
        store<f32>(to + <usize>i * PANEL_ROW + (<usize>j << 2), x);
      }
    }
  }
}

/** (I - A)^T Z = M^T dO + B dS' of one panel, Z in the upper half of the output panel. */
function solveTransposed(c: Chunk, d: Gradients, panel: i32): void {
  const z = c.outputs + <usize>panel * PAIR_PANEL, dO = z + TOKENS_PANEL;
  writtenGradients(c, d, panel, 0, z);
  for (let block = 3; block >= 0; block--) {
    const a = c.scores + <usize>block * 4 * ROW + (<usize>block << 4), tile = z + (<usize>block << 7);
    if (block < 3) columnTile(a + 4 * ROW, ROW, tile + 128, PANEL_ROW, 12 - block * 4, tile, PANEL_ROW, true);
    for (let i: usize = 3; i > 0; i--) {
      const z0 = v128.load(tile + i * PANEL_ROW), z1 = v128.load(tile + i * PANEL_ROW, 16);
      for (let j: usize = 0; j < i; j++) {
        const x = v128.load32_splat(a + i * ROW + (j << 2)), to = tile + j * PANEL_ROW;
        v128.store(to, fma(x, z0, v128.load(to)));
        v128.store(to, fma(x, z1, v128.load(to, 16)), 16);
      }
    }
  }
}

/** What b (write 0) or k (write 1) has written: W dS' + (scores of q)^T dO */
// @ts-ignore: decorator
@inline
function writtenGradients(c: Chunk, d: Gradients, panel: i32, write: usize, to: usize): void {
  const state = d.state + <usize>panel * (<usize>c.K * PANEL_ROW);
  const dO = c.outputs + <usize>panel * PAIR_PANEL + TOKENS_PANEL;
  for (let block: usize = 0; block < 4; block++) {
    const tile = to + (block << 7), column = write * HALF + (block << 4);
    columnTile(slot(c, 4) + column, ROW, state, PANEL_ROW, c.K, tile, PANEL_ROW, false);
    const scores = c.scores + (16 + block * 4) * ROW + column;
    columnTile(scores, ROW, dO + (block << 7), PANEL_ROW, 16 - <i32>block * 4, tile, PANEL_ROW, true);
  }
}

/** dV is Z, or with a second write K dS' + N^T dO + D^T Z, which takes the place of V once that has been turned over. */
function storeValueGradients(c: Chunk, call: Call, d: Gradients, panel: i32, head: i32, at: i32, rows: i32): void {
  const z = c.outputs + <usize>panel * PAIR_PANEL;
  let from = z;
  if (c.writes == 2) {
    from = d.packed;
    writtenGradients(c, d, panel, 1, from);
    for (let block: usize = 0; block < 4; block++) {
      const scores = c.scores + block * 4 * ROW + HALF + (block << 4);
      columnTile(scores, ROW, z + (block << 7), PANEL_ROW, 16 - <i32>block * 4, from + (block << 7), PANEL_ROW, true);
    }
  }
  const V = call.V, v = panel << 3;
  for (let i = 0; i < rows; i++) {
    const to = d.v + (<usize>((at + i) * call.HV + head) * <usize>V + <usize>v << 2);
    storeRow(from + <usize>i * PANEL_ROW, to, min(8, V - v));
  }
}

/** Panel [4 blocks, 8] -> rows 8 panel .. 8 panel + 7 of [blocks / 2, V, 8 tokens] */
function transposePanel(src: usize, to: usize, V: i32, panel: i32, blocks: i32): void {
  const dst = to + <usize>panel * (8 * PANEL_ROW);
  for (let block: usize = 0; block < <usize>blocks; block++) {
    const tokens = dst + tokensAt(block, V);
    transpose4(src + (block << 7), PANEL_ROW, tokens, PANEL_ROW, false);
    transpose4(src + (block << 7) + 16, PANEL_ROW, tokens + 4 * PANEL_ROW, PANEL_ROW, false);
  }
}

/** Where the tokens of a block of 4 begin in [4, V, 8 tokens]. */
// @ts-ignore: decorator
@inline
function tokensAt(block: usize, V: i32): usize {
  return (block >> 1) * <usize>V * PANEL_ROW + ((block & 1) << 4);
}

/** dX | dQ = S [Z | dO]^T and dB | dK = dS' [E | V]^T, channels as rows. */
function stateProducts(c: Chunk, d: Gradients): void {
  const panel = <usize>c.K * PANEL_ROW;
  for (let column: usize = 0; column < ROW; column += 32) {
    const tokens = d.readsT + column * <usize>c.V;
    for (let k: usize = 0; k < <usize>c.K; k += 4) {
      panelTile(c.state + k * PANEL_ROW, panel, tokens, c.V >> 3, d.reads + k * ROW + column);
    }
  }
  for (let column: usize = 0; column < <usize>c.writes * HALF; column += 32) {
    const tokens = d.valuesT + column * <usize>c.V;
    for (let k: usize = 0; k < <usize>c.K; k += 4) {
      panelTile(d.state + k * PANEL_ROW, panel, tokens, c.V >> 3, d.keys + k * ROW + column);
    }
  }
}

/** C [4, 8] = rows of a state times B [V, 8]; B has rows of 8, C of 32. */
// @ts-ignore: decorator
@inline
function panelTile(a: usize, panel: usize, b: usize, panels: i32, c: usize): void {
  const zero = f32x4.splat(0);
  let c00 = zero, c01 = zero, c10 = zero, c11 = zero, c20 = zero, c21 = zero, c30 = zero, c31 = zero;
  let pb = b, row = a;
  for (let p = panels; p > 0; p--) {
    for (let pa = row, end = row + PANEL_ROW; pa < end; pa += 4) {
      const b0 = v128.load(pb), b1 = v128.load(pb, 16);
      let x = v128.load32_splat(pa);
      c00 = fma(x, b0, c00); c01 = fma(x, b1, c01);
      x = v128.load32_splat(pa, 32);
      c10 = fma(x, b0, c10); c11 = fma(x, b1, c11);
      x = v128.load32_splat(pa, 64);
      c20 = fma(x, b0, c20); c21 = fma(x, b1, c21);
      x = v128.load32_splat(pa, 96);
      c30 = fma(x, b0, c30); c31 = fma(x, b1, c31);
      pb += PANEL_ROW;
    }
    row += panel;
  }
  v128.store(c, c00); v128.store(c, c01, 16); v128.store(c, c10, 128); v128.store(c, c11, 144);
  v128.store(c, c20, 256); v128.store(c, c21, 272); v128.store(c, c30, 384); v128.store(c, c31, 400);
}

/** dA, dD, dM, dN where they are wanted: on and below the diagonal blocks. */
function scoreGradients(c: Chunk, d: Gradients): void {
  for (let read: usize = 0; read < 2; read++) {
    for (let block: usize = 0; block < 4; block++) {
      const rows = d.scores + (read * 16 + block * 4) * ROW, from = d.readsT + tokensAt(read * 4 + block, c.V);
      for (let write: usize = 0; write < <usize>c.writes; write++) {
        for (let column: usize = 0; column <= block << 4; column += 32) {
          const to = write * HALF + column;
          columnTile(from, PANEL_ROW, d.valuesT + to * <usize>c.V, PANEL_ROW, c.V, rows + to, ROW, false);
        }
      }
    }
  }
}

/** Of the log of the whole chunk's decay: w times the sum over v of S dS'. */
function totalGradients(c: Chunk, d: Gradients): void {
  const panel = <usize>c.K * PANEL_ROW;
  for (let k: usize = 0; k < <usize>c.K; k++) {
    let sum = f32x4.splat(0);
    for (let p: usize = 0; p < <usize>c.V >> 3; p++) {
      const at = p * panel + k * PANEL_ROW;
      sum = fma(v128.load(c.state + at), v128.load(d.state + at), sum);
      sum = fma(v128.load(c.state + at, 16), v128.load(d.state + at, 16), sum);
    }
    store<f32>(d.total + (k << 2), load<f32>(c.total + (k << 2)) * sumLanes(sum));
  }
}

/** Diagonal n of the score gradients of a block, lane i from row i and column i - n: x1 x2 x3 q0 q1 q2 q3 per write. */
function diagonalsOf(c: Chunk, d: Gradients, block: i32): void {
  memory.fill(d.diagonals, 0, 256);
  for (let write = 0; write < c.writes; write++) {
    const from = d.scores + <usize>block * 4 * ROW + <usize>write * HALF + (<usize>block << 4);
    const to = d.diagonals + <usize>write * 112;
    for (let i = 0; i < 4; i++) {
      for (let n = 0; n <= i; n++) {
        const at = from + <usize>i * ROW + (<usize>(i - n) << 2), lane = <usize>i << 2;
        if (n > 0) store<f32>(to + (<usize>(n - 1) << 4) + lane, load<f32>(at));
        store<f32>(to + (<usize>(n + 3) << 4) + lane, load<f32>(at + 16 * ROW));
      }
    }
  }
}

/** cross [K, 8] = gradients of x | q of `block`, decayed within it, through its scores against earlier blocks. */
function crossReads(c: Chunk, d: Gradients, block: i32): void {
  const rows = d.scores + <usize>block * 4 * ROW;
  for (let write: usize = 0; write < <usize>c.writes; write++) {
    for (let before: usize = 0; before < <usize>block; before++) {
      const from = rows + write * HALF + (before << 4), to = d.packed + (write * 16 + before * 4) * PANEL_ROW;
      transpose4(from, ROW, to, PANEL_ROW, false);
      transpose4(from + 16 * ROW, ROW, to + 16, PANEL_ROW, false);
    }
  }
  const writes = slot(c, block);
  for (let k: usize = 0; k < <usize>c.K; k += 4) {
    const to = d.cross + k * PANEL_ROW;
    rowTile(writes + k * ROW, ROW, d.packed, PANEL_ROW, block << 2, to, PANEL_ROW, false);
    if (c.writes == 2) {
      rowTile(writes + k * ROW + HALF, ROW, d.packed + TOKENS_PANEL, PANEL_ROW, block << 2, to, PANEL_ROW, true);
    }
  }
}

/** Adds to the gradients of the earlier blocks' writes what `block` has read of them. */
function crossWrites(c: Chunk, d: Gradients, block: i32): void {
  const rows = d.scores + <usize>block * 4 * ROW, lane = <usize>block << 4;
  for (let k: usize = 0; k < <usize>c.K; k += 4) {
    const reads = c.local + k * ROW + lane;
    for (let write: usize = 0; write < <usize>c.writes; write++) {
      for (let column: usize = 0; column < lane; column += 32) {
        const at = write * HALF + column, to = d.keys + k * ROW + at;
        rowTile(reads, ROW, rows + at, ROW, 4, to, ROW, true);
        rowTile(reads + HALF, ROW, rows + 16 * ROW + at, ROW, 4, to, ROW, true);
      }
    }
  }
}

/** Lane i of the result sums lanes i..3. */
// @ts-ignore: decorator
@inline
function sumFollowing(x: v128): v128 {
  const pairs = f32x4.add(x, earlier(x));
  return f32x4.add(pairs, v128.shuffle<f32>(pairs, f32x4.splat(0), 2, 3, 4, 5));
}
/** Lane i of the result sums lanes 0..i. */
// @ts-ignore: decorator
@inline
function sumPreceding(x: v128): v128 {
  const pairs = f32x4.add(x, later(x));
  return f32x4.add(pairs, v128.shuffle<f32>(f32x4.splat(0), pairs, 2, 3, 4, 5));
}

/** Gradients of x, q, b, k and log w of the tokens of `block`, of the decays that carry others past it. */
function blockGradients(c: Chunk, d: Gradients, block: i32): void {
  const lane = <usize>block << 4, past = slot(c, block + 1);
  for (let k: usize = 0; k < <usize>c.K; k++) {
    const row = k * ROW, decays = c.blockDecay + (k << 4);
    const w = v128.load(c.decay + k * HALF + lane);
    const upTo = inclusive(w), before = exclusive(upTo), after = following(w);
    const x = v128.load(c.reads + row + lane), q = v128.load(c.reads + row + lane, 64);
    const localX = v128.load(c.local + row + lane), localQ = v128.load(c.local + row + lane, 64);
    let start: f32 = 1;
    for (let i = 0; i < block; i++) start *= load<f32>(decays + (<usize>i << 2));
    let dX = f32x4.mul(f32x4.splat(start), v128.load(d.reads + row + lane));
    let dQ = f32x4.mul(f32x4.splat(start), v128.load(d.reads + row + lane, 64));
    const entering = fma(localX, dX, f32x4.mul(localQ, dQ));
    if (block > 0) {
      dX = f32x4.add(dX, v128.load(d.cross + k * PANEL_ROW));
      dQ = f32x4.add(dQ, v128.load(d.cross + k * PANEL_ROW, 16));
    }
    // decays from the block's start to its tokens
    let logs = sumFollowing(fma(localQ, dQ, earlier(f32x4.mul(localX, dX))));
    dX = f32x4.mul(before, dX);
    dQ = f32x4.mul(upTo, dQ);
    let dW = f32x4.splat(0), leaving = f32x4.splat(0), passing = f32x4.splat(0);
    for (let write: usize = 0; write < <usize>c.writes; write++) {
      const at = row + write * HALF + lane, n = d.diagonals + write * 112;
      const own = v128.load(c.keys + at), dOwn = f32x4.mul(after, v128.load(d.keys + at));
      leaving = fma(own, dOwn, leaving);
      const b1 = later(own), c1 = f32x4.mul(w, b1);
      const b2 = later(c1), c2 = f32x4.mul(w, b2);
      const b3 = later(c2), c3 = f32x4.mul(w, b3);
      const x1 = v128.load(n), x2 = v128.load(n, 16), x3 = v128.load(n, 32);
      const q0 = v128.load(n, 48), q1 = v128.load(n, 64), q2 = v128.load(n, 80), q3 = v128.load(n, 96);
      dX = fma(x1, b1, fma(x2, b2, fma(x3, b3, dX)));
      dQ = fma(q0, own, fma(q1, c1, fma(q2, c2, fma(q3, c3, dQ))));
      let dc = f32x4.mul(q, q3);
      dW = fma(b3, dc, dW);
      dc = fma(q, q2, earlier(fma(x, x3, f32x4.mul(w, dc))));
      dW = fma(b2, dc, dW);
      dc = fma(q, q1, earlier(fma(x, x2, f32x4.mul(w, dc))));
      dW = fma(b1, dc, dW);
      dc = fma(q, q0, earlier(fma(x, x1, f32x4.mul(w, dc))));
      v128.store(d.written + at, f32x4.add(dOwn, dc));
      const through = v128.load32_splat(decays + lane / 4);
      for (let i: usize = 0; i < lane; i += 16) {
        const other = row + write * HALF + i, carried = v128.load(d.keys + other);
        passing = fma(v128.load(past + other), carried, passing);
        v128.store(d.keys + other, f32x4.mul(through, carried));
      }
    }
    v128.store(d.reads + row + lane, dX);
    v128.store(d.reads + row + lane, dQ, 64);
    logs = fma(w, dW, f32x4.add(logs, sumPreceding(later(leaving))));
    const total = load<f32>(d.total + (k << 2));
    logs = f32x4.add(logs, f32x4.splat(total + sumLanes(passing)));
    store<f32>(d.total + (k << 2), total + sumLanes(entering));
    v128.store(d.decay + k * HALF + lane, logs);
  }
}

/** The same where all channels share their decays: gradients of x, q, b and k, and of log w [16] when gated. */
function sharedGradients(c: Chunk, d: Gradients, gated: bool): void {
  if (gated) sharedDecayGradients(c, d);
  const bytes = <usize>c.writes * HALF;
  for (let k: usize = 0; k < <usize>c.K; k++) {
    const row = k * ROW;
    for (let lane: usize = 0; lane < HALF; lane += 16) {
      const upTo = v128.load(c.products + lane), before = v128.load(c.products + lane, 64);
      const after = v128.load(c.products + lane, 128), reads = d.reads + row + lane;
      v128.store(reads, f32x4.mul(before, v128.load(reads)));
      v128.store(reads, f32x4.mul(upTo, v128.load(reads, 64)), 64);
      for (let write: usize = 0; write < bytes; write += HALF) {
        const at = row + write + lane;
        v128.store(d.written + at, f32x4.mul(after, v128.load(d.keys + at)));
      }
    }
  }
  productGradients(c, d);
  // scores = products P * factors, P = reads^T keys: d reads += keys dP^T and d keys += reads dP, dP lower triangular
  for (let row: usize = 0; row < 32; row += 4) {
    for (let column: usize = 0; column < bytes; column += 16) {
      const from = d.scores + row * ROW + column, to = d.packed + (column >> 2) * ROW + (row << 2);
      transpose4(from, ROW, to, ROW, false);
    }
  }
  for (let k: usize = 0; k < <usize>c.K; k += 4) {
    const reads = c.reads + k * ROW, keys = c.keys + k * ROW;
    for (let read: usize = 0; read < ROW; read += HALF) {
      const to = d.reads + k * ROW + read;
      for (let write: usize = 0; write < bytes; write += HALF) {
        const from = d.packed + (write >> 2) * ROW + read, at = d.written + k * ROW + write;
        rowTile(keys + write, ROW, from, ROW, 8, to, ROW, true);
        rowTile(keys + write, ROW, from + 32, ROW, 16, to + 32, ROW, true);
        const rows = d.scores + (read >> 2) * ROW + write;
        rowTile(reads + read, ROW, rows, ROW, 16, at, ROW, true);
        rowTile(reads + read + 32, ROW, rows + 8 * ROW + 32, ROW, 8, at + 32, ROW, true);
      }
    }
  }
}

/** dP = factors * d scores, in the tiles of 8 x 8 on and below the diagonal. */
function productGradients(c: Chunk, d: Gradients): void {
  for (let row: usize = 0; row < 32; row++) {
    const factors = c.factors + ((row & 15) + (row >> 4)) * HALF, columns: usize = row & 8 ? 64 : 32;
    for (let write: usize = 0; write < <usize>c.writes * HALF; write += HALF) {
      const scores = d.scores + row * ROW + write;
      for (let lane: usize = 0; lane < columns; lane += 16) {
        v128.store(scores + lane, f32x4.mul(v128.load(factors + lane), v128.load(scores + lane)));
      }
    }
  }
}

/** Gradients of log w of each token: of all that is decayed by it, on its way from the chunk's start or to its end. */
function sharedDecayGradients(c: Chunk, d: Gradients): void {
  let carried: f32 = 0;
  for (let k = 0; k < c.K; k++) carried += load<f32>(d.total + (<usize>k << 2));
  const logs = d.decay;
  for (let i: usize = 0; i < HALF; i += 4) store<f32>(logs + i, carried);
  // what x of a token reads has passed the tokens before it, what q reads the token itself as well
  for (let lane: usize = 0; lane < HALF; lane += 16) {
    let x = f32x4.splat(0), q = x, writes = x;
    for (let k: usize = 0; k < <usize>c.K; k++) {
      const row = k * ROW + lane;
      x = fma(v128.load(c.full + row), v128.load(d.reads + row), x);
      q = fma(v128.load(c.full + row, 64), v128.load(d.reads + row, 64), q);
      for (let write: usize = 0; write < <usize>c.writes * HALF; write += HALF) {
        writes = fma(v128.load(c.decayed + row + write), v128.load(d.keys + row + write), writes);
      }
    }
    v128.store(d.diagonals + lane, x);
    v128.store(d.diagonals + lane, q, 64);
    v128.store(d.diagonals + lane, writes, 128);
  }
  let entered: f32 = 0;
  for (let i: usize = 16; i > 0; i--) {
    const p = (i - 1) << 2;
    entered += load<f32>(d.diagonals + p, 64);
    store<f32>(logs + p, load<f32>(logs + p) + entered);
    entered += load<f32>(d.diagonals + p);
  }
  let left: f32 = 0;
  for (let p: usize = 0; p < HALF; p += 4) {
    store<f32>(logs + p, load<f32>(logs + p) + left);
    left += load<f32>(d.diagonals + p, 128);
  }
  // a score of row i, column j has passed the tokens after j up to i (q) or up to the one before i (x)
  for (let write: usize = 0; write < <usize>c.writes * HALF; write += HALF) {
    for (let row: usize = 0; row < 32; row++) {
      const i = (row & 15) + (row >> 4), at = row * ROW + write;
      let passed: f32 = 0;
      for (let p: usize = 4; p < i << 2; p += 4) {
        passed += load<f32>(c.scores + at + p - 4) * load<f32>(d.scores + at + p - 4);
        store<f32>(logs + p, load<f32>(logs + p) + passed);
      }
    }
  }
}

/** From the gradients of x, b and log w to those of the op's own inputs, into its tensors. */
function storeGradients(c: Chunk, call: Call, d: Gradients, head: i32, at: i32, rows: i32, add: bool): void {
  const H = call.H, HV = call.HV, K = call.K, keyHead = head / (HV / H);
  const pitch = <usize>(H * K) << 2, key = <usize>at * pitch + (<usize>(keyHead * K) << 2);
  if (call.form == DPLR) {
    storeColumns(d.reads, ROW, rows, K, d.a + key, pitch, add);
    storeColumns(d.written, ROW, rows, K, d.b + key, pitch, add);
  } else {
    deltaGradients(c, call, d, head, at, rows);
    if (call.normalize) {
      normGradients(c, d.written + HALF, c.keys + HALF, c.norms, 1);
      normGradients(c, d.reads + HALF, c.reads + HALF, c.norms + 64, 1 / (call.scale * call.scale));
      if (call.form == COMBA) normGradients(c, d.reads, c.reads, c.norms + 128, 1);
    }
    if (call.form == COMBA) storeColumns(d.reads, ROW, rows, K, d.a + key, pitch, add);
  }
  storeColumns(d.written + HALF, ROW, rows, K, d.k + key, pitch, add);
  storeQueryGradients(c, call, d, keyHead, at, rows, add);
  if (call.gate == VECTOR_GATE) {
    const own = <usize>(at * HV + head) * <usize>K << 2;
    storeColumns(d.decay, HALF, rows, K, d.g + own, <usize>(HV * K) << 2, false);
  } else if (call.gate == SCALAR_GATE) {
    for (let i = 0; i < rows; i++) {
      if ((at + i) % call.steps != 0) continue;
      store<f32>(d.g + (<usize>((at + i) / call.steps * HV + head) << 2), load<f32>(d.decay + (<usize>i << 2)));
    }
  }
}

/** x = -w k (or -p) and b = beta k: dk in place of the second write's, dp in that of x, dbeta stored. */
function deltaGradients(c: Chunk, call: Call, d: Gradients, head: i32, at: i32, rows: i32): void {
  for (let lane: usize = 0; lane < HALF; lane += 16) {
    const beta = v128.load(c.beta + lane);
    let dBeta = f32x4.splat(0);
    for (let k: usize = 0; k < <usize>c.K; k++) {
      const row = k * ROW + lane, gates = k * c.decayPitch + lane;
      const own = v128.load(c.keys + row, 64), dB = v128.load(d.written + row), dX = v128.load(d.reads + row);
      dBeta = fma(own, dB, dBeta);
      let dK = f32x4.mul(beta, dB);
      if (call.form == COMBA) v128.store(d.reads + row, f32x4.neg(dX));
      else {
        dK = f32x4.sub(dK, f32x4.mul(v128.load(c.decay + gates), dX));
        v128.store(d.decay + gates, fma(v128.load(c.reads + row), dX, v128.load(d.decay + gates)));
      }
      v128.store(d.written + row, dK, 64);
    }
    if (call.sigmoid) dBeta = f32x4.mul(dBeta, f32x4.mul(beta, f32x4.sub(f32x4.splat(1), beta)));
    v128.store(d.diagonals + lane, dBeta);
  }
  for (let i = 0; i < rows; i++) {
    store<f32>(d.beta + (<usize>((at + i) * call.HV + head) << 2), load<f32>(d.diagonals + (<usize>i << 2)));
  }
}

/** With y = unit vectors (times the root of 1 / share) and dy their gradient: dx = (dy - share y (y . dy)) / norm. */
function normGradients(c: Chunk, dy: usize, y: usize, norms: usize, share: f32): void {
  for (let lane: usize = 0; lane < HALF; lane += 16) {
    let along = f32x4.splat(0);
    for (let k: usize = 0; k < <usize>c.K; k++) {
      along = fma(v128.load(y + k * ROW + lane), v128.load(dy + k * ROW + lane), along);
    }
    along = f32x4.mul(f32x4.splat(share), along);
    const norm = v128.load(norms + lane);
    for (let k: usize = 0; k < <usize>c.K; k++) {
      const p = dy + k * ROW + lane;
      const across = f32x4.sub(v128.load(p), f32x4.mul(along, v128.load(y + k * ROW + lane)));
      v128.store(p, f32x4.mul(norm, across));
    }
  }
}

function storeQueryGradients(c: Chunk, call: Call, d: Gradients, keyHead: i32, at: i32, rows: i32, add: bool): void {
  const H = call.H, K = call.K, pitch = <usize>(H * K) << 2, own = <usize>(keyHead * K) << 2;
  const scale = f32x4.splat(call.scale), from = d.reads + HALF;
  for (let k: usize = 0; k < <usize>c.K; k++) {
    for (let p = from + k * ROW, end = p + HALF; p < end; p += 16) v128.store(p, f32x4.mul(scale, v128.load(p)));
  }
  if (call.steps == 1) {
    storeColumns(from, ROW, rows, K, d.q + <usize>at * pitch + own, pitch, add);
    return;
  }
  for (let i = 0; i < rows; i++) {
    const token = queryOf(call, at + i);
    if (token < 0) continue;
    for (let k = 0; k < K; k++) {
      const to = d.q + <usize>token * pitch + own + (<usize>k << 2);
      const x = load<f32>(from + <usize>k * ROW + (<usize>i << 2));
      store<f32>(to, add ? load<f32>(to) + x : x);
    }
  }
}
