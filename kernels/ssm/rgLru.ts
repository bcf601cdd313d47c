import { exp, expm1 } from '../core/exp';
import { loadLanes, storeLanes } from '../core/lanes';
import { softplus } from '../core/log';
import { product } from '../core/product';
import { sigmoid } from '../core/silu';
import { transpose4 } from '../core/transpose';

// The gates of the RG-LRU on rows x [rows, H d]. With the gates r and i, sigmoids of block-diagonal linear maps of x,
// log a = -c r softplus(p), m = sqrt(1 - a^2), b = m i x; at a reset a = 0 and m = 1.
// A work item is a block of tokens of one head.

const BLOCK: i32 = 32;
/** The slope of the square root is held below 1000, as Griffin's code does. */
const MIN_ROOT: f32 = 0.0005;

/** out [tokens, d], rows `pitch` apart = x W + bias */
// @ts-ignore: decorator
@inline
function linear(x: usize, row: usize, w: usize, bias: usize, d: i32, out: usize, pitch: usize, tokens: i32): void {
  for (let t = 0; t < tokens; t++) memory.copy(out + <usize>t * pitch, bias, <usize>d << 2);
  product(x, row, 4, w, <usize>d << 2, d, out, pitch, tokens, d, true);
}

/** rates [d] = -c softplus(p) */
// @ts-ignore: decorator
@inline
function loadRates(param: usize, d: i32, c: f32, rates: usize): void {
  for (let k = 0; k < d; k += 4) {
    const q = <usize>k << 2;
    v128.store(rates + q, f32x4.mul(f32x4.splat(-c), softplus(loadLanes(param + q, d - k))));
  }
}

/**
 * Items [begin, end) of ceil(rows / 32) blocks times H heads; `work` holds two blocks [32, d] and a row. The gates go to i and
 * r, unless these are 0.
 */
export function rgLruGates(
  x: usize, param: usize, wi: usize, bi: usize, wr: usize, br: usize, reset: usize,
  a: usize, b: usize, i: usize, r: usize, work: usize,
  rows: i32, H: i32, d: i32, c: f32, begin: i32, end: i32,
): void {
  const row = <usize>(H * d) << 2, pitch = <usize>((d + 3) & ~3) << 2;
  const zi = work, zr = work + <usize>BLOCK * pitch, rates = zr + <usize>BLOCK * pitch;
  const zero = f32x4.splat(0);
  for (let item = begin; item < end; item++) {
    const first = item / H * BLOCK, head = <usize>(item % H * d) << 2, matrix = head * <usize>d;
    const tokens = min(BLOCK, rows - first), at = <usize>first * row + head;
    linear(x + at, row, wi + matrix, bi + head, d, zi, pitch, tokens);
    linear(x + at, row, wr + matrix, br + head, d, zr, pitch, tokens);
    loadRates(param + head, d, c, rates);
    for (let t = 0; t < tokens; t++) {
      const here = at + <usize>t * row, from = <usize>t * pitch;
      const fresh = reset != 0 && load<i32>(reset + (<usize>(first + t) << 2)) != 0;
      for (let k = 0; k < d; k += 4) {
        const q = <usize>k << 2, n = d - k;
        const gateI = sigmoid(v128.load(zi + from + q)), gateR = sigmoid(v128.load(zr + from + q));
        if (i) {
          storeLanes(i + here + q, gateI, n);
          storeLanes(r + here + q, gateR, n);
        }
        const input = f32x4.mul(gateI, loadLanes(x + here + q, n));
        if (fresh) {
          storeLanes(a + here + q, zero, n);
          storeLanes(b + here + q, input, n);
          continue;
        }
        const log = f32x4.mul(v128.load(rates + q), gateR);
        const root = f32x4.sqrt(f32x4.neg(expm1(f32x4.add(log, log))));
        storeLanes(a + here + q, exp(log), n);
        storeLanes(b + here + q, f32x4.mul(root, input), n);
      }
    }
  }
}

/** Heads [begin, end) of out [H, d, d] = those of w, turned over. */
export function transposeHeads(w: usize, out: usize, d: i32, begin: i32, end: i32): void {
  const row = <usize>d << 2, matrix = row * <usize>d;
  for (let h = begin; h < end; h++) {
    const from = w + <usize>h * matrix, to = out + <usize>h * matrix;
    for (let i = 0; i < d; i += 4) {
      let j = 0;
      if (i + 4 <= d) {
        for (; j + 4 <= d; j += 4) {
          transpose4(from + <usize>i * row + (<usize>j << 2), row, to + <usize>j * row + (<usize>i << 2), row, false);
        }
      }
      for (; j < d; j++) {
        for (let k = i; k < min(d, i + 4); k++) {
          store<f32>(to + <usize>(j * d + k) * 4, load<f32>(from + <usize>(k * d + j) * 4));
        }
      }
    }
  }
}

/**
 * For the items of rgLruGates: dx, and as rows [rows, H d] the gradients of both gates before their sigmoids, dzi and dzr, and of
 * p, dp, to be summed over tokens. i and r are the gates, wiT and wrT the weights turned over; `work` holds two rows [d].
 */
export function rgLruGatesBackward(
  x: usize, param: usize, i: usize, r: usize, reset: usize, da: usize, db: usize,
  wiT: usize, wrT: usize, dx: usize, dzi: usize, dzr: usize, dp: usize, work: usize,
  rows: i32, H: i32, d: i32, c: f32, begin: i32, end: i32,
): void {
  const row = <usize>(H * d) << 2, pitch = <usize>((d + 3) & ~3) << 2;
  const rates = work, slopes = work + pitch, minusC = f32x4.splat(-c);
  const zero = f32x4.splat(0), one = f32x4.splat(1);
  for (let item = begin; item < end; item++) {
    const first = item / H * BLOCK, head = <usize>(item % H * d) << 2, matrix = head * <usize>d;
    const tokens = min(BLOCK, rows - first), at = <usize>first * row + head;
    loadRates(param + head, d, c, rates);
    for (let k = 0; k < d; k += 4) {
      const q = <usize>k << 2;
      v128.store(slopes + q, f32x4.mul(minusC, sigmoid(loadLanes(param + head + q, d - k))));
    }
    for (let t = 0; t < tokens; t++) {
      const here = at + <usize>t * row;
      const fresh = reset != 0 && load<i32>(reset + (<usize>(first + t) << 2)) != 0;
      for (let k = 0; k < d; k += 4) {
        const q = <usize>k << 2, n = d - k;
        const gateI = loadLanes(i + here + q, n), gateR = loadLanes(r + here + q, n), value = loadLanes(x + here + q, n);
        const rate = v128.load(rates + q), log = f32x4.mul(rate, gateR);
        const root = fresh ? one : f32x4.sqrt(f32x4.neg(expm1(f32x4.add(log, log))));
        const gain = loadLanes(db + here + q, n), scaled = f32x4.mul(gain, root);
        storeLanes(dx + here + q, f32x4.mul(scaled, gateI), n);
        storeLanes(dzi + here + q, f32x4.mul(f32x4.mul(scaled, value), f32x4.mul(gateI, f32x4.sub(one, gateI))), n);
        let dLog = zero;
        if (!fresh) {
          const decay = exp(log);
          const dRoot = f32x4.mul(f32x4.mul(gain, gateI), value);
          dLog = f32x4.sub(loadLanes(da + here + q, n), f32x4.mul(f32x4.div(decay, f32x4.pmax(root, f32x4.splat(MIN_ROOT))), dRoot));
          dLog = f32x4.mul(dLog, decay);
        }
        const dr = f32x4.mul(dLog, gateR);
        storeLanes(dp + here + q, f32x4.mul(dr, v128.load(slopes + q)), n);
        storeLanes(dzr + here + q, f32x4.mul(f32x4.mul(rate, dr), f32x4.sub(one, gateR)), n);
      }
    }
    product(dzi + at, row, 4, wiT + matrix, <usize>d << 2, d, dx + at, row, tokens, d, true);
    product(dzr + at, row, 4, wrT + matrix, <usize>d << 2, d, dx + at, row, tokens, d, true);
  }
}

/** Heads [begin, end) of dw [H, d, d] = the products of x and dz [rows, H d] over tokens. */
export function headProducts(x: usize, dz: usize, dw: usize, rows: i32, H: i32, d: i32, begin: i32, end: i32): void {
  const row = <usize>(H * d) << 2, size = <usize>d << 2;
  for (let h = begin; h < end; h++) {
    const head = <usize>h * size, to = dw + head * <usize>d;
    memory.fill(to, 0, size * <usize>d);
    for (let first = 0; first < rows; first += 256) {
      const at = <usize>first * row + head;
      product(x + at, 4, row, dz + at, row, min(256, rows - first), to, size, d, d, true);
    }
  }
}
