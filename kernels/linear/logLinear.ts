import { exp } from '../core/exp';
import { axpy, copyPadded, scaleBy, scalePadded } from '../core/matrix';
import { loadLanes, storeLanes } from '../core/lanes';
import { product } from '../core/product';
import { dot } from '../core/reduce';
import { transpose4 } from '../core/transpose';

// o_i = scale sum over j <= i of level_scales[i, level(i, j)] exp(g_{j+1} + ... + g_i) (q_i . k_j) v_j, where level(i, j)
// is the bit length of i xor j. Tokens 16 apart or less in one block of 16 have levels up to 4 and are done pair by pair.
// A level l above belongs to pairs in the two halves of a block of 2^l: all that a half says to the other goes through
// S = sum of f_j k_j v_j^T, f_j the decay from j to the end of the first half. Decays are sums within a half, never
// differences of long sums.

const BLOCK: i32 = 16;

/** Rows [16, Kp] or [16, Vp] of a block, S and its gradient [Kp, Vp], S^T or its gradient's [Vp, Kp]. */
@unmanaged
class Part {
  q: usize;
  k: usize;
  v: usize;
  o: usize;
  dq: usize;
  dk: usize;
  dv: usize;
  S: usize;
  dS: usize;
  turned: usize;
  /** decays [16, 16] within a block, and [16] to or from the middle of a larger one */
  decay: usize;
  slope: usize;
  /** what the decay of each token of a half weighs, as many as the longest sequence has tokens */
  weights: usize;
  /** where this head's tokens begin, in bytes, and the bytes from token to token */
  keyPitch: usize;
  valuePitch: usize;
  H: i32;
  L: i32;
  K: i32;
  V: i32;
}

function layOut(part: Part, at: usize, K: i32, V: i32): void {
  const Kp = (K + 3) & ~3, Vp = (V + 3) & ~3;
  const keys = <usize>(BLOCK * Kp) << 2, values = <usize>(BLOCK * Vp) << 2, size = <usize>(Kp * Vp) << 2;
  part.K = K;
  part.V = V;
  part.q = at;
  part.k = part.q + keys;
  part.dq = part.k + keys;
  part.dk = part.dq + keys;
  part.v = part.dk + keys;
  part.o = part.v + values;
  part.dv = part.o + values;
  part.S = part.dv + values;
  part.dS = part.S + size;
  part.turned = part.dS + size;
  part.decay = part.turned + size;
  part.slope = part.decay + 1024;
  part.weights = part.slope + 64;
}

// @ts-ignore: decorator
@inline
function expOf(x: f32): f32 {
  return f32x4.extract_lane(exp(f32x4.splat(x)), 0);
}

/** dst [n] += src */
function addOut(src: usize, dst: usize, n: i32): void {
  for (let i = 0; i < n; i += 4) {
    const p = dst + (<usize>i << 2);
    storeLanes(p, f32x4.add(loadLanes(p, n - i), v128.load(src + (<usize>i << 2))), n - i);
  }
}

// @ts-ignore: decorator
@inline
function levelOf(i: i32, j: i32): i32 {
  return 32 - clz(i ^ j);
}

/** Rows of q (scaled), k and v [count] from a token on. */
function loadBlock(part: Part, q: usize, k: usize, v: usize, token: i32, count: i32, scale: f32): void {
  const keys = <usize>((part.K + 3) & ~3) << 2, values = <usize>((part.V + 3) & ~3) << 2;
  for (let i = 0; i < count; i++) {
    scalePadded(q + <usize>(token + i) * part.keyPitch, part.q + <usize>i * keys, part.K, scale);
    copyPadded(k + <usize>(token + i) * part.keyPitch, part.k + <usize>i * keys, part.K);
    copyPadded(v + <usize>(token + i) * part.valuePitch, part.v + <usize>i * values, part.V);
  }
}

/** decay [i, j] = exp(g_{j+1} + ... + g_i), j <= i */
function decays(part: Part, g: usize, token: i32, count: i32): void {
  for (let i = 0; i < count; i++) {
    let sum: f32 = 0;
    for (let j = i; j >= 0; j--) {
      store<f32>(part.decay + (<usize>(i * BLOCK + j) << 2), expOf(sum));
      sum += load<f32>(g + (<usize>((token + j) * part.H) << 2));
    }
  }
}

/**
 * factors [16] of the tokens [from, to): before `middle` the decay from the token to the end of its half, after it the
 * decay from there to the token. `sum` is the sum of gates so far on the way from the middle; returns it.
 */
function factorsOf(factors: usize, g: usize, H: i32, from: i32, to: i32, before: bool, sum: f32): f32 {
  if (before) {
    for (let t = to - 1; t >= from; t--) {
      store<f32>(factors + (<usize>(t - from) << 2), expOf(sum));
      sum += load<f32>(g + (<usize>(t * H) << 2));
    }
  } else {
    for (let t = from; t < to; t++) {
      sum += load<f32>(g + (<usize>(t * H) << 2));
      store<f32>(factors + (<usize>(t - from) << 2), expOf(sum));
    }
  }
  return sum;
}

/** S of the half [start, middle) */
function writeHalf(part: Part, q: usize, k: usize, v: usize, g: usize, start: i32, middle: i32): void {
  const Kp = (part.K + 3) & ~3, Vp = (part.V + 3) & ~3, keys = <usize>Kp << 2, values = <usize>Vp << 2;
  memory.fill(part.S, 0, <usize>Kp * values);
  let sum: f32 = 0;
  for (let from = middle - BLOCK; from >= start; from -= BLOCK) {
    loadBlock(part, q, k, v, from, BLOCK, 0);
    sum = factorsOf(part.slope, g, part.H, from, from + BLOCK, true, sum);
    for (let i = 0; i < BLOCK; i++) scaleBy(load<f32>(part.slope + (<usize>i << 2)), part.k + <usize>i * keys, Kp);
    product(part.k, 4, keys, part.v, values, BLOCK, part.S, values, Kp, Vp, true);
  }
}

/** o for (sequence, head of v) items [begin, end) */
export function logLinearAttention(
  q: usize, k: usize, v: usize, g: usize, levels: usize, o: usize, offsets: usize, workspace: usize,
  H: i32, HV: i32, K: i32, V: i32, L: i32, scale: f32, begin: i32, end: i32,
): void {
  const part = changetype<Part>(workspace);
  layOut(part, workspace + 128, K, V);
  const Kp = (K + 3) & ~3, Vp = (V + 3) & ~3, keys = <usize>Kp << 2, values = <usize>Vp << 2;
  part.keyPitch = <usize>(H * K) << 2;
  part.valuePitch = <usize>(HV * V) << 2;
  part.H = HV;
  for (let item = begin; item < end; item++) {
    const bounds = offsets + (<usize>(item / HV) << 2), head = item % HV;
    const first = load<i32>(bounds), T = load<i32>(bounds, 4) - first;
    const key = (<usize>((first * H + head / (HV / H)) * K)) << 2, place = first * HV + head;
    const qs = q + key, ks = k + key, vs = v + (<usize>(place * V) << 2), os = o + (<usize>(place * V) << 2);
    const gs = g + (<usize>place << 2), scales = levels + (<usize>(place * L) << 2);
    for (let from = 0; from < T; from += BLOCK) {
      const count = min(BLOCK, T - from);
      loadBlock(part, qs, ks, vs, from, count, scale);
      decays(part, gs, from, count);
      memory.fill(part.o, 0, <usize>BLOCK * values);
      for (let i = 0; i < count; i++) {
        for (let j = 0; j <= i; j++) {
          const weight = load<f32>(scales + (<usize>((from + i) * HV * L + levelOf(i, j)) << 2));
          const score = dot(part.q + <usize>i * keys, part.k + <usize>j * keys, Kp);
          const decay = load<f32>(part.decay + (<usize>(i * BLOCK + j) << 2));
          axpy(weight * decay * score, part.v + <usize>j * values, part.o + <usize>i * values, Vp);
        }
        const to = os + <usize>(from + i) * part.valuePitch;
        for (let j = 0; j < V; j += 4) storeLanes(to + (<usize>j << 2), v128.load(part.o + <usize>i * values + (<usize>j << 2)), V - j);
      }
    }
    for (let level = 5, half = BLOCK; half < T; level++, half <<= 1) {
      for (let start = 0; start + half < T; start += 2 * half) {
        const middle = start + half, last = min(T, middle + half);
        writeHalf(part, qs, ks, vs, gs, start, middle);
        let sum: f32 = 0;
        for (let from = middle; from < last; from += BLOCK) {
          const count = min(BLOCK, last - from);
          sum = factorsOf(part.slope, gs, HV, from, from + count, false, sum);
          for (let i = 0; i < count; i++) {
            const weight = load<f32>(scales + (<usize>((from + i) * HV * L + level) << 2));
            const factor = scale * weight * load<f32>(part.slope + (<usize>i << 2));
            scalePadded(qs + <usize>(from + i) * part.keyPitch, part.q + <usize>i * keys, K, factor);
          }
          product(part.q, keys, 4, part.S, values, Kp, part.o, values, count, Vp, false);
          for (let i = 0; i < count; i++) addOut(part.o + <usize>i * values, os + <usize>(from + i) * part.valuePitch, V);
        }
      }
    }
  }
}

/** Gradients of all inputs, for (sequence, head of k) items [begin, end). */
export function logLinearAttentionBackward(
  q: usize, k: usize, v: usize, g: usize, levels: usize, dO: usize,
  dq: usize, dk: usize, dv: usize, dg: usize, dLevels: usize, offsets: usize, workspace: usize,
  H: i32, HV: i32, K: i32, V: i32, L: i32, scale: f32, begin: i32, end: i32,
): void {
  const part = changetype<Part>(workspace);
  layOut(part, workspace + 128, K, V);
  const Kp = (K + 3) & ~3, Vp = (V + 3) & ~3, keys = <usize>Kp << 2, values = <usize>Vp << 2;
  part.keyPitch = <usize>(H * K) << 2;
  part.valuePitch = <usize>(HV * V) << 2;
  part.H = HV;
  const group = HV / H;
  for (let item = begin; item < end; item++) {
    const bounds = offsets + (<usize>(item / H) << 2), keyHead = item % H;
    const first = load<i32>(bounds), T = load<i32>(bounds, 4) - first;
    const key = (<usize>((first * H + keyHead) * K)) << 2;
    const qs = q + key, ks = k + key, dqs = dq + key, dks = dk + key;
    for (let t = 0; t < T; t++) {
      memory.fill(dqs + <usize>t * part.keyPitch, 0, <usize>K << 2);
      memory.fill(dks + <usize>t * part.keyPitch, 0, <usize>K << 2);
    }
    for (let head = keyHead * group; head < (keyHead + 1) * group; head++) {
      const place = first * HV + head, value = <usize>(place * V) << 2, gate = <usize>place << 2, level0 = <usize>(place * L) << 2;
      const vs = v + value, dvs = dv + value, dos = dO + value, gs = g + gate, dgs = dg + gate;
      const scales = levels + level0, slopes = dLevels + level0;
      for (let t = 0; t < T; t++) {
        memory.fill(dvs + <usize>t * part.valuePitch, 0, <usize>V << 2);
        memory.fill(slopes + (<usize>(t * HV * L) << 2), 0, <usize>L << 2);
        store<f32>(dgs + (<usize>(t * HV) << 2), 0);
      }
      for (let from = 0; from < T; from += BLOCK) {
        const count = min(BLOCK, T - from);
        loadBlock(part, qs, ks, vs, from, count, scale);
        decays(part, gs, from, count);
        memory.fill(part.dq, 0, 2 * <usize>BLOCK * keys);
        memory.fill(part.dv, 0, <usize>BLOCK * values);
        for (let i = 0; i < count; i++) {
          copyPadded(dos + <usize>(from + i) * part.valuePitch, part.o + <usize>i * values, V);
          // what the decays from all j < s to i weigh, as s goes to i
          let passed: f32 = 0;
          for (let j = 0; j <= i; j++) {
            const own = <usize>i * keys, other = <usize>j * keys;
            const at = <usize>((from + i) * HV * L + levelOf(i, j)) << 2;
            const weight = load<f32>(scales + at), decay = load<f32>(part.decay + (<usize>(i * BLOCK + j) << 2));
            const score = dot(part.q + own, part.k + other, Kp);
            const along = dot(part.o + <usize>i * values, part.v + <usize>j * values, Vp);
            store<f32>(slopes + at, load<f32>(slopes + at) + decay * score * along);
            axpy(weight * decay * along, part.k + other, part.dq + own, Kp);
            axpy(weight * decay * along, part.q + own, part.dk + other, Kp);
            axpy(weight * decay * score, part.o + <usize>i * values, part.dv + <usize>j * values, Vp);
            if (j > 0) {
              const p = dgs + (<usize>((from + j) * HV) << 2);
              store<f32>(p, load<f32>(p) + passed);
            }
            passed += weight * decay * score * along;
          }
        }
        scaleBy(scale, part.dq, BLOCK * Kp);
        for (let i = 0; i < count; i++) {
          addOut(part.dq + <usize>i * keys, dqs + <usize>(from + i) * part.keyPitch, K);
          addOut(part.dk + <usize>i * keys, dks + <usize>(from + i) * part.keyPitch, K);
          addOut(part.dv + <usize>i * values, dvs + <usize>(from + i) * part.valuePitch, V);
        }
      }
      for (let level = 5, half = BLOCK; half < T; level++, half <<= 1) {
        for (let start = 0; start + half < T; start += 2 * half) {
          const middle = start + half, last = min(T, middle + half);
          writeHalf(part, qs, ks, vs, gs, start, middle);
          turn(part.S, part.turned, Kp, Vp);
          memory.fill(part.dS, 0, <usize>Kp * values);
          let sum: f32 = 0;
          for (let from = middle; from < last; from += BLOCK) {
            const count = min(BLOCK, last - from);
            sum = factorsOf(part.slope, gs, HV, from, from + count, false, sum);
            for (let i = 0; i < count; i++) copyPadded(dos + <usize>(from + i) * part.valuePitch, part.o + <usize>i * values, V);
            product(part.o, values, 4, part.turned, keys, Vp, part.dq, keys, count, Kp, false);
            for (let i = 0; i < count; i++) {
              const row = <usize>i * keys, at = <usize>((from + i) * HV * L + level) << 2;
              const factor = scale * load<f32>(part.slope + (<usize>i << 2)), weight = load<f32>(scales + at);
              copyPadded(qs + <usize>(from + i) * part.keyPitch, part.q + row, K);
              const slope = factor * dot(part.q + row, part.dq + row, Kp);
              store<f32>(slopes + at, load<f32>(slopes + at) + slope);
              store<f32>(part.weights + (<usize>(from + i - middle) << 2), weight * slope);
              scaleBy(factor * weight, part.dq + row, Kp);
              addOut(part.dq + row, dqs + <usize>(from + i) * part.keyPitch, K);
              scaleBy(factor * weight, part.q + row, Kp);
            }
            product(part.q, 4, keys, part.o, values, count, part.dS, values, Kp, Vp, true);
          }
          // a gate weighs in every token of this half from it on, in the first half in every token before it
          let weight: f32 = 0;
          for (let t = last - 1; t >= middle; t--) {
            weight += load<f32>(part.weights + (<usize>(t - middle) << 2));
            const p = dgs + (<usize>(t * HV) << 2);
            store<f32>(p, load<f32>(p) + weight);
          }
          turn(part.dS, part.turned, Kp, Vp);
          sum = 0;
          for (let from = middle - BLOCK; from >= start; from -= BLOCK) {
            loadBlock(part, qs, ks, vs, from, BLOCK, 0);
            sum = factorsOf(part.slope, gs, HV, from, from + BLOCK, true, sum);
            product(part.v, values, 4, part.turned, keys, Vp, part.dk, keys, BLOCK, Kp, false);
            for (let i = 0; i < BLOCK; i++) {
              const row = <usize>i * keys, factor = load<f32>(part.slope + (<usize>i << 2));
              scaleBy(factor, part.dk + row, Kp);
              const slope = dot(part.k + row, part.dk + row, Kp);
              addOut(part.dk + row, dks + <usize>(from + i) * part.keyPitch, K);
              scaleBy(factor, part.k + row, Kp);
              store<f32>(part.weights + (<usize>(from + i - start) << 2), slope);
            }
            product(part.k, keys, 4, part.dS, values, Kp, part.dv, values, BLOCK, Vp, false);
            for (let i = 0; i < BLOCK; i++) addOut(part.dv + <usize>i * values, dvs + <usize>(from + i) * part.valuePitch, V);
          }
          weight = 0;
          for (let t = start; t < middle; t++) {
            const p = dgs + (<usize>(t * HV) << 2);
            store<f32>(p, load<f32>(p) + weight);
            weight += load<f32>(part.weights + (<usize>(t - start) << 2));
          }
        }
      }
    }
  }
}

/** to [columns, rows] = from [rows, columns] turned over, multiples of 4 */
function turn(from: usize, to: usize, rows: i32, columns: i32): void {
  const pitch = <usize>columns << 2, turned = <usize>rows << 2;
  for (let i = 0; i < rows; i += 4) {
    for (let j = 0; j < columns; j += 4) {
      transpose4(from + <usize>i * pitch + (<usize>j << 2), pitch, to + <usize>j * turned + (<usize>i << 2), turned, false);
    }
  }
}
