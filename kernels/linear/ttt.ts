import { axpy, copyOut, copyPadded, loadMatrix, scaleBy, scalePadded, storeMatrix } from '../core/matrix';
import { product } from '../core/product';
import { dot } from '../core/reduce';
import { transpose4 } from '../core/transpose';
import { lossGradient, lossGradientBackward, Norm, residualNorm, residualNormBackward } from './memoryLoss';

// A mini-batch of n tokens, all of whose loss gradients U are taken at its first state (h, c):
//   U = loss gradient of K h + c
//   y_i = q_i h + c - eta_i sum over j <= i of (q_i . k_j + 1) u_j
//   h <- h - eta K^T U, c <- c - eta sum U, with the last token's eta
// A state in the workspace is h [Dp, Dp] and c [Dp]. Rows past the end of a sequence are zero.

/** Rows [n, Dp] of a mini-batch; q is scaled. */
@unmanaged
class Batch {
  q: usize;
  k: usize;
  v: usize;
  read: usize;
  u: usize;
  y: usize;
  /** rows more */
  more: usize;
  /** two vectors */
  scratch: usize;
  /** tokens that are there */
  count: i32;
  eta: f32;
}

function layOut(batch: Batch, norm: Norm, at: usize, Dp: i32, n: i32): usize {
  const bytes = <usize>Dp << 2, rows = <usize>n * bytes;
  norm.w = at;
  norm.b = at + bytes;
  batch.scratch = at + 2 * bytes;
  batch.q = at + 4 * bytes;
  batch.k = batch.q + rows;
  batch.v = batch.k + rows;
  batch.read = batch.v + rows;
  batch.u = batch.read + rows;
  batch.y = batch.u + rows;
  batch.more = batch.y + rows;
  return batch.more + rows;
}

/** rows [n, Dp] += c, or c += the sum of the rows */
function addToRows(c: usize, rows: usize, n: i32, Dp: i32): void {
  for (let i = 0; i < n; i++) axpy(1, c, rows + (<usize>(i * Dp) << 2), Dp);
}
function addRows(rows: usize, c: usize, n: i32, Dp: i32): void {
  for (let i = 0; i < n; i++) axpy(1, rows + (<usize>(i * Dp) << 2), c, Dp);
}

/** q, k, v, u and y of the tokens from t on, before y's norm */
function readBatch(
  batch: Batch, norm: Norm, q: usize, k: usize, v: usize, eta: usize, t: i32, last: i32, n: i32, H: i32, head: i32,
  scale: f32, state: usize,
): void {
  const D = norm.D, Dp = (D + 3) & ~3, bytes = <usize>Dp << 2, c = state + <usize>Dp * bytes;
  batch.count = min(n, last - t);
  batch.eta = load<f32>(eta + (<usize>((t + batch.count - 1) * H + head) << 2));
  for (let i = 0; i < n; i++) {
    const row = <usize>i * bytes, from = <usize>(((t + i) * H + head) * D) << 2;
    if (i < batch.count) scalePadded(q + from, batch.q + row, D, scale);
    else copyPadded(0, batch.q + row, D);
    copyPadded(i < batch.count ? k + from : 0, batch.k + row, D);
    copyPadded(i < batch.count ? v + from : 0, batch.v + row, D);
  }
  product(batch.k, bytes, 4, state, bytes, Dp, batch.read, bytes, n, Dp, false);
  addToRows(c, batch.read, n, Dp);
  product(batch.q, bytes, 4, state, bytes, Dp, batch.y, bytes, n, Dp, false);
  addToRows(c, batch.y, n, Dp);
  for (let i = 0; i < n; i++) {
    const row = <usize>i * bytes;
    lossGradient(norm, batch.read + row, batch.k + row, batch.v + row, batch.u + row, batch.scratch, batch.scratch + bytes);
    if (i >= batch.count) continue;
    const rate = load<f32>(eta + (<usize>((t + i) * H + head) << 2));
    for (let j = 0; j <= i; j++) {
      const weight: f32 = dot(batch.q + row, batch.k + <usize>j * bytes, Dp) + 1;
      axpy(-rate * weight, batch.u + <usize>j * bytes, batch.y + row, Dp);
    }
  }
}

/** The state after the mini-batch, in place. */
function advanceBatch(batch: Batch, state: usize, n: i32, Dp: i32): void {
  const bytes = <usize>Dp << 2;
  memory.copy(batch.more, batch.u, <usize>n * bytes);
  scaleBy(-batch.eta, batch.more, n * Dp);
  product(batch.k, 4, bytes, batch.more, bytes, n, state, bytes, Dp, Dp, true);
  addRows(batch.more, state + <usize>Dp * bytes, n, Dp);
}

function loadState(h0: usize, c0: usize, item: i32, state: usize, D: i32): void {
  const Dp = (D + 3) & ~3;
  loadMatrix(h0 ? h0 + (<usize>(item * D * D) << 2) : 0, state, D, D);
  copyPadded(c0 ? c0 + (<usize>(item * D) << 2) : 0, state + (<usize>(Dp * Dp) << 2), D);
}

function storeState(state: usize, h: usize, c: usize, item: i32, D: i32): void {
  const Dp = (D + 3) & ~3;
  if (h) storeMatrix(state, h + (<usize>(item * D * D) << 2), D, D);
  if (c) copyOut(state + (<usize>(Dp * Dp) << 2), c + (<usize>(item * D) << 2), D);
}

/** o and the final state for (sequence, head) items [begin, end); the states may be 0. */
export function tttLinear(
  q: usize, k: usize, v: usize, w: usize, b: usize, eta: usize, h0: usize, c0: usize, o: usize, hT: usize, cT: usize,
  offsets: usize, workspace: usize, H: i32, D: i32, scale: f32, eps: f32, n: i32, begin: i32, end: i32,
): void {
  const Dp = (D + 3) & ~3, bytes = <usize>Dp << 2;
  const batch = changetype<Batch>(workspace), norm = changetype<Norm>(workspace + 64);
  const state = layOut(batch, norm, workspace + 128, Dp, n);
  norm.D = D;
  norm.eps = eps;
  norm.undivided = 0;
  for (let item = begin; item < end; item++) {
    const head = item % H, bounds = offsets + (<usize>(item / H) << 2), last = load<i32>(bounds, 4);
    copyPadded(w + (<usize>(head * D) << 2), norm.w, D);
    copyPadded(b + (<usize>(head * D) << 2), norm.b, D);
    loadState(h0, c0, item, state, D);
    for (let t = load<i32>(bounds); t < last; t += n) {
      readBatch(batch, norm, q, k, v, eta, t, last, n, H, head, scale, state);
      for (let i = 0; i < batch.count; i++) {
        const y = batch.y + <usize>i * bytes;
        residualNorm(norm, y, batch.scratch);
        copyOut(y, o + (<usize>(((t + i) * H + head) * D) << 2), D);
      }
      advanceBatch(batch, state, n, Dp);
    }
    storeState(state, hT, cT, item, D);
  }
}

function transpose(from: usize, to: usize, Dp: i32): void {
  const bytes = <usize>Dp << 2;
  for (let i = 0; i < Dp; i += 4) {
    for (let j = 0; j < Dp; j += 4) {
      transpose4(from + <usize>i * bytes + (<usize>j << 2), bytes, to + <usize>j * bytes + (<usize>i << 2), bytes, false);
    }
  }
}

/**
 * Gradients of all inputs, for (sequence, head) items [begin, end); those of w and b per sequence [N, H, D]. The state at
 * the start of every mini-batch is kept.
 */
export function tttLinearBackward(
  q: usize, k: usize, v: usize, w: usize, b: usize, eta: usize, h0: usize, c0: usize, dO: usize, dhT: usize, dcT: usize,
  dq: usize, dk: usize, dv: usize, dw: usize, db: usize, dEta: usize, dh0: usize, dc0: usize,
  offsets: usize, workspace: usize, H: i32, D: i32, scale: f32, eps: f32, n: i32, begin: i32, end: i32,
): void {
  const Dp = (D + 3) & ~3, bytes = <usize>Dp << 2, rows = <usize>n * bytes, size = (<usize>Dp + 1) * bytes;
  const batch = changetype<Batch>(workspace), norm = changetype<Norm>(workspace + 64);
  const R = layOut(batch, norm, workspace + 128, Dp, n), r = R + <usize>Dp * bytes;
  const turned = R + size, dY = turned + size, dQ = dY + rows, dK = dQ + rows, dV = dK + rows, dU = dV + rows;
  const rates = dU + rows, scratch = rates + (<usize>((n + 3) & ~3) << 2);
  norm.dw = scratch + 4 * bytes;
  norm.db = norm.dw + bytes;
  const state = norm.db + bytes, kept = state + size;
  norm.D = D;
  norm.eps = eps;
  norm.undivided = 0;
  for (let item = begin; item < end; item++) {
    const head = item % H, bounds = offsets + (<usize>(item / H) << 2);
    const first = load<i32>(bounds), last = load<i32>(bounds, 4);
    copyPadded(w + (<usize>(head * D) << 2), norm.w, D);
    copyPadded(b + (<usize>(head * D) << 2), norm.b, D);
    memory.fill(norm.dw, 0, 2 * bytes);
    loadState(h0, c0, item, state, D);
    const batches = (last - first + n - 1) / n;
    for (let m = 0; m < batches; m++) {
      memory.copy(kept + <usize>m * size, state, size);
      readBatch(batch, norm, q, k, v, eta, first + m * n, last, n, H, head, scale, state);
      advanceBatch(batch, state, n, Dp);
    }
    loadState(dhT, dcT, item, R, D);
    for (let m = batches - 1; m >= 0; m--) {
      const t = first + m * n, start = kept + <usize>m * size;
      readBatch(batch, norm, q, k, v, eta, t, last, n, H, head, scale, start);
      memory.fill(dY, 0, 2 * rows);
      memory.fill(dV, 0, rows);
      // from the state after it
      product(batch.k, bytes, 4, R, bytes, Dp, dU, bytes, n, Dp, false);
      addToRows(r, dU, n, Dp);
      let dRate = -dot(batch.u, dU, n * Dp);
      scaleBy(-batch.eta, dU, n * Dp);
      transpose(R, turned, Dp);
      product(batch.u, bytes, 4, turned, bytes, Dp, dK, bytes, n, Dp, false);
      scaleBy(-batch.eta, dK, n * Dp);
      // from the outputs
      for (let i = 0; i < batch.count; i++) {
        const row = <usize>i * bytes, at = (t + i) * H + head, rate = load<f32>(eta + (<usize>at << 2));
        residualNormBackward(norm, batch.y + row, dO + (<usize>(at * D) << 2), dY + row, scratch);
        let slope: f32 = 0;
        for (let j = 0; j <= i; j++) {
          const other = <usize>j * bytes;
          const weight: f32 = dot(batch.q + row, batch.k + other, Dp) + 1, along = dot(dY + row, batch.u + other, Dp);
          slope -= weight * along;
          axpy(-rate * weight, dY + row, dU + other, Dp);
          axpy(-rate * along, batch.k + other, dQ + row, Dp);
          axpy(-rate * along, batch.q + row, dK + other, Dp);
        }
        store<f32>(rates + (<usize>i << 2), slope);
      }
      const end = rates + (<usize>(batch.count - 1) << 2);
      store<f32>(end, load<f32>(end) + dRate);
      transpose(start, turned, Dp);
      product(dY, bytes, 4, turned, bytes, Dp, dQ, bytes, n, Dp, true);
      product(batch.q, 4, bytes, dY, bytes, n, R, bytes, Dp, Dp, true);
      addRows(dY, r, n, Dp);
      // through the loss gradients
      for (let i = 0; i < n; i++) {
        const row = <usize>i * bytes;
        lossGradientBackward(
          norm, batch.read + row, batch.k + row, batch.v + row, dU + row, dU + row, dK + row, dV + row, scratch,
        );
      }
      product(dU, bytes, 4, turned, bytes, Dp, dK, bytes, n, Dp, true);
      product(batch.k, 4, bytes, dU, bytes, n, R, bytes, Dp, Dp, true);
      addRows(dU, r, n, Dp);
      scaleBy(scale, dQ, n * Dp);
      for (let i = 0; i < batch.count; i++) {
        const row = <usize>i * bytes, at = (t + i) * H + head, to = <usize>(at * D) << 2;
        copyOut(dQ + row, dq + to, D);
        copyOut(dK + row, dk + to, D);
        copyOut(dV + row, dv + to, D);
        store<f32>(dEta + (<usize>at << 2), load<f32>(rates + (<usize>i << 2)));
      }
    }
    copyOut(norm.dw, dw + (<usize>(item * D) << 2), D);
    copyOut(norm.db, db + (<usize>(item * D) << 2), D);
    storeState(R, dh0, dc0, item, D);
  }
}
