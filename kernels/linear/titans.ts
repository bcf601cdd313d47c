import { fma } from '../core/exp';
import { advance, axpy, copyOut, copyPadded, loadMatrix, matVec, scaleBy, storeMatrix, vecMat } from '../core/matrix';
import { dot } from '../core/reduce';
import { lossGradient, lossGradientBackward, Norm, residualNorm, residualNormBackward } from './memoryLoss';

// u_t = loss gradient of k_t^T M at the start of its chunk, S' = eta S - 2 theta k u^T, M' = (1 - alpha) M + S',
// y = M'^T q. A state in the workspace is M and S, [Dp, Dp] each. Tokens past the end have zero vectors, and zero gates
// but for the last of a chunk, which repeats the gates of the last token.

@unmanaged
class Token {
  q: usize;
  k: usize;
  v: usize;
  /** k^T M of the chunk's start, its loss gradient, and y */
  read: usize;
  u: usize;
  y: usize;
  /** two vectors more */
  scratch: usize;
  theta: f32;
  alpha: f32;
  eta: f32;
}

function layOut(token: Token, norm: Norm, at: usize, bytes: usize): usize {
  norm.w = at;
  norm.b = at + bytes;
  token.q = at + 2 * bytes;
  token.k = at + 3 * bytes;
  token.v = at + 4 * bytes;
  token.read = at + 5 * bytes;
  token.u = at + 6 * bytes;
  token.y = at + 7 * bytes;
  token.scratch = at + 8 * bytes;
  return at + 10 * bytes;
}

/** The state after token t of a sequence [first, last), in place or at `next`; `start` is M at the start of the chunk. */
function step(
  token: Token, norm: Norm, q: usize, k: usize, v: usize, theta: usize, alpha: usize, eta: usize,
  t: i32, last: i32, endOfChunk: bool, H: i32, head: i32, start: usize, state: usize, next: usize,
): void {
  const D = norm.D, Dp = (D + 3) & ~3, size = <usize>(Dp * Dp) << 2, bytes = <usize>Dp << 2;
  const vector = <usize>((t * H + head) * D) << 2;
  const here = t < last;
  copyPadded(here ? q + vector : 0, token.q, D);
  copyPadded(here ? k + vector : 0, token.k, D);
  copyPadded(here ? v + vector : 0, token.v, D);
  const gate = <usize>(min(t, last - 1) * H + head) << 2;
  const gated = here || endOfChunk;
  token.theta = gated ? load<f32>(theta + gate) : 0;
  token.alpha = gated ? load<f32>(alpha + gate) : 0;
  token.eta = gated ? load<f32>(eta + gate) : 0;
  vecMat(token.k, start, token.read, Dp, Dp);
  lossGradient(norm, token.read, token.k, token.v, token.u, token.scratch, token.scratch + bytes);
  memory.copy(token.scratch, token.k, bytes);
  scaleBy(-2 * token.theta, token.scratch, Dp);
  advance(state + size, next + size, token.eta, token.scratch, token.u, token.q, token.y, Dp, Dp);
  mix(1 - token.alpha, state, next + size, next, token.q, token.y, Dp);
}

/** to = keep M + S, y = to^T q */
function mix(keep: f32, M: usize, S: usize, to: usize, q: usize, y: usize, Dp: i32): void {
  const pitch = <usize>Dp << 2, w = f32x4.splat(keep);
  let j: usize = 0;
  for (; j + 64 <= pitch; j += 64) {
    let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
    for (let i: usize = 0, at = j; i < pitch; i += 4, at += pitch) {
      const a = M + at, b = S + at, dst = to + at, x = v128.load32_splat(q + i);
      const m0 = fma(w, v128.load(a), v128.load(b)), m1 = fma(w, v128.load(a, 16), v128.load(b, 16));
      v128.store(dst, m0); v128.store(dst, m1, 16);
      s0 = fma(x, m0, s0); s1 = fma(x, m1, s1);
      const m2 = fma(w, v128.load(a, 32), v128.load(b, 32)), m3 = fma(w, v128.load(a, 48), v128.load(b, 48));
      v128.store(dst, m2, 32); v128.store(dst, m3, 48);
      s2 = fma(x, m2, s2); s3 = fma(x, m3, s3);
    }
    v128.store(y + j, s0); v128.store(y + j, s1, 16); v128.store(y + j, s2, 32); v128.store(y + j, s3, 48);
  }
  for (; j < pitch; j += 16) {
    let sum = f32x4.splat(0);
    for (let i: usize = 0, at = j; i < pitch; i += 4, at += pitch) {
      const x = fma(w, v128.load(M + at), v128.load(S + at));
      v128.store(to + at, x);
      sum = fma(v128.load32_splat(q + i), x, sum);
    }
    v128.store(y + j, sum);
  }
}

function loadState(m0: usize, s0: usize, item: i32, state: usize, D: i32): void {
  const Dp = (D + 3) & ~3, from = <usize>(item * D * D) << 2;
  loadMatrix(m0 ? m0 + from : 0, state, D, D);
  loadMatrix(s0 ? s0 + from : 0, state + (<usize>(Dp * Dp) << 2), D, D);
}

/** The last token's place after padding to whole chunks. */
// @ts-ignore: decorator
@inline
function paddedEnd(first: i32, last: i32, chunk: i32): i32 {
  return first + (last - first + chunk - 1) / chunk * chunk;
}

/** o and the final state for (sequence, head) items [begin, end); the states may be 0. */
export function titansLinear(
  q: usize, k: usize, v: usize, w: usize, b: usize, theta: usize, alpha: usize, eta: usize, m0: usize, s0: usize,
  o: usize, mT: usize, sT: usize, offsets: usize, workspace: usize, H: i32, D: i32, eps: f32, chunk: i32,
  begin: i32, end: i32,
): void {
  const Dp = (D + 3) & ~3, bytes = <usize>Dp << 2, size = <usize>(Dp * Dp) << 2;
  const token = changetype<Token>(workspace), norm = changetype<Norm>(workspace + 64);
  const state = layOut(token, norm, workspace + 128, bytes), start = state + 2 * size;
  norm.D = D;
  norm.eps = eps;
  norm.undivided = 1;
  for (let item = begin; item < end; item++) {
    const head = item % H, bounds = offsets + (<usize>(item / H) << 2);
    const first = load<i32>(bounds), last = load<i32>(bounds, 4);
    copyPadded(w + (<usize>(head * D) << 2), norm.w, D);
    copyPadded(b + (<usize>(head * D) << 2), norm.b, D);
    loadState(m0, s0, item, state, D);
    for (let t = first; t < paddedEnd(first, last, chunk); t++) {
      const place = (t - first) % chunk;
      if (place == 0) memory.copy(start, state, size);
      step(token, norm, q, k, v, theta, alpha, eta, t, last, place == chunk - 1, H, head, start, state, state);
      if (t >= last) continue;
      residualNorm(norm, token.y, token.scratch);
      copyOut(token.y, o + (<usize>((t * H + head) * D) << 2), D);
    }
    if (mT == 0) continue;
    storeMatrix(state, mT + (<usize>(item * D * D) << 2), D, D);
    storeMatrix(state + size, sT + (<usize>(item * D * D) << 2), D, D);
  }
}

/**
 * Gradients of all inputs, for (sequence, head) items [begin, end); those of w and b per sequence [N, H, D]. The states at
 * the start of every chunk are kept, those within one are computed again.
 */
export function titansLinearBackward(
  q: usize, k: usize, v: usize, w: usize, b: usize, theta: usize, alpha: usize, eta: usize, m0: usize, s0: usize,
  dO: usize, dmT: usize, dsT: usize,
  dq: usize, dk: usize, dv: usize, dw: usize, db: usize, dTheta: usize, dAlpha: usize, dEta: usize, dm0: usize, ds0: usize,
  offsets: usize, workspace: usize, H: i32, D: i32, eps: f32, chunk: i32, begin: i32, end: i32,
): void {
  const Dp = (D + 3) & ~3, bytes = <usize>Dp << 2, size = <usize>(Dp * Dp) << 2;
  const token = changetype<Token>(workspace), norm = changetype<Norm>(workspace + 64);
  const R = layOut(token, norm, workspace + 128, bytes), P = R + size, R0 = P + size;
  const dy = R0 + size, dKey = dy + bytes, dValue = dKey + bytes, du = dValue + bytes, scratch = du + bytes;
  norm.dw = scratch + 4 * bytes;
  norm.db = norm.dw + bytes;
  const states = norm.db + bytes, kept = states + <usize>(chunk + 1) * 2 * size;
  norm.D = D;
  norm.eps = eps;
  norm.undivided = 1;
  for (let item = begin; item < end; item++) {
    const head = item % H, bounds = offsets + (<usize>(item / H) << 2);
    const first = load<i32>(bounds), last = load<i32>(bounds, 4);
    const chunks = (last - first + chunk - 1) / chunk;
    copyPadded(w + (<usize>(head * D) << 2), norm.w, D);
    copyPadded(b + (<usize>(head * D) << 2), norm.b, D);
    memory.fill(norm.dw, 0, 2 * bytes);
    loadState(m0, s0, item, states, D);
    for (let c = 0; c < chunks; c++) {
      const start = kept + <usize>c * 2 * size;
      memory.copy(start, states, 2 * size);
      for (let place = 0; place < chunk; place++) {
        const t = first + c * chunk + place;
        step(token, norm, q, k, v, theta, alpha, eta, t, last, place == chunk - 1, H, head, start, states, states);
      }
    }
    loadState(dmT, dsT, item, R, D);
    for (let c = chunks - 1; c >= 0; c--) {
      const start = kept + <usize>c * 2 * size;
      memory.copy(states, start, 2 * size);
      memory.fill(R0, 0, size);
      for (let place = 0; place < chunk; place++) {
        const state = states + <usize>place * 2 * size, t = first + c * chunk + place;
        step(token, norm, q, k, v, theta, alpha, eta, t, last, place == chunk - 1, H, head, start, state, state + 2 * size);
      }
      // gates of the step after the end belong to the last token
      let restTheta: f32 = 0, restAlpha: f32 = 0, restEta: f32 = 0;
      for (let place = chunk - 1; place >= 0; place--) {
        const t = first + c * chunk + place, row = t * H + head;
        const before = states + <usize>place * 2 * size, after = before + 2 * size;
        step(token, norm, q, k, v, theta, alpha, eta, t, last, place == chunk - 1, H, head, start, before, after);
        memory.fill(dKey, 0, 2 * bytes);
        const vector = <usize>(row * D) << 2, gate = <usize>row << 2;
        memory.fill(dy, 0, bytes);
        if (t < last) {
          residualNormBackward(norm, token.y, dO + vector, dy, scratch);
          matVec(after, dy, scratch, Dp, Dp);
          copyOut(scratch, dq + vector, D);
        }
        // R of M', P of S'
        advance(R, R, 1, token.q, dy, token.k, scratch, Dp, Dp);
        const a = -dot(R, before, Dp * Dp);
        axpy(1, R, P, Dp * Dp);
        scaleBy(1 - token.alpha, R, Dp * Dp);
        const e = dot(P, before + size, Dp * Dp);
        vecMat(token.k, P, du, Dp, Dp);
        const s: f32 = -2 * dot(du, token.u, Dp);
        scaleBy(-2 * token.theta, du, Dp);
        matVec(P, token.u, dKey, Dp, Dp);
        scaleBy(-2 * token.theta, dKey, Dp);
        scaleBy(token.eta, P, Dp * Dp);
        lossGradientBackward(norm, token.read, token.k, token.v, du, du, dKey, dValue, scratch);
        matVec(start, du, scratch, Dp, Dp);
        axpy(1, scratch, dKey, Dp);
        advance(R0, R0, 1, token.k, du, token.k, scratch, Dp, Dp);
        if (t >= last) {
          if (place == chunk - 1) {
            restTheta = s;
            restAlpha = a;
            restEta = e;
          }
          continue;
        }
        copyOut(dKey, dk + vector, D);
        copyOut(dValue, dv + vector, D);
        store<f32>(dTheta + gate, s + restTheta);
        store<f32>(dAlpha + gate, a + restAlpha);
        store<f32>(dEta + gate, e + restEta);
        restTheta = 0;
        restAlpha = 0;
        restEta = 0;
      }
      axpy(1, R0, R, Dp * Dp);
    }
    copyOut(norm.dw, dw + (<usize>(item * D) << 2), D);
    copyOut(norm.db, db + (<usize>(item * D) << 2), D);
    if (dm0) storeMatrix(R, dm0 + (<usize>(item * D * D) << 2), D, D);
    if (ds0) storeMatrix(P, ds0 + (<usize>(item * D * D) << 2), D, D);
  }
}
