import { exp } from '../core/exp';
import { softplus } from '../core/log';
import { copyOut, copyPadded, loadMatrix, matVec, storeMatrix, vecMat, axpy } from '../core/matrix';
import { sigmoid } from '../core/silu';
import { tanh } from '../core/tanh';

// A state is h, c, n, m [Dp] each. Gates i, f, z, o: x [4, H, D] of the token plus h^T R, R [4, H, D, D].

/** The gates of a token before their functions, at `gates` [4, Dp], R [4, Dp, Dp] in the workspace. */
function gatesOf(x: usize, t: i32, head: i32, H: i32, D: i32, R: usize, state: usize, gates: usize, scratch: usize): void {
  const Dp = (D + 3) & ~3, bytes = <usize>Dp << 2;
  for (let gate = 0; gate < 4; gate++) {
    const to = gates + <usize>gate * bytes;
    copyPadded(x + (<usize>(((t * 4 + gate) * H + head) * D) << 2), to, D);
    vecMat(state, R + <usize>(gate * Dp) * bytes, scratch, Dp, Dp);
    axpy(1, scratch, to, Dp);
  }
}

/** log sigmoid(f) + m */
// @ts-ignore: decorator
@inline
function keptOf(f: v128, m: v128): v128 {
  return f32x4.sub(m, softplus(f32x4.neg(f)));
}

/** The stabilizer: i where nothing has been written yet, else the larger one. */
// @ts-ignore: decorator
@inline
function stabilizer(kept: v128, i: v128, n: v128): v128 {
  return v128.bitselect(i, f32x4.max(kept, i), f32x4.eq(n, f32x4.splat(0)));
}

/** e^x for x <= 0; 1 beyond */
// @ts-ignore: decorator
@inline
function gateOf(x: v128): v128 {
  return exp(f32x4.min(x, f32x4.splat(0)));
}

function step(gates: usize, state: usize, next: usize, bytes: usize): void {
  for (let at: usize = 0; at < bytes; at += 16) {
    const i = v128.load(gates + at), n = v128.load(state + 2 * bytes + at);
    const kept = keptOf(v128.load(gates + bytes + at), v128.load(state + 3 * bytes + at));
    const m = stabilizer(kept, i, n);
    const forget = gateOf(f32x4.sub(kept, m)), input = gateOf(f32x4.sub(i, m));
    const z = tanh(v128.load(gates + 2 * bytes + at)), o = sigmoid(v128.load(gates + 3 * bytes + at));
    const c = f32x4.add(f32x4.mul(forget, v128.load(state + bytes + at)), f32x4.mul(input, z));
    const norm = f32x4.add(f32x4.mul(forget, n), input);
    v128.store(next + at, f32x4.div(f32x4.mul(o, c), norm));
    v128.store(next + bytes + at, c);
    v128.store(next + 2 * bytes + at, norm);
    v128.store(next + 3 * bytes + at, m);
  }
}

function loadState(from: usize, state: usize, item: i32, H: i32, D: i32): void {
  const bytes = <usize>((D + 3) & ~3) << 2;
  for (let part = 0; part < 4; part++) {
    const at = from + (<usize>(((item / H * 4 + part) * H + item % H) * D) << 2);
    copyPadded(from ? at : 0, state + <usize>part * bytes, D);
  }
}

function storeState(state: usize, to: usize, item: i32, H: i32, D: i32): void {
  const bytes = <usize>((D + 3) & ~3) << 2;
  for (let part = 0; part < 4; part++) {
    copyOut(state + <usize>part * bytes, to + (<usize>(((item / H * 4 + part) * H + item % H) * D) << 2), D);
  }
}

function loadWeights(r: usize, R: usize, head: i32, H: i32, D: i32): void {
  const Dp = (D + 3) & ~3;
  for (let gate = 0; gate < 4; gate++) {
    loadMatrix(r + (<usize>((gate * H + head) * D * D) << 2), R + (<usize>(gate * Dp * Dp) << 2), D, D);
  }
}

/** h and the final state for (sequence, head) items [begin, end); the states may be 0. */
export function sLstm(
  x: usize, r: usize, s0: usize, h: usize, sT: usize, offsets: usize, workspace: usize, H: i32, D: i32,
  begin: i32, end: i32,
): void {
  const Dp = (D + 3) & ~3, bytes = <usize>Dp << 2;
  const R = workspace, gates = R + 4 * <usize>Dp * bytes, scratch = gates + 4 * bytes, state = scratch + bytes;
  for (let item = begin; item < end; item++) {
    const head = item % H, bounds = offsets + (<usize>(item / H) << 2);
    loadWeights(r, R, head, H, D);
    loadState(s0, state, item, H, D);
    for (let t = load<i32>(bounds); t < load<i32>(bounds, 4); t++) {
      gatesOf(x, t, head, H, D, R, state, gates, scratch);
      step(gates, state, state, bytes);
      copyOut(state, h + (<usize>((t * H + head) * D) << 2), D);
    }
    if (sT) storeState(state, sT, item, H, D);
  }
}

/**
 * Gradients of x, r (per sequence [N, 4, H, D, D]) and the first state, for (sequence, head) items [begin, end). h does
 * not depend on any m, so they count as constants until the end, whose m follows one path back through the gates.
 */
export function sLstmBackward(
  x: usize, r: usize, s0: usize, dh: usize, dsT: usize, dx: usize, dr: usize, ds0: usize, offsets: usize, workspace: usize,
  H: i32, D: i32, begin: i32, end: i32,
): void {
  const Dp = (D + 3) & ~3, bytes = <usize>Dp << 2, size = <usize>Dp * bytes;
  const R = workspace, gates = R + 4 * size, scratch = gates + 4 * bytes;
  // gradients of the state, h, c, n and the path of m, then of the gates and of R
  const P = scratch + bytes, dGates = P + 4 * bytes, dR = dGates + 4 * bytes, states = dR + 4 * size;
  const zero = f32x4.splat(0), one = f32x4.splat(1);
  for (let item = begin; item < end; item++) {
    const head = item % H, bounds = offsets + (<usize>(item / H) << 2);
    const first = load<i32>(bounds), last = load<i32>(bounds, 4);
    loadWeights(r, R, head, H, D);
    memory.fill(dR, 0, 4 * size);
    loadState(s0, states, item, H, D);
    for (let t = first; t < last; t++) {
      const state = states + <usize>(t - first) * 4 * bytes;
      gatesOf(x, t, head, H, D, R, state, gates, scratch);
      step(gates, state, state + 4 * bytes, bytes);
    }
    loadState(dsT, P, item, H, D);
    const final = states + <usize>(last - first) * 4 * bytes;
    for (let at: usize = 0; at < bytes && last > first; at += 16) {
      const c = f32x4.mul(v128.load(final + bytes + at), v128.load(P + bytes + at));
      const n = f32x4.mul(v128.load(final + 2 * bytes + at), v128.load(P + 2 * bytes + at));
      const m = P + 3 * bytes + at;
      v128.store(m, f32x4.sub(f32x4.sub(v128.load(m), c), n));
    }
    for (let t = last - 1; t >= first; t--) {
      const state = states + <usize>(t - first) * 4 * bytes;
      gatesOf(x, t, head, H, D, R, state, gates, scratch);
      copyPadded(dh + (<usize>((t * H + head) * D) << 2), scratch, D);
      for (let at: usize = 0; at < bytes; at += 16) {
        const i = v128.load(gates + at), f = v128.load(gates + bytes + at);
        const c0 = v128.load(state + bytes + at), n0 = v128.load(state + 2 * bytes + at);
        const kept = keptOf(f, v128.load(state + 3 * bytes + at)), m = stabilizer(kept, i, n0);
        const forget = gateOf(f32x4.sub(kept, m)), input = gateOf(f32x4.sub(i, m));
        const z = tanh(v128.load(gates + 2 * bytes + at)), o = sigmoid(v128.load(gates + 3 * bytes + at));
        const c = v128.load(state + 5 * bytes + at), n = v128.load(state + 6 * bytes + at);
        const d = f32x4.add(v128.load(P + at), v128.load(scratch + at));
        const perNorm = f32x4.div(d, n), read = f32x4.div(c, n);
        const dc = f32x4.add(v128.load(P + bytes + at), f32x4.mul(perNorm, o));
        const dn = f32x4.sub(v128.load(P + 2 * bytes + at), f32x4.mul(f32x4.mul(perNorm, o), read));
        const path = v128.load(P + 3 * bytes + at);
        const stays = v128.andnot(f32x4.ge(kept, i), f32x4.eq(n0, zero));
        let dKept = f32x4.mul(forget, f32x4.add(f32x4.mul(dc, c0), f32x4.mul(dn, n0)));
        dKept = f32x4.add(dKept, v128.and(path, stays));
        const dInput = f32x4.mul(input, f32x4.add(f32x4.mul(dc, z), dn));
        v128.store(dGates + at, f32x4.add(dInput, v128.andnot(path, stays)));
        v128.store(dGates + bytes + at, f32x4.mul(dKept, sigmoid(f32x4.neg(f))));
        v128.store(dGates + 2 * bytes + at, f32x4.mul(f32x4.mul(dc, input), f32x4.sub(one, f32x4.mul(z, z))));
        v128.store(dGates + 3 * bytes + at, f32x4.mul(f32x4.mul(d, read), f32x4.mul(o, f32x4.sub(one, o))));
        v128.store(P + bytes + at, f32x4.mul(forget, dc));
        v128.store(P + 2 * bytes + at, f32x4.mul(forget, dn));
        // at the first token the path ends in the first state, with all that its m weighs
        v128.store(P + 3 * bytes + at, t == first ? dKept : v128.and(path, stays));
      }
      memory.fill(P, 0, bytes);
      for (let gate = 0; gate < 4; gate++) {
        const dGate = dGates + <usize>gate * bytes;
        copyOut(dGate, dx + (<usize>(((t * 4 + gate) * H + head) * D) << 2), D);
        matVec(R + <usize>gate * size, dGate, scratch, Dp, Dp);
        axpy(1, scratch, P, Dp);
        for (let i = 0; i < D; i++) {
          axpy(load<f32>(state + (<usize>i << 2)), dGate, dR + <usize>gate * size + <usize>i * bytes, Dp);
        }
      }
    }
    for (let gate = 0; gate < 4; gate++) {
      const to = dr + (<usize>(((item / H * 4 + gate) * H + head) * D * D) << 2);
      storeMatrix(dR + <usize>gate * size, to, D, D);
    }
    if (ds0) storeState(P, ds0, item, H, D);
  }
}
