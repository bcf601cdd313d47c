import { exp, fma } from '../core/exp';
import { loadColumns } from '../core/transpose';
import { copyOut, scaleBy } from '../core/matrix';
import { product } from '../core/product';
import { sumLanes } from '../core/reduce';

// The score of query i and key j is q_i^T H_i ... H_{j+1} k_j with H_t = I - beta_t w_t w_t^T. Sixteen queries are the
// lanes of U [D, 16], which goes from their own block back to the first key: at key j it holds H_{j+1} ... H_i q_i, gives
// the scores U^T k_j, and becomes U - w_j zeta_j^T with zeta_j = beta_j w_j^T U. A lane is zero until its own key, where
// the query enters it. The gradient keeps a U per block of keys, and comes back from the first key.

const BLOCK: i32 = 16;
/** bytes of a vector of one number per query */
const LANES: usize = 64;
/** bytes of such vectors for a block of keys */
const TILE: usize = 1024;

@unmanaged
class Part {
  /** [D, 16] */
  U: usize;
  /** [16, Vp] */
  o: usize;
  /** for a block of keys, [16, 16]; scores and w^T U for a block, or for all */
  weights: usize;
  scores: usize;
  z: usize;
  /** [16] */
  max: usize;
  sum: usize;
  shrink: usize;
  gate: usize;
  /** of the gradient: U of each block, U of each key in a block, gradients [D, 16], [V, 16], [16, 16] and [16] */
  kept: usize;
  Us: usize;
  dU: usize;
  columns: usize;
  dWeights: usize;
  delta: usize;
  passed: usize;
  /** beta w^T U of a key or its gradient, and dU^T w */
  zeta: usize;
  back: usize;
  /** bytes from token to token */
  qPitch: usize;
  kPitch: usize;
  vPitch: usize;
  oPitch: usize;
  betaPitch: usize;
  gPitch: usize;
  D: i32;
  V: i32;
  scale: f32;
}

function layOut(part: Part, at: usize, H: i32, HQ: i32, D: i32, V: i32, scale: f32, blocks: i32): void {
  const tiles = TILE * <usize>blocks, U = LANES * <usize>D;
  part.D = D;
  part.V = V;
  part.scale = scale;
  part.qPitch = <usize>(HQ * D) << 2;
  part.kPitch = <usize>(H * D) << 2;
  part.vPitch = <usize>(H * V) << 2;
  part.oPitch = <usize>(HQ * V) << 2;
  part.betaPitch = <usize>H << 2;
  part.gPitch = <usize>HQ << 2;
  part.max = at;
  part.sum = part.max + LANES;
  part.shrink = part.sum + LANES;
  part.gate = part.shrink + LANES;
  part.delta = part.gate + LANES;
  part.passed = part.delta + LANES;
  part.zeta = part.passed + LANES;
  part.back = part.zeta + LANES;
  part.weights = part.back + LANES;
  part.dWeights = part.weights + TILE;
  part.scores = part.dWeights + TILE;
  part.z = part.scores + tiles;
  part.U = part.z + tiles;
  part.o = part.U + U;
  part.dU = part.o + LANES * <usize>((V + 3) & ~3);
  part.columns = part.dU + U;
  part.Us = part.columns + LANES * <usize>V;
  part.kept = part.Us + 16 * U;
}

/** Lane `lane` of U [D, 16] becomes the row x [D]. */
function enter(U: usize, x: usize, lane: i32, D: i32): void {
  let p = U + (<usize>lane << 2);
  for (let d = 0; d < D; d++, p += LANES, x += 4) store<f32>(p, load<f32>(x));
}

/** The row x [D] becomes lane `lane` of U [D, 16], which becomes 0. */
function leave(U: usize, x: usize, lane: i32, D: i32): void {
  let p = U + (<usize>lane << 2);
  for (let d = 0; d < D; d++, p += LANES, x += 4) {
    store<f32>(x, load<f32>(p));
    store<f32>(p, 0);
  }
}

/** scores = scale (U^T k + gate) and z = U^T w */
function read(U: usize, k: usize, w: usize, gate: usize, scores: usize, z: usize, D: i32, scale: f32): void {
  let s0 = v128.load(gate), s1 = v128.load(gate, 16), s2 = v128.load(gate, 32), s3 = v128.load(gate, 48);
  let z0 = f32x4.splat(0), z1 = f32x4.splat(0), z2 = f32x4.splat(0), z3 = f32x4.splat(0);
  for (let d = D; d > 0; d--, U += LANES, k += 4, w += 4) {
    const a = v128.load32_splat(k), b = v128.load32_splat(w);
    let x = v128.load(U);
    s0 = fma(a, x, s0); z0 = fma(b, x, z0);
    x = v128.load(U, 16);
    s1 = fma(a, x, s1); z1 = fma(b, x, z1);
    x = v128.load(U, 32);
    s2 = fma(a, x, s2); z2 = fma(b, x, z2);
    x = v128.load(U, 48);
    s3 = fma(a, x, s3); z3 = fma(b, x, z3);
  }
  const factor = f32x4.splat(scale);
  v128.store(scores, f32x4.mul(factor, s0)); v128.store(scores, f32x4.mul(factor, s1), 16);
  v128.store(scores, f32x4.mul(factor, s2), 32); v128.store(scores, f32x4.mul(factor, s3), 48);
  v128.store(z, z0); v128.store(z, z1, 16); v128.store(z, z2, 32); v128.store(z, z3, 48);
}

/** to = U - beta w z^T; `to` may be U. */
function erase(U: usize, to: usize, w: usize, z: usize, beta: f32, D: i32): void {
  const factor = f32x4.splat(-beta);
  const z0 = f32x4.mul(factor, v128.load(z)), z1 = f32x4.mul(factor, v128.load(z, 16));
  const z2 = f32x4.mul(factor, v128.load(z, 32)), z3 = f32x4.mul(factor, v128.load(z, 48));
  for (let d = D; d > 0; d--, U += LANES, to += LANES, w += 4) {
    const b = v128.load32_splat(w);
    v128.store(to, fma(b, z0, v128.load(U))); v128.store(to, fma(b, z1, v128.load(U, 16)), 16);
    v128.store(to, fma(b, z2, v128.load(U, 32)), 32); v128.store(to, fma(b, z3, v128.load(U, 48)), 48);
  }
}

/** The weights of n keys relative to the largest score so far; `shrink` is what this makes of the earlier ones. */
function weigh(part: Part, scores: usize, n: i32): void {
  const end = <usize>n * LANES;
  for (let lane: usize = 0; lane < LANES; lane += 16) {
    const before = v128.load(part.max + lane);
    let most = before;
    for (let at = lane; at < end; at += LANES) most = f32x4.pmax(most, v128.load(scores + at));
    const shrink = exp(f32x4.sub(before, most));
    let sum = f32x4.mul(shrink, v128.load(part.sum + lane));
    for (let at = lane; at < end; at += LANES) {
      const weight = exp(f32x4.sub(v128.load(scores + at), most));
      v128.store(part.weights + at, weight);
      sum = f32x4.add(sum, weight);
    }
    v128.store(part.max + lane, most);
    v128.store(part.shrink + lane, shrink);
    v128.store(part.sum + lane, sum);
  }
}

/** o for the queries [from, from + count), keeping scores, z and a U per block for the gradient if asked to. */
function attend(
  part: Part, q: usize, k: usize, v: usize, w: usize, beta: usize, g: usize, from: i32, count: i32, keep: bool,
): void {
  const D = part.D, V = part.V, Vp = (V + 3) & ~3, row = <usize>Vp << 2;
  memory.fill(part.U, 0, LANES * <usize>D);
  memory.fill(part.o, 0, BLOCK * row);
  memory.fill(part.sum, 0, LANES);
  memory.fill(part.gate, 0, LANES);
  for (let i: usize = 0; i < LANES; i += 4) store<f32>(part.max + i, -Infinity);
  for (let block = from; block >= 0; block -= BLOCK) {
    const own = block == from, n = own ? count : BLOCK;
    const slot: usize = keep ? <usize>(block / BLOCK) : 0;
    const scores = part.scores + slot * TILE, z = part.z + slot * TILE;
    if (keep) memory.copy(part.kept + slot * LANES * <usize>D, part.U, LANES * <usize>D);
    for (let j = n - 1; j >= 0; j--) {
      const t = <usize>(block + j), at = <usize>j * LANES, wt = w + t * part.kPitch;
      if (own) {
        enter(part.U, q + t * part.qPitch, j, D);
        store<f32>(part.gate + (<usize>j << 2), 0);
      }
      read(part.U, k + t * part.kPitch, wt, part.gate, scores + at, z + at, D, part.scale);
      if (own) for (let i = 0; i < j; i++) store<f32>(scores + at + (<usize>i << 2), -Infinity);
      erase(part.U, part.U, wt, z + at, load<f32>(beta + t * part.betaPitch), D);
      if (g) {
        const gate = v128.load32_splat(g + t * part.gPitch);
        for (let lane = part.gate; lane < part.gate + LANES; lane += 16) v128.store(lane, f32x4.add(gate, v128.load(lane)));
      }
    }
    weigh(part, scores, n);
    for (let i = 0; i < BLOCK; i++) scaleBy(load<f32>(part.shrink + (<usize>i << 2)), part.o + <usize>i * row, Vp);
    const values = v + <usize>block * part.vPitch;
    if (own) {
      for (let i = 0; i < count; i++) {
        product(part.weights + (<usize>i << 2), 4, LANES, values, part.vPitch, i + 1, part.o + <usize>i * row, row, 1, V, true);
      }
    } else product(part.weights, 4, LANES, values, part.vPitch, BLOCK, part.o, row, BLOCK, V, true);
  }
  for (let i = 0; i < count; i++) {
    scaleBy(<f32>1 / load<f32>(part.sum + (<usize>i << 2)), part.o + <usize>i * row, Vp);
  }
}

/** o for (sequence, head of q, block of queries) items [begin, end) */
export function pathAttention(
  q: usize, k: usize, v: usize, w: usize, beta: usize, g: usize, o: usize, offsets: usize, workspace: usize,
  H: i32, HQ: i32, D: i32, V: i32, blocks: i32, scale: f32, begin: i32, end: i32,
): void {
  const part = changetype<Part>(workspace);
  layOut(part, workspace + 128, H, HQ, D, V, scale, 1);
  const row = <usize>((V + 3) & ~3) << 2;
  for (let item = begin; item < end; item++) {
    const head = (item / blocks) % HQ, bounds = offsets + (<usize>(item / blocks / HQ) << 2);
    const first = load<i32>(bounds), T = load<i32>(bounds, 4) - first, from = (item % blocks) * BLOCK;
    if (from >= T) continue;
    const count = min(BLOCK, T - from), place = first * HQ + head, keyPlace = first * H + head / (HQ / H);
    attend(
      part, q + (<usize>(place * D) << 2), k + (<usize>(keyPlace * D) << 2), v + (<usize>(keyPlace * V) << 2),
      w + (<usize>(keyPlace * D) << 2), beta + (<usize>keyPlace << 2), g ? g + (<usize>place << 2) : 0, from, count, false,
    );
    const to = o + (<usize>(place * V) << 2) + <usize>from * part.oPitch;
    for (let i = 0; i < count; i++) copyOut(part.o + <usize>i * row, to + <usize>i * part.oPitch, V);
  }
}

/** t = dU^T w, and dw += -dU zeta */
function readBack(dU: usize, w: usize, dw: usize, zeta: usize, t: usize, D: i32): void {
  const e0 = v128.load(zeta), e1 = v128.load(zeta, 16), e2 = v128.load(zeta, 32), e3 = v128.load(zeta, 48);
  let t0 = f32x4.splat(0), t1 = f32x4.splat(0), t2 = f32x4.splat(0), t3 = f32x4.splat(0);
  for (let d = D; d > 0; d--, dU += LANES, w += 4, dw += 4) {
    const b = v128.load32_splat(w);
    let y = v128.load(dU);
    t0 = fma(b, y, t0);
    let sum = f32x4.mul(e0, y);
    y = v128.load(dU, 16);
    t1 = fma(b, y, t1); sum = fma(e1, y, sum);
    y = v128.load(dU, 32);
    t2 = fma(b, y, t2); sum = fma(e2, y, sum);
    y = v128.load(dU, 48);
    t3 = fma(b, y, t3); sum = fma(e3, y, sum);
    store<f32>(dw, load<f32>(dw) - sumLanes(sum));
  }
  v128.store(t, t0); v128.store(t, t1, 16); v128.store(t, t2, 32); v128.store(t, t3, 48);
}

/** dU += k ds^T + w dz^T, dk += U ds and dw += U dz */
function spread(U: usize, dU: usize, k: usize, w: usize, dk: usize, dw: usize, ds: usize, dz: usize, D: i32): void {
  const s0 = v128.load(ds), s1 = v128.load(ds, 16), s2 = v128.load(ds, 32), s3 = v128.load(ds, 48);
  const z0 = v128.load(dz), z1 = v128.load(dz, 16), z2 = v128.load(dz, 32), z3 = v128.load(dz, 48);
  for (let d = D; d > 0; d--, U += LANES, dU += LANES, k += 4, w += 4, dk += 4, dw += 4) {
    const a = v128.load32_splat(k), b = v128.load32_splat(w);
    let x = v128.load(U);
    let forK = f32x4.mul(s0, x), forW = f32x4.mul(z0, x);
    v128.store(dU, fma(a, s0, fma(b, z0, v128.load(dU))));
    x = v128.load(U, 16);
    forK = fma(s1, x, forK); forW = fma(z1, x, forW);
    v128.store(dU, fma(a, s1, fma(b, z1, v128.load(dU, 16))), 16);
    x = v128.load(U, 32);
    forK = fma(s2, x, forK); forW = fma(z2, x, forW);
    v128.store(dU, fma(a, s2, fma(b, z2, v128.load(dU, 32))), 32);
    x = v128.load(U, 48);
    forK = fma(s3, x, forK); forW = fma(z3, x, forW);
    v128.store(dU, fma(a, s3, fma(b, z3, v128.load(dU, 48))), 48);
    store<f32>(dk, load<f32>(dk) + sumLanes(forK));
    store<f32>(dw, load<f32>(dw) + sumLanes(forW));
  }
}

/**
 * For one key: dWeights [16] becomes the gradient of U^T k and of the gates. Returns what the gate of this key weighs: the
 * gradients of the scores that it is part of, which are those of the keys before it.
 */
function scoreGradient(part: Part, scores: usize, weights: usize, dWeights: usize): f32 {
  const scale = f32x4.splat(part.scale), hidden = f32x4.splat(-Infinity);
  let sum = f32x4.splat(0);
  for (let lane: usize = 0; lane < LANES; lane += 16) {
    const slope = f32x4.sub(v128.load(dWeights + lane), v128.load(part.delta + lane));
    const ds = f32x4.mul(scale, f32x4.mul(v128.load(weights + lane), slope));
    const seen = v128.andnot(ds, f32x4.eq(v128.load(scores + lane), hidden));
    const passed = v128.load(part.passed + lane);
    sum = f32x4.add(sum, passed);
    v128.store(part.passed + lane, f32x4.add(passed, seen));
    v128.store(dWeights + lane, seen);
  }
  return sumLanes(sum);
}

// @ts-ignore: decorator
@inline
function addTo(p: usize, x: f32): void {
  store<f32>(p, load<f32>(p) + x);
}

/** Gradients of all inputs, for (sequence, head of k) items [begin, end). */
export function pathAttentionBackward(
  q: usize, k: usize, v: usize, w: usize, beta: usize, g: usize, dO: usize,
  dq: usize, dk: usize, dv: usize, dw: usize, dBeta: usize, dg: usize, offsets: usize, workspace: usize,
  H: i32, HQ: i32, D: i32, V: i32, blocks: i32, scale: f32, begin: i32, end: i32,
): void {
  const part = changetype<Part>(workspace);
  layOut(part, workspace + 128, H, HQ, D, V, scale, blocks);
  const group = HQ / H;
  for (let item = begin; item < end; item++) {
    const bounds = offsets + (<usize>(item / H) << 2), keyHead = item % H;
    const first = load<i32>(bounds), T = load<i32>(bounds, 4) - first, keyPlace = first * H + keyHead;
    const key = <usize>(keyPlace * D) << 2, value = <usize>(keyPlace * V) << 2, rate = <usize>keyPlace << 2;
    for (let t: usize = 0; t < <usize>T; t++) {
      memory.fill(dk + key + t * part.kPitch, 0, <usize>D << 2);
      memory.fill(dw + key + t * part.kPitch, 0, <usize>D << 2);
      memory.fill(dv + value + t * part.vPitch, 0, <usize>V << 2);
      store<f32>(dBeta + rate + t * part.betaPitch, 0);
    }
    for (let head = keyHead * group; head < (keyHead + 1) * group; head++) {
      const place = first * HQ + head, query = <usize>(place * D) << 2, read = <usize>(place * V) << 2, gate = <usize>place << 2;
      if (dg) for (let t: usize = 0; t < <usize>T; t++) store<f32>(dg + gate + t * part.gPitch, 0);
      for (let from = 0; from < T; from += BLOCK) {
        attend(
          part, q + query, k + key, v + value, w + key, beta + rate, g ? g + gate : 0, from, min(BLOCK, T - from), true,
        );
        comeBack(
          part, q + query, k + key, v + value, w + key, beta + rate, dO + read,
          dq + query, dk + key, dv + value, dw + key, dBeta + rate, dg ? dg + gate : 0, from, min(BLOCK, T - from),
        );
      }
    }
  }
}

/** Adds the gradients that the queries [from, from + count) give; `attend` was there before. */
function comeBack(
  part: Part, q: usize, k: usize, v: usize, w: usize, beta: usize, dO: usize,
  dq: usize, dk: usize, dv: usize, dw: usize, dBeta: usize, dg: usize, from: i32, count: i32,
): void {
  const D = part.D, V = part.V, row = <usize>((V + 3) & ~3) << 2, size = LANES * <usize>D;
  const dOs = dO + <usize>from * part.oPitch;
  loadColumns(dOs, part.oPitch, count, V, part.columns, LANES, V);
  // the diagonal of o dO^T, by the same sums as the gradients of the weights: for a single key they are equal
  product(part.o, row, 4, part.columns, LANES, V, part.weights, LANES, count, BLOCK, false);
  memory.fill(part.delta, 0, LANES);
  for (let i: usize = 0; i < <usize>count; i++) {
    store<f32>(part.delta + (i << 2), load<f32>(part.weights + i * LANES + (i << 2)));
  }
  memory.fill(part.dU, 0, size);
  memory.fill(part.passed, 0, LANES);
  for (let block = 0; block <= from; block += BLOCK) {
    const own = block == from, n = own ? count : BLOCK, slot = <usize>(block / BLOCK);
    const scores = part.scores + slot * TILE, z = part.z + slot * TILE;
    for (let at: usize = 0; at < <usize>n * LANES; at += 16) {
      const lane = at & 48;
      const weight = exp(f32x4.sub(v128.load(scores + at), v128.load(part.max + lane)));
      v128.store(part.weights + at, f32x4.div(weight, v128.load(part.sum + lane)));
    }
    product(v + <usize>block * part.vPitch, part.vPitch, 4, part.columns, LANES, V, part.dWeights, LANES, n, BLOCK, false);
    let U = part.Us + <usize>(n - 1) * size;
    memory.copy(U, part.kept + slot * size, size);
    for (let j = n - 1; j >= 0; j--, U -= size) {
      const t = <usize>(block + j);
      if (own) enter(U, q + t * part.qPitch, j, D);
      if (j > 0) erase(U, U - size, w + t * part.kPitch, z + <usize>j * LANES, load<f32>(beta + t * part.betaPitch), D);
    }
    for (let j = 0; j < n; j++) {
      const t = <usize>(block + j), at = <usize>j * LANES, kt = t * part.kPitch;
      const ds = part.dWeights + at, gate = scoreGradient(part, scores + at, part.weights + at, ds);
      if (dg) addTo(dg + t * part.gPitch, gate);
      const rate = f32x4.splat(load<f32>(beta + t * part.betaPitch));
      for (let lane: usize = 0; lane < LANES; lane += 16) {
        v128.store(part.zeta + lane, f32x4.mul(rate, v128.load(z + at + lane)));
      }
      readBack(part.dU, w + kt, dw + kt, part.zeta, part.back, D);
      let sum = f32x4.splat(0);
      for (let lane: usize = 0; lane < LANES; lane += 16) {
        const back = v128.load(part.back + lane);
        sum = f32x4.sub(sum, f32x4.mul(back, v128.load(z + at + lane)));
        v128.store(part.zeta + lane, f32x4.neg(f32x4.mul(rate, back)));
      }
      addTo(dBeta + t * part.betaPitch, sumLanes(sum));
      spread(part.Us + <usize>j * size, part.dU, k + kt, w + kt, dk + kt, dw + kt, ds, part.zeta, D);
      if (own) {
        leave(part.dU, dq + t * part.qPitch, j, D);
        store<f32>(part.passed + (<usize>j << 2), 0);
      }
    }
    const dvs = dv + <usize>block * part.vPitch;
    if (own) {
      for (let j: usize = 0; j < <usize>n; j++) {
        product(
          part.weights + j * LANES + (j << 2), LANES, 4, dOs + j * part.oPitch, part.oPitch, n - <i32>j,
          dvs + j * part.vPitch, part.vPitch, 1, V, true,
        );
      }
    } else product(part.weights, LANES, 4, dOs, part.oPitch, count, dvs, part.vPitch, BLOCK, V, true);
  }
}
