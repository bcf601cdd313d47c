import { exp, fma } from '../core/exp';
import { loadLanes, storeLanes } from '../core/lanes';
import { softplus } from '../core/log';
import { sumLanes } from '../core/reduce';
import { sigmoid, silu, siluSlope } from '../core/silu';

// What stands around the scan of Mamba-2, by blocks of 64 tokens: step sizes before it, skip and gate after it.

const ROWS: i32 = 64;

// @ts-ignore: decorator
@inline
function at(p: usize, i: i32): usize {
  return p + (<usize>i << 2);
}

// @ts-ignore: decorator
@inline
function within(step: v128, low: f32, high: f32): v128 {
  return f32x4.pmin(f32x4.pmax(step, f32x4.splat(low)), f32x4.splat(high));
}

// @ts-ignore: decorator
@inline
function freeStep(raw: v128, isSoftplus: i32): v128 {
  return isSoftplus ? softplus(raw) : raw;
}

/** Four of dt + bias from column h of H on. */
// @ts-ignore: decorator
@inline
function rawSteps(dt: usize, bias: usize, h: i32, H: i32): v128 {
  const raw = loadLanes(at(dt, h), H - h);
  return bias ? f32x4.add(raw, loadLanes(at(bias, h), H - h)) : raw;
}

/** steps = dt + bias through softplus and limits and g = steps A for blocks [begin, end) of [rows, H]. */
export function ssdSteps(
  dt: usize, A: usize, bias: usize, steps: usize, g: usize,
  rows: i32, H: i32, isSoftplus: i32, low: f32, high: f32, begin: i32, end: i32,
): void {
  const last = min(rows, end * ROWS) * H;
  for (let i = begin * ROWS * H; i < last; i += H) {
    for (let h = 0; h < H; h += 4) {
      const n = H - h, d = within(freeStep(rawSteps(at(dt, i), bias, h, H), isSoftplus), low, high);
      storeLanes(at(steps, i + h), d, n);
      storeLanes(at(g, i + h), f32x4.mul(d, loadLanes(at(A, h), n)), n);
    }
  }
}

/**
 * From the gradients of steps and g: with s = dSteps + dg A that in dt is s where dt lies within the limits, times the slope
 * of softplus. Sums over a block for A and bias go to partial [blocks, 2, H]. `work` holds two rows of dt.
 */
export function ssdStepsBackward(
  dt: usize, A: usize, bias: usize, dSteps: usize, dg: usize, ddt: usize, partial: usize, work: usize,
  rows: i32, H: i32, isSoftplus: i32, low: f32, high: f32, begin: i32, end: i32,
): void {
  const Hp = (H + 3) & ~3, sumA = work, sumBias = at(sumA, Hp);
  for (let block = begin; block < end; block++) {
    const last = min(rows, (block + 1) * ROWS) * H;
    memory.fill(sumA, 0, <usize>Hp << 3);
    for (let i = block * ROWS * H; i < last; i += H) {
      for (let h = 0; h < H; h += 4) {
        const n = H - h, raw = rawSteps(at(dt, i), bias, h, H), free = freeStep(raw, isSoftplus), d = within(free, low, high);
        const vdg = loadLanes(at(dg, i + h), n);
        let s = fma(vdg, loadLanes(at(A, h), n), loadLanes(at(dSteps, i + h), n));
        s = v128.and(s, f32x4.eq(free, d));
        if (isSoftplus) s = f32x4.mul(s, sigmoid(raw));
        storeLanes(at(ddt, i + h), s, n);
        v128.store(at(sumA, h), fma(vdg, d, v128.load(at(sumA, h))));
        v128.store(at(sumBias, h), f32x4.add(s, v128.load(at(sumBias, h))));
      }
    }
    memory.copy(at(partial, block * 2 * H), sumA, <usize>H << 2);
    memory.copy(at(partial, (block * 2 + 1) * H), sumBias, <usize>H << 2);
  }
}

/** out = (y + D x) silu(z) for blocks [begin, end) of rows [H, P]; D is [H] or, `perChannel`, [H, P]. D or z may be 0. */
export function ssdOutputs(
  y: usize, x: usize, D: usize, z: usize, out: usize, rows: i32, H: i32, P: i32, perChannel: i32, begin: i32, end: i32,
): void {
  const last = min(rows, end * ROWS);
  for (let r = begin * ROWS; r < last; r++) {
    for (let h = 0; h < H; h++) outputsOf(y, x, D, z, out, r * H + h, h, P, perChannel);
  }
}

/** The same for one row of a head. */
// @ts-ignore: decorator
@inline
function outputsOf(y: usize, x: usize, D: usize, z: usize, out: usize, row: i32, h: i32, P: i32, perChannel: i32): void {
  for (let p = 0; p < P; p += 4) {
    const i = row * P + p, n = P - p;
    let v = loadLanes(at(y, i), n);
    if (D) v = fma(skipOf(D, h, p, P, perChannel), loadLanes(at(x, i), n), v);
    if (z) v = f32x4.mul(v, silu(loadLanes(at(z, i), n)));
    storeLanes(at(out, i), v, n);
  }
}

/**
 * One token of items [begin, end) of batch and head: next = exp(dt A) state + dt x B^T, [P, N], and its product with C, to
 * which skip and gate are applied. x, z and out are [batch, H, P], B and C [batch, G, N]. bias, D, z and state may be 0.
 */
export function ssdStep(
  x: usize, dt: usize, A: usize, bias: usize, B: usize, C: usize, D: usize, z: usize, state: usize, out: usize, next: usize,
  H: i32, P: i32, G: i32, N: i32, perChannel: i32, isSoftplus: i32, low: f32, high: f32, begin: i32, end: i32,
): void {
  const whole = N & ~3, perGroup = H / G;
  for (let item = begin; item < end; item++) {
    const h = item % H, row = (item / H * G + h / perGroup) * N, b = at(B, row), c = at(C, row);
    const raw = f32x4.splat(load<f32>(at(dt, item)) + (bias ? load<f32>(at(bias, h)) : 0));
    const d = within(freeStep(raw, isSoftplus), low, high), decay = exp(f32x4.mul(d, v128.load32_splat(at(A, h))));
    for (let p = item * P; p < (item + 1) * P; p++) {
      const v = f32x4.mul(d, v128.load32_splat(at(x, p))), from = at(state, p * N), to = at(next, p * N);
      let sum = f32x4.splat(0);
      for (let n = 0; n < whole; n += 4) {
        let s = f32x4.mul(v, v128.load(at(b, n)));
        if (state) s = fma(decay, v128.load(at(from, n)), s);
        v128.store(at(to, n), s);
        sum = fma(s, v128.load(at(c, n)), sum);
      }
      if (N > whole) {
        let s = f32x4.mul(v, loadLanes(at(b, whole), N - whole));
        if (state) s = fma(decay, loadLanes(at(from, whole), N - whole), s);
        storeLanes(at(to, whole), s, N - whole);
        sum = fma(s, loadLanes(at(c, whole), N - whole), sum);
      }
      store<f32>(at(out, p), sumLanes(sum));
    }
    if (D || z) outputsOf(out, x, D, z, out, item, h, P, perChannel);
  }
}

// @ts-ignore: decorator
@inline
function skipOf(D: usize, h: i32, p: i32, P: i32, perChannel: i32): v128 {
  return perChannel ? loadLanes(at(D, h * P + p), P - p) : v128.load32_splat(at(D, h));
}

/** dy = dout silu(z), dx = D dy, dz = dout (y + D x) silu'(z); a block's sum for D goes to its part of partial [blocks, D]. */
export function ssdOutputsBackward(
  y: usize, x: usize, D: usize, z: usize, dout: usize, dy: usize, dx: usize, dz: usize, partial: usize,
  rows: i32, H: i32, P: i32, perChannel: i32, begin: i32, end: i32,
): void {
  const size = perChannel ? H * P : H;
  for (let block = begin; block < end; block++) {
    const sums = at(partial, block * size), last = min(rows, (block + 1) * ROWS);
    if (D) memory.fill(sums, 0, <usize>size << 2);
    for (let r = block * ROWS; r < last; r++) {
      for (let h = 0; h < H; h++) {
        let sum = f32x4.splat(0);
        for (let p = 0; p < P; p += 4) {
          const i = (r * H + h) * P + p, n = P - p, d = loadLanes(at(dout, i), n);
          let v = loadLanes(at(y, i), n), g = d;
          if (D) v = fma(skipOf(D, h, p, P, perChannel), loadLanes(at(x, i), n), v);
          if (z) {
            const gate = loadLanes(at(z, i), n), s = sigmoid(gate);
            g = f32x4.mul(d, f32x4.mul(gate, s));
            storeLanes(at(dz, i), f32x4.mul(f32x4.mul(d, v), siluSlope(gate, s)), n);
          }
          storeLanes(at(dy, i), g, n);
          if (!D) continue;
          storeLanes(at(dx, i), f32x4.mul(skipOf(D, h, p, P, perChannel), g), n);
          const product = f32x4.mul(g, loadLanes(at(x, i), n));
          if (perChannel) storeLanes(at(sums, h * P + p), f32x4.add(product, loadLanes(at(sums, h * P + p), n)), n);
          else sum = f32x4.add(sum, product);
        }
        if (D && !perChannel) store<f32>(at(sums, h), load<f32>(at(sums, h)) + sumLanes(sum));
      }
    }
  }
}

/** Matrices [begin, end) of dst [columns, rows] = those of src [rows, columns] turned over. */
export function transposeMatrices(src: usize, dst: usize, rows: i32, columns: i32, begin: i32, end: i32): void {
  const size = rows * columns;
  for (let item = begin; item < end; item++) {
    const from = at(src, item * size), to = at(dst, item * size);
    for (let c = 0; c < columns; c++) {
      for (let r = 0; r < rows; r++) store<f32>(at(to, c * rows + r), load<f32>(at(from, r * columns + c)));
    }
  }
}
