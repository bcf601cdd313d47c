import { exp } from '../core/exp';
import { fetchHeads } from '../core/fetch';
import { loadColumns } from '../core/transpose';
import { Chunk, HALF, PAIR_PANEL, PANEL_ROW, ROW, SCALAR_GATE, TOKENS_PANEL, VECTOR_GATE } from './deltaChunk';

/** How the recurrence is written: with its own decayed key read back, with another key p, or with a and b. */
export const DELTA: i32 = 0;
export const COMBA: i32 = 1;
export const DPLR: i32 = 2;
/** The tensors and sizes of a call, the same for every work item. */
@unmanaged
export class Call {
  q: usize;
  k: usize;
  v: usize;
  g: usize;
  beta: usize;
  a: usize;
  b: usize;
  /** int32 [N + 1], in tokens of q */
  offsets: usize;
  form: i32;
  gate: i32;
  sigmoid: i32;
  /** whether q, k and Comba's second key are divided by their norms */
  normalize: i32;
  H: i32;
  HV: i32;
  K: i32;
  V: i32;
  /** delta steps per token; q and g have one row per token, the rest one per step */
  steps: i32;
  scale: f32;
  /** of every chunk its E, and of every `apart` chunks the state before them, as deltaForward keeps them for the way back */
  corrections: usize;
  checkpoints: usize;
  apart: i32;
  /** int32 [N, 2]: the chunks and the states kept of the sequences before each */
  places: usize;
}

// @ts-ignore: decorator
@inline
export function fillKept(call: Call, corrections: usize, checkpoints: usize, places: usize, apart: i32): void {
  call.corrections = corrections;
  call.checkpoints = checkpoints;
  call.places = places;
  call.apart = apart;
}

/** Where E of a chunk of a sequence is kept: panels of 16 rows. */
// @ts-ignore: decorator
@inline
export function correctionsOf(c: Chunk, call: Call, sequence: i32, chunk: i32, head: i32): usize {
  const place = load<i32>(call.places + (<usize>sequence << 3)) + chunk;
  return call.corrections + <usize>(place * call.HV + head) * (<usize>c.V << 6);
}

/** Where the state is kept before the `apart` chunks that a chunk belongs to. */
// @ts-ignore: decorator
@inline
export function checkpointOf(c: Chunk, call: Call, sequence: i32, chunk: i32, head: i32): usize {
  const place = load<i32>(call.places + (<usize>sequence << 3), 4) + chunk / call.apart;
  return call.checkpoints + <usize>(place * call.HV + head) * (<usize>(c.K * c.V) << 2);
}

/** E between panels of a chunk, which may have v beside it, and panels of its own. */
export function copyCorrections(c: Chunk, from: usize, fromPanel: usize, to: usize, toPanel: usize): void {
  for (let panel: usize = 0; panel < <usize>c.V >> 3; panel++) {
    memory.copy(to + panel * toPanel, from + panel * fromPanel, TOKENS_PANEL);
  }
}

// @ts-ignore: decorator
@inline
export function padded(size: i32): i32 {
  return (size + 7) & ~7;
}

/** Carves the pieces of a chunk out of scratch; returns what follows them. */
export function layOut(c: Chunk, call: Call, slots: i32, scratch: usize): usize {
  const K = padded(call.K), V = padded(call.V);
  const rows = <usize>K * ROW;
  c.K = K;
  c.V = V;
  c.writes = call.form == DPLR ? 2 : 1;
  c.reads = scratch;
  c.keys = c.reads + rows;
  c.local = c.keys + rows;
  c.full = c.local + rows;
  c.decayed = c.full + rows;
  c.slotBytes = slots == 1 || call.gate != VECTOR_GATE ? 0 : rows;
  c.reading = true;
  c.gate = call.gate;
  c.decayPitch = call.gate == VECTOR_GATE ? HALF : 0;
  c.decay = c.decayed + <usize>slots * rows;
  c.blockDecay = c.decay + <usize>K * HALF;
  c.total = c.blockDecay + <usize>K * 16;
  c.beta = c.total + <usize>K * 4;
  c.products = c.beta + 64;
  c.factors = c.products + 192;
  c.norms = c.factors + 17 * HALF;
  c.scores = c.norms + 192;
  c.state = c.scores + 32 * ROW;
  c.values = c.state + <usize>(K * V) * 4;
  c.valuePanel = c.writes == 2 ? PAIR_PANEL : TOKENS_PANEL;
  c.outputs = c.values + <usize>(V >> 3) * c.valuePanel;
  if (call.gate == 0) {
    c.full = c.reads;
    c.decayed = c.keys;
    for (let k = 0; k < K; k++) store<f32>(c.total + (<usize>k << 2), 1);
  }
  return c.outputs + <usize>(V >> 3) * PAIR_PANEL;
}

/** Fetches the inputs of value heads [from, to) in a chunk. */
export function fetchInputs(c: Chunk, call: Call, from: i32, to: i32, at: i32, rows: i32): void {
  if (call.steps == 1) fetchKeys(c, call, call.q, from, to, at, rows);
  fetchKeys(c, call, call.k, from, to, at, rows);
  fetchKeys(c, call, call.a, from, to, at, rows);
  fetchKeys(c, call, call.b, from, to, at, rows);
  fetchValues(c, call, call.v, from, to, at, rows);
  fetchGates(c, call, call.g, from, to, at, rows);
}

/** Fetches what is laid out as k [T, H, K] as v [T, HV, V] or as g [T, HV, K]. */
export function fetchKeys(c: Chunk, call: Call, x: usize, from: i32, to: i32, at: i32, rows: i32): void {
  const group = call.HV / call.H;
  if (x) fetchHeads(x, call.H, call.K, from / group, (to - 1) / group + 1, at, rows, false, c.scores);
}

export function fetchValues(c: Chunk, call: Call, x: usize, from: i32, to: i32, at: i32, rows: i32): void {
  if (x) fetchHeads(x, call.HV, call.V, from, to, at, rows, false, c.scores);
}

export function fetchGates(c: Chunk, call: Call, x: usize, from: i32, to: i32, at: i32, rows: i32): void {
  if (x && call.gate == VECTOR_GATE) fetchHeads(x, call.HV, call.K, from, to, at, rows, false, c.scores);
}

/** Loads all but the values of `rows` <= 16 steps of a value head from step `at` on; missing ones change nothing. */
export function loadChunk(c: Chunk, call: Call, head: i32, at: i32, rows: i32): void {
  const H = call.H, HV = call.HV, K = call.K;
  const keyHead = head / (HV / H);
  const keyRow = <usize>(H * K) << 2;
  const key = (<usize>at * <usize>(H * K) + <usize>(keyHead * K)) << 2;
  loadColumns(call.k + key, keyRow, rows, K, c.keys + HALF, ROW, c.K);
  if (call.normalize) normalizeColumns(c.keys + HALF, c.K, c.norms);
  if (c.reading) loadQueries(c, call, keyHead, at, rows);
  loadDecay(c, call, head, at, rows);
  if (call.form == DPLR) {
    if (c.reading) loadColumns(call.a + key, keyRow, rows, K, c.reads, ROW, c.K);
    loadColumns(call.b + key, keyRow, rows, K, c.keys, ROW, c.K);
  } else {
    loadBeta(c, call, head, at, rows);
    if (call.form == COMBA && c.reading) {
      loadColumns(call.a + key, keyRow, rows, K, c.reads, ROW, c.K);
      if (call.normalize) normalizeColumns(c.reads, c.K, c.norms + 128);
    }
    for (let k = 0; k < c.K; k++) {
      const row = <usize>k * ROW, gates = c.decay + <usize>k * c.decayPitch;
      for (let lane: usize = 0; lane < HALF; lane += 16) {
        const own = v128.load(c.keys + HALF + row + lane);
        v128.store(c.keys + row + lane, f32x4.mul(own, v128.load(c.beta + lane)));
        const read = call.form == COMBA ? v128.load(c.reads + row + lane) : f32x4.mul(own, v128.load(gates + lane));
        v128.store(c.reads + row + lane, f32x4.neg(read));
      }
    }
  }
}

/** The values of the same steps, in place of e, or as v where e starts from 0. */
export function loadValues(c: Chunk, call: Call, head: i32, at: i32, rows: i32): void {
  const row = <usize>(call.HV * call.V) << 2, from = call.v + <usize>at * row + (<usize>(head * call.V) << 2);
  if (c.writes == 2) memory.fill(c.values, 0, <usize>(c.V >> 3) * PAIR_PANEL);
  loadPanels(from, row, rows, call.V, c.values + (c.writes == 2 ? TOKENS_PANEL : 0), c.valuePanel);
}

/** Row of q of a step, or -1: only a token's last step is read. */
// @ts-ignore: decorator
@inline
export function queryOf(call: Call, step: i32): i32 {
  return step % call.steps == call.steps - 1 ? step / call.steps : -1;
}

function loadQueries(c: Chunk, call: Call, keyHead: i32, at: i32, rows: i32): void {
  const H = call.H, K = call.K, to = c.reads + HALF;
  if (!call.q) {
    for (let k = 0; k < c.K; k++) memory.fill(to + <usize>k * ROW, 0, HALF);
    return;
  }
  if (call.steps == 1) {
    const q = (<usize>at * <usize>(H * K) + <usize>(keyHead * K)) << 2;
    loadColumns(call.q + q, <usize>(H * K) << 2, rows, K, to, ROW, c.K);
  } else {
    for (let i = 0; i < 16; i++) {
      const token = i < rows ? queryOf(call, at + i) : -1;
      const q = call.q + ((<usize>token * <usize>(H * K) + <usize>(keyHead * K)) << 2);
      for (let k = 0; k < c.K; k++) {
        const x: f32 = token >= 0 && k < K ? load<f32>(q + (<usize>k << 2)) : 0;
        store<f32>(to + <usize>k * ROW + (<usize>i << 2), x);
      }
    }
  }
  if (call.normalize) normalizeColumns(to, c.K, c.norms + 64);
  const scale = f32x4.splat(call.scale);
  for (let k = 0; k < c.K; k++) {
    for (let lane: usize = 0; lane < HALF; lane += 16) {
      const p = to + <usize>k * ROW + lane;
      v128.store(p, f32x4.mul(scale, v128.load(p)));
    }
  }
}

/** Inside the square root of a norm, as flash-linear-attention has it. */
export const NORM_EPS: f32 = 1e-6;

/** x [K, 16] divided by its columns' norms, whose reciprocals go to norms [16]. */
function normalizeColumns(x: usize, K: i32, norms: usize): void {
  for (let lane: usize = 0; lane < HALF; lane += 16) {
    let sum = f32x4.splat(NORM_EPS);
    for (let k = 0; k < K; k++) {
      const value = v128.load(x + <usize>k * ROW + lane);
      sum = f32x4.add(sum, f32x4.mul(value, value));
    }
    const norm = f32x4.div(f32x4.splat(1), f32x4.sqrt(sum));
    v128.store(norms + lane, norm);
    for (let k = 0; k < K; k++) {
      const p = x + <usize>k * ROW + lane;
      v128.store(p, f32x4.mul(norm, v128.load(p)));
    }
  }
}

/** w = e^g, shared by the channels unless each has its own; 1 without a gate, for missing steps and for all but a token's first step. */
function loadDecay(c: Chunk, call: Call, head: i32, at: i32, rows: i32): void {
  const HV = call.HV, K = call.K;
  if (call.gate == VECTOR_GATE) {
    const g = (<usize>at * <usize>(HV * K) + <usize>(head * K)) << 2;
    loadColumns(call.g + g, <usize>(HV * K) << 2, rows, K, c.decay, HALF, c.K);
    for (let p = c.decay, end = c.decay + <usize>c.K * HALF; p < end; p += 16) v128.store(p, exp(v128.load(p)));
    return;
  }
  for (let i = 0; i < 16; i++) {
    const gated = call.gate == SCALAR_GATE && i < rows && (at + i) % call.steps == 0;
    const g: f32 = gated ? load<f32>(call.g + (<usize>((at + i) / call.steps * HV + head) << 2)) : 0;
    store<f32>(c.decay + (<usize>i << 2), g);
  }
  for (let lane: usize = 0; lane < HALF; lane += 16) {
    v128.store(c.decay + lane, exp(v128.load(c.decay + lane)));
  }
}

function loadBeta(c: Chunk, call: Call, head: i32, at: i32, rows: i32): void {
  for (let i = 0; i < 16; i++) {
    const beta: f32 = i < rows ? load<f32>(call.beta + (<usize>((at + i) * call.HV + head) << 2)) : 0;
    store<f32>(c.beta + (<usize>i << 2), beta);
  }
  if (!call.sigmoid) return;
  const one = f32x4.splat(1);
  for (let p = c.beta; p < c.beta + 64; p += 16) {
    v128.store(p, f32x4.div(one, f32x4.add(one, exp(f32x4.neg(v128.load(p))))));
  }
}

/** [rows, V] -> 16 rows of panels `bytes` apart; missing rows and columns become 0. */
export function loadPanels(from: usize, pitch: usize, rows: i32, V: i32, to: usize, bytes: usize): void {
  for (let v = 0; v < V; v += 8) {
    const panel = to + <usize>(v >> 3) * bytes;
    for (let i = 0; i < 16; i++) {
      const src = from + <usize>i * pitch + (<usize>v << 2), dst = panel + <usize>i * PANEL_ROW;
      copyRow(src, dst, i < rows ? min(8, V - v) : 0);
    }
  }
}

/** dst [8] = src [n], then zeros */
// @ts-ignore: decorator
@inline
function copyRow(src: usize, dst: usize, n: i32): void {
  if (n == 8) {
    v128.store(dst, v128.load(src));
    v128.store(dst, v128.load(src, 16), 16);
    return;
  }
  for (let j = 0; j < 8; j++) {
    store<f32>(dst + (<usize>j << 2), j < n ? load<f32>(src + (<usize>j << 2)) : <f32>0);
  }
}

/** state [K, V] (0: zeros) -> panels [V/8, K, 8], padded with zeros */
export function loadState(c: Chunk, call: Call, from: usize, to: usize): void {
  const V = call.V;
  for (let v = 0; v < V; v += 8) {
    for (let k = 0; k < c.K; k++) {
      copyRow(
        from + (<usize>(k * V + v) << 2), to + (<usize>((v >> 3) * c.K + k) << 5),
        from != 0 && k < call.K ? min(8, V - v) : 0,
      );
    }
  }
}

export function storeState(c: Chunk, call: Call, from: usize, to: usize): void {
  const V = call.V;
  for (let v = 0; v < V; v += 8) {
    for (let k = 0; k < call.K; k++) {
      storeRow(from + (<usize>((v >> 3) * c.K + k) << 5), to + (<usize>(k * V + v) << 2), min(8, V - v));
    }
  }
}

/** dst [n] = src [8] */
// @ts-ignore: decorator
@inline
export function storeRow(src: usize, dst: usize, n: i32): void {
  if (n == 8) {
    v128.store(dst, v128.load(src));
    v128.store(dst, v128.load(src, 16), 16);
    return;
  }
  for (let j = 0; j < n; j++) store<f32>(dst + (<usize>j << 2), load<f32>(src + (<usize>j << 2)));
}
