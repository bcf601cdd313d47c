import { fma } from '../core/exp';
import { dot, sumLanes } from '../core/reduce';
import { silu } from '../core/silu';
import { gateGradient, hiddenOf, SILU, upGradient } from './activation';
import { BLOCK_BYTES, FEW } from './groupedMatMul';
import { fillPanel, packPanel, PANEL_ROW, panelProduct, rowAt, unpackPanel } from '../core/panel';
import { vectorProduct } from '../core/vector';

const BLOCK_PANELS: i32 = 16;
/** Hidden features computed at a time: gate, up and h of a block of tokens stay in the second-level cache. */
const CHUNK: i32 = 256;

/** Where the rows of gate and up lie among the rows of gate_up: gate f at gate0 + f * step, up f at up0 + f * step. */
// @ts-ignore: decorator
@inline
function upStart(gated: bool, interleaved: bool, F: i32): i32 {
  return gated ? (interleaved ? 1 : F) : 0;
}

/** h[f] for f < F on `rows` of lanes: four f at once from vectors when step is 1, else one by one. */
function activateVector(
  gate: usize, up: usize, step: i32, h: usize, F: i32, kind: i32, gated: bool, alpha: f32, limit: f32,
): void {
  let f = 0;
  if (step == 1) {
    for (; f + 4 <= F; f += 4) {
      const p = <usize>f << 2;
      v128.store(h + p, hiddenOf(kind, gated, v128.load(gate + p), v128.load(up + p), alpha, limit));
    }
  }
  for (; f < F; f++) {
    const p = <usize>(f * step) << 2;
    const y = hiddenOf(
      kind, gated, v128.load32_splat(gate + p), v128.load32_splat(up + p), alpha, limit,
    );
    store<f32>(h + (<usize>f << 2), f32x4.extract_lane(y, 0));
  }
}

/** h [F][8] from panels of gate and up whose rows are `step` panel rows apart. */
function activatePanel(
  gate: usize, up: usize, step: i32, h: usize, F: i32, kind: i32, gated: bool, alpha: f32, limit: f32,
): void {
  const next = <usize>step * PANEL_ROW;
  if (kind == SILU && gated) {
    // a loop that runs at least once, in which form V8 keeps the constants of silu in registers
    let f = F;
    do {
      v128.store(h, f32x4.mul(silu(v128.load(gate)), v128.load(up)));
      v128.store(h, f32x4.mul(silu(v128.load(gate, 16)), v128.load(up, 16)), 16);
      gate += next; up += next; h += PANEL_ROW;
      f--;
    } while (f > 0);
    return;
  }
  for (let f = 0; f < F; f++) {
    v128.store(h, hiddenOf(kind, gated, v128.load(gate), v128.load(up), alpha, limit));
    v128.store(h, hiddenOf(kind, gated, v128.load(gate, 16), v128.load(up, 16), alpha, limit), 16);
    gate += next; up += next; h += PANEL_ROW;
  }
}

/**
 * y[slot] = down(act(gate_up(x[token[slot]]))) for blocks [begin, end) of slots sorted by expert. The rows of gate_up are
 * computed CHUNK hidden features at a time, activated in place and multiplied into y, so h is never held whole.
 * W(n, k) = w[n * row + k * step] for both weights. scratch: 256 * (D + 2 * 256 + 256 + M) + 64 * max(D, 256)
 * + 12 * F bytes.
 */
export function moeMlp(
  x: usize, token: usize, gateUp: usize, gateUpBias: usize, down: usize, downBias: usize, y: usize,
  blocks: usize, scratch: usize, D: i32, F: i32, M: i32, transposed: i32, gatedForm: i32, alternating: i32,
  kind: i32, alpha: f32, limit: f32, begin: i32, end: i32,
): void {
  const gated = gatedForm != 0, interleaved = alternating != 0;
  const F1 = gated ? F << 1 : F;
  const rowX = <usize>D << 2, rowY = <usize>M << 2;
  const rowIn: usize = transposed ? 4 : rowX, stepIn: usize = transposed ? <usize>F1 << 2 : 4;
  const rowOut: usize = transposed ? 4 : <usize>F << 2, stepOut: usize = transposed ? rowY : 4;
  const step = gated && interleaved ? 2 : 1, up0 = upStart(gated, interleaved, F);
  const C = min(F, CHUNK), width = gated ? C << 1 : C;
  const xBytes = <usize>D * PANEL_ROW, guBytes = <usize>width * PANEL_ROW;
  const hBytes = <usize>C * PANEL_ROW, yBytes = <usize>M * PANEL_ROW;
  const gu = scratch + <usize>BLOCK_PANELS * xBytes, h = gu + <usize>BLOCK_PANELS * guBytes;
  const yp = h + <usize>BLOCK_PANELS * hBytes, strip = yp + <usize>BLOCK_PANELS * yBytes;
  const few = strip + (<usize>max(D, C) << 6);

  for (let b = begin; b < end; b++) {
    const block = blocks + <usize>b * BLOCK_BYTES;
    const expert = <usize>load<i32>(block), first = load<i32>(block, 4), count = load<i32>(block, 8);
    const w1 = gateUp + expert * <usize>F1 * rowX, w2 = down + expert * <usize>F * rowY;
    const b1: usize = gateUpBias ? gateUpBias + expert * (<usize>F1 << 2) : 0;
    const b2: usize = downBias ? downBias + expert * rowY : 0;

    if (count <= FEW) {
      const hidden = few + (<usize>F1 << 2);
      for (let i = first; i < first + count; i++) {
        if (b1) memory.copy(few, b1, <usize>F1 << 2);
        vectorProduct(w1, rowIn, stepIn, D, F1, rowAt(x, token, i, rowX), few, b1 != 0);
        activateVector(few, few + (<usize>up0 << 2), step, hidden, F, kind, gated, alpha, limit);
        const to = y + <usize>i * rowY;
        if (b2) memory.copy(to, b2, rowY);
        vectorProduct(w2, rowOut, stepOut, F, M, hidden, to, b2 != 0);
      }
      continue;
    }

    const P = (count + 7) >> 3;
    for (let p = 0; p < P; p++) {
      packPanel(x, token, first + (p << 3), min(8, count - (p << 3)), D, scratch + <usize>p * xBytes);
      if (b2) fillPanel(yp + <usize>p * yBytes, b2, M);
    }
    for (let f = 0; f < F; f += C) {
      const n = min(C, F - f);
      // gate and up rows are one run of 2n rows when interleaved or not gated, else two runs of n
      const runs = gated && !interleaved ? 2 : 1, length = gated && interleaved ? n << 1 : n;
      for (let run = 0; run < runs; run++) {
        const row = run * F + f * step;
        const to = gu + <usize>(run * n) * PANEL_ROW;
        if (b1) for (let p = 0; p < P; p++) fillPanel(to + <usize>p * guBytes, b1 + (<usize>row << 2), length);
        panelProduct(
          w1 + <usize>row * rowIn, rowIn, stepIn, D, length, scratch, xBytes, count, to, guBytes, b1 != 0, strip,
        );
      }
      const up = gated ? (interleaved ? PANEL_ROW : <usize>n * PANEL_ROW) : 0;
      for (let p = 0; p < P; p++) {
        const gate = gu + <usize>p * guBytes;
        activatePanel(gate, gate + up, step, h + <usize>p * hBytes, n, kind, gated, alpha, limit);
      }
      panelProduct(
        w2 + <usize>f * stepOut, rowOut, stepOut, n, M, h, hBytes, count, yp, yBytes, f > 0 || b2 != 0, strip,
      );
    }
    for (let p = 0; p < P; p++) {
      const i = p << 3;
      unpackPanel(yp + <usize>p * yBytes, min(8, count - i), M, y + <usize>(first + i) * rowY);
    }
  }
}

/** out (+)= weight * y on a row of M */
// @ts-ignore: decorator
@inline
function addRow(out: usize, y: usize, weight: f32, M: i32): void {
  const w = f32x4.splat(weight);
  let m = 0;
  for (; m + 4 <= M; m += 4) {
    const p = <usize>m << 2;
    v128.store(out + p, fma(w, v128.load(y + p), v128.load(out + p)));
  }
  for (; m < M; m++) {
    const p = <usize>m << 2;
    store<f32>(out + p, load<f32>(out + p) + weight * load<f32>(y + p));
  }
}

/**
 * out[token] = residual[token] + sum of weight[i] * y[slot[i]] over i in [start[token], start[token + 1]), in that
 * order, for tokens [begin, end): y [slots, M]; residual and weights may be 0 (none, ones).
 */
export function moeCombine(
  y: usize, weights: usize, residual: usize, out: usize, start: usize, slot: usize, weightIndex: usize,
  M: i32, begin: i32, end: i32,
): void {
  const row = <usize>M << 2;
  for (let t = begin; t < end; t++) {
    const to = out + <usize>t * row;
    if (residual) memory.copy(to, residual + <usize>t * row, row);
    else memory.fill(to, 0, row);
    const last = load<i32>(start + (<usize>t << 2), 4);
    for (let i = load<i32>(start + (<usize>t << 2)); i < last; i++) {
      const at = <usize>i << 2;
      const weight: f32 = weights ? load<f32>(weights + (<usize>load<i32>(weightIndex + at) << 2)) : 1;
      addRow(to, y + <usize>load<i32>(slot + at) * row, weight, M);
    }
  }
}

/** weightOf[slot] = weights[index[slot]] for slots [begin, end). */
export function moeSlotWeights(weights: usize, index: usize, weightOf: usize, begin: i32, end: i32): void {
  for (let i = begin; i < end; i++) {
    const p = <usize>i << 2;
    store<f32>(weightOf + p, load<f32>(weights + (<usize>load<i32>(index + p) << 2)));
  }
}

/**
 * For slots [begin, end): from gu [slots, F1] (pre-activations) and t [slots, F] (dy of the slot's token through down),
 * dWeights[index[slot]] = t . h (+ dy . downBias), h *= weight into hidden, and gu becomes its own gradient.
 * dy [tokens, M], downBias [E, M] or 0, expertOf [slots].
 */
export function moeActivationBackward(
  gu: usize, t: usize, hidden: usize, weightOf: usize, dWeights: usize, index: usize, dy: usize, token: usize,
  downBias: usize, expertOf: usize, F: i32, M: i32, gatedForm: i32, alternating: i32, kind: i32,
  alpha: f32, limit: f32, begin: i32, end: i32,
): void {
  const gated = gatedForm != 0, interleaved = alternating != 0;
  const F1 = gated ? F << 1 : F;
  const step = gated && interleaved ? 2 : 1, up0 = upStart(gated, interleaved, F);
  const rowY = <usize>M << 2;
  for (let i = begin; i < end; i++) {
    const at = <usize>i << 2;
    const weight = load<f32>(weightOf + at), w = f32x4.splat(weight);
    const gate = gu + <usize>i * (<usize>F1 << 2), up = gate + (<usize>up0 << 2);
    const pt = t + <usize>i * (<usize>F << 2), ph = hidden + <usize>i * (<usize>F << 2);
    let sum: f32 = 0;
    let f = 0;
    if (step == 1) {
      let sums = f32x4.splat(0);
      for (; f + 4 <= F; f += 4) {
        const p = <usize>f << 2;
        const g = v128.load(gate + p), u = v128.load(up + p), d = v128.load(pt + p);
        const h = hiddenOf(kind, gated, g, u, alpha, limit), dh = f32x4.mul(d, w);
        sums = fma(d, h, sums);
        v128.store(ph + p, f32x4.mul(h, w));
        if (gated) v128.store(up + p, upGradient(kind, g, u, dh, alpha, limit));
        v128.store(gate + p, gateGradient(kind, gated, g, u, dh, alpha, limit));
      }
      sum = sumLanes(sums);
    }
    for (; f < F; f++) {
      const p = <usize>f << 2, q = <usize>(f * step) << 2;
      const g = v128.load32_splat(gate + q), u = v128.load32_splat(up + q), d = v128.load32_splat(pt + p);
      const h = hiddenOf(kind, gated, g, u, alpha, limit), dh = f32x4.mul(d, w);
      sum += f32x4.extract_lane(f32x4.mul(d, h), 0);
      store<f32>(ph + p, f32x4.extract_lane(f32x4.mul(h, w), 0));
      if (gated) store<f32>(up + q, f32x4.extract_lane(upGradient(kind, g, u, dh, alpha, limit), 0));
      store<f32>(gate + q, f32x4.extract_lane(gateGradient(kind, gated, g, u, dh, alpha, limit), 0));
    }
    if (downBias) {
      sum += dot(rowAt(dy, token, i, rowY), downBias + <usize>load<i32>(expertOf + at) * rowY, M);
    }
    store<f32>(dWeights + (<usize>load<i32>(index + at) << 2), sum);
  }
}
