import { tanh } from '../core/tanh';

/**
 * Everything that changes a score besides q k; a pointer of 0 means absent. Strides in elements, of keys 0 or 1.
 * `gate` [B, Tk, Hq, 2] are running sums of log gates, each the sum of two floats.
 */
@unmanaged
export class Modifiers {
  mask: usize; maskB: i32; maskH: i32; maskQ: i32; maskK: i32;
  bias: usize; biasB: i32; biasH: i32; biasQ: i32; biasK: i32;
  slopes: usize;
  gate: usize;
  softcap: f32;
}

/** Whether scores need more than scale and range. */
// @ts-ignore: decorator
@inline
export function modifies(m: Modifiers): bool {
  return m.mask != 0 || m.bias != 0 || m.slopes != 0 || m.gate != 0 || m.softcap > 0;
}

// What eight rows know of the keys, a table of [field][8] words of four bytes: the range of keys [lo, hi) they see,
// their own position, and where their bias, mask, slope and gates lie.

export const TABLE: usize = 256;
const HI: usize = 32;
const OWN: usize = 64;
const BIAS: usize = 96;
const MASK: usize = 128;
const SLOPE: usize = 160;
const OWN_GATE: usize = 192;
const GATES: usize = 224;

/** Fills one lane of a table for query i of head h; `range` is its entry among the key ranges. */
export function describeRow(
  lane: usize, m: Modifiers, range: usize, b: i32, i: i32, h: i32, Tk: i32, Hq: i32,
): void {
  const own = load<i32>(range, 8);
  store<i32>(lane, load<i32>(range));
  store<i32>(lane, load<i32>(range, 4), HI);
  store<i32>(lane, own, OWN);
  if (m.bias) store<usize>(lane, m.bias + (<usize>(b * m.biasB + h * m.biasH + i * m.biasQ) << 2), BIAS);
  if (m.mask) store<usize>(lane, m.mask + <usize>(b * m.maskB + h * m.maskH + i * m.maskQ), MASK);
  if (m.slopes) store<f32>(lane, load<f32>(m.slopes + (<usize>h << 2)), SLOPE);
  if (m.gate) {
    // a row that sees nothing may stand outside of the keys
    const j = max(0, min(own, Tk - 1));
    store<usize>(lane, m.gate + (<usize>((b * Tk + j) * Hq + h) << 3), OWN_GATE);
    store<usize>(lane, m.gate + (<usize>(b * Tk * Hq + h) << 3), GATES);
  }
}

// @ts-ignore: decorator
@inline
export function ownPosition(lane: usize): i32 {
  return load<i32>(lane, OWN);
}

// @ts-ignore: decorator
@inline
export function biasOf(lane: usize): usize {
  return load<usize>(lane, BIAS);
}

/**
 * Softcap, ALiBi, forget gates, bias and mask on a score tile S [n][8] in natural units, rows `pitch` bytes apart.
 * With `slopes` the derivative of the softcap goes there, in the same layout.
 */
export function modifyTile(
  m: Modifiers, table: usize, S: usize, pitch: usize, first: i32, n: i32, Hq: i32, slopes: usize,
): void {
  for (let half: usize = 0; half < 32; half += 16) {
    const s = S + half, lanes = table + half;
    if (m.softcap > 0) cap(s, pitch, n, m.softcap, slopes ? slopes + half : 0);
    if (m.slopes) alibi(lanes, s, pitch, first, n);
    if (m.gate) forget(lanes, s, pitch, first, n, <usize>Hq << 3);
    if (m.bias) addBias(lanes + BIAS, m.biasK, s, pitch, first, n);
    if (m.mask) hide(lanes + MASK, m.maskK, s, pitch, first, n);
  }
}

function cap(S: usize, pitch: usize, n: i32, softcap: f32, slopes: usize): void {
  const scale = f32x4.splat(softcap), inverse = f32x4.splat(1 / softcap), one = f32x4.splat(1);
  let p = S, f = slopes;
  for (let j = 0; j < n; j++) {
    const t = tanh(f32x4.mul(v128.load(p), inverse));
    v128.store(p, f32x4.mul(scale, t));
    if (slopes) {
      v128.store(f, f32x4.sub(one, f32x4.mul(t, t)));
      f += pitch;
    }
    p += pitch;
  }
}

function alibi(lanes: usize, S: usize, pitch: usize, first: i32, n: i32): void {
  const slope = v128.load(lanes, SLOPE), own = v128.load(lanes, OWN);
  let p = S;
  for (let j = 0; j < n; j++) {
    const distance = f32x4.convert_i32x4_s(i32x4.sub(i32x4.splat(first + j), own));
    v128.store(p, f32x4.add(v128.load(p), f32x4.mul(slope, distance)));
    p += pitch;
  }
}

/** Four words at the pointers p [4] plus offset. */
// @ts-ignore: decorator
@inline
function gather(p: usize, offset: usize): v128 {
  let x = v128.load32_zero(load<usize>(p) + offset);
  x = v128.load32_lane(load<usize>(p, 4) + offset, x, 1);
  x = v128.load32_lane(load<usize>(p, 8) + offset, x, 2);
  return v128.load32_lane(load<usize>(p, 12) + offset, x, 3);
}

function forget(lanes: usize, S: usize, pitch: usize, first: i32, n: i32, row: usize): void {
  const high = gather(lanes + OWN_GATE, 0), low = gather(lanes + OWN_GATE, 4);
  let p = S, at = <usize>first * row;
  for (let j = 0; j < n; j++) {
    const sum = f32x4.sub(high, gather(lanes + GATES, at)), rest = f32x4.sub(low, gather(lanes + GATES, at + 4));
    v128.store(p, f32x4.add(v128.load(p), f32x4.add(sum, rest)));
    p += pitch;
    at += row;
  }
}

// @ts-ignore: decorator
@inline
function add(p: usize, x: v128): void {
  v128.store(p, f32x4.add(v128.load(p), x));
}

function addBias(rows: usize, stride: i32, S: usize, pitch: usize, first: i32, n: i32): void {
  let p = S, j = 0;
  if (stride == 0) {
    const x = gather(rows, 0);
    for (; j < n; j++, p += pitch) add(p, x);
    return;
  }
  const r0 = load<usize>(rows), r1 = load<usize>(rows, 4), r2 = load<usize>(rows, 8), r3 = load<usize>(rows, 12);
  for (; j + 4 <= n; j += 4) {
    const at = <usize>(first + j) << 2;
    const a = v128.load(r0 + at), b = v128.load(r1 + at), c = v128.load(r2 + at), d = v128.load(r3 + at);
    const ab = v128.shuffle<f32>(a, b, 0, 4, 1, 5), cd = v128.shuffle<f32>(c, d, 0, 4, 1, 5);
    const ef = v128.shuffle<f32>(a, b, 2, 6, 3, 7), gh = v128.shuffle<f32>(c, d, 2, 6, 3, 7);
    add(p, v128.shuffle<f32>(ab, cd, 0, 1, 4, 5));
    add(p + pitch, v128.shuffle<f32>(ab, cd, 2, 3, 6, 7));
    add(p + 2 * pitch, v128.shuffle<f32>(ef, gh, 0, 1, 4, 5));
    add(p + 3 * pitch, v128.shuffle<f32>(ef, gh, 2, 3, 6, 7));
    p += pitch << 2;
  }
  for (; j < n; j++, p += pitch) add(p, gather(rows, <usize>(first + j) << 2));
}

// @ts-ignore: decorator
@inline
function hideUnless(p: usize, visible: v128): void {
  v128.store(p, v128.bitselect(v128.load(p), f32x4.splat(-Infinity), i32x4.ne(visible, i32x4.splat(0))));
}

/** The bytes at the pointers p [4] plus offset, as four words. */
// @ts-ignore: decorator
@inline
function gatherBytes(p: usize, offset: usize): v128 {
  let x = i32x4.splat(load<u8>(load<usize>(p) + offset));
  x = i32x4.replace_lane(x, 1, load<u8>(load<usize>(p, 4) + offset));
  x = i32x4.replace_lane(x, 2, load<u8>(load<usize>(p, 8) + offset));
  return i32x4.replace_lane(x, 3, load<u8>(load<usize>(p, 12) + offset));
}

function hide(rows: usize, stride: i32, S: usize, pitch: usize, first: i32, n: i32): void {
  let p = S, j = 0;
  if (stride == 0) {
    const x = gatherBytes(rows, 0);
    for (; j < n; j++, p += pitch) hideUnless(p, x);
    return;
  }
  for (; j + 4 <= n; j += 4) {
    const x = gather(rows, <usize>(first + j));
    hideUnless(p, v128.and(x, i32x4.splat(0xff)));
    hideUnless(p + pitch, v128.and(x, i32x4.splat(0xff00)));
    hideUnless(p + 2 * pitch, v128.and(x, i32x4.splat(0xff0000)));
    hideUnless(p + 3 * pitch, i32x4.shr_u(x, 24));
    p += pitch << 2;
  }
  for (; j < n; j++, p += pitch) hideUnless(p, gatherBytes(rows, <usize>(first + j)));
}
