import { exp2 } from '../core/exp';
import { dot, sumLanes, sumLanes4 } from '../core/reduce';
import { KEYS, LN2, log, LOG2E } from '../attention/score';
import { Blocks, rowOf } from './blocks';

// Attention over the full runs of a table whose query blocks are single queries and whose runs are short: each row, one
// query of one head, reads its keys and values where they stand, up to KEYS at a time.
// `share` query heads have one list and one key head.

/** A place in the runs of a row. */
@unmanaged
class Cursor {
  run: usize;
  end: usize;
  key: i32;
}

// @ts-ignore: decorator
@inline
function start(cursor: Cursor, blocks: Blocks, row: i32): void {
  const offsets = blocks.offsets + (<usize>row << 2);
  cursor.run = blocks.runs + <usize>load<i32>(offsets) * 12;
  cursor.end = blocks.runs + <usize>load<i32>(offsets, 4) * 12;
  cursor.key = cursor.run < cursor.end ? load<i32>(cursor.run) : 0;
}

/** Lists in `keys` up to KEYS keys that come next; returns how many. */
function next(cursor: Cursor, keys: usize): i32 {
  let n = 0, run = cursor.run, key = cursor.key;
  while (run < cursor.end && n < KEYS) {
    const stop = min(load<i32>(run, 4), key + KEYS - n);
    for (; key < stop; key++, n++) store<i32>(keys + (<usize>n << 2), key);
    if (key == load<i32>(run, 4)) {
      run += 12;
      if (run < cursor.end) key = load<i32>(run);
    }
  }
  cursor.run = run;
  cursor.key = key;
  return n;
}

/** S [n] = factor x . row, of the rows [n] of `pitch` bytes named in `keys`; S is written to a multiple of 4. */
function dotRows(
  x: usize, rows: usize, pitch: usize, keys: usize, n: i32, D: i32, factor: f32, S: usize,
): void {
  const D4 = D & ~3;
  for (let j = 0; j < n; j += 4) {
    const at = keys + (<usize>j << 2);
    // rows past the last repeat it
    let p0 = rows + <usize>load<i32>(at) * pitch;
    let p1 = rows + <usize>load<i32>(keys + (<usize>min(j + 1, n - 1) << 2)) * pitch;
    let p2 = rows + <usize>load<i32>(keys + (<usize>min(j + 2, n - 1) << 2)) * pitch;
    let p3 = rows + <usize>load<i32>(keys + (<usize>min(j + 3, n - 1) << 2)) * pitch;
    let a0 = f32x4.splat(0), a1 = f32x4.splat(0), a2 = f32x4.splat(0), a3 = f32x4.splat(0);
    let p = x;
    for (let d = D4; d > 0; d -= 4) {
      const y = v128.load(p);
      a0 = f32x4.add(a0, f32x4.mul(y, v128.load(p0)));
      a1 = f32x4.add(a1, f32x4.mul(y, v128.load(p1)));
      a2 = f32x4.add(a2, f32x4.mul(y, v128.load(p2)));
      a3 = f32x4.add(a3, f32x4.mul(y, v128.load(p3)));
      p += 16; p0 += 16; p1 += 16; p2 += 16; p3 += 16;
    }
    let sum = sumLanes4(a0, a1, a2, a3);
    for (let d = D4; d < D; d++) {
      const last = f32x4(load<f32>(p0), load<f32>(p1), load<f32>(p2), load<f32>(p3));
      sum = f32x4.add(sum, f32x4.mul(v128.load32_splat(p), last));
      p += 4; p0 += 4; p1 += 4; p2 += 4; p3 += 4;
    }
    v128.store(S + (<usize>j << 2), f32x4.mul(sum, f32x4.splat(factor)));
  }
}

/** y [D] += sum over j < n of S_j row_j, of the rows named in `keys`. */
function addRows(S: usize, rows: usize, pitch: usize, keys: usize, n: i32, D: i32, y: usize): void {
  let d = 0;
  for (; d + 32 <= D; d += 32) {
    const column = <usize>d << 2, to = y + column;
    let a0 = v128.load(to), a1 = v128.load(to, 16), a2 = v128.load(to, 32), a3 = v128.load(to, 48);
    let a4 = v128.load(to, 64), a5 = v128.load(to, 80), a6 = v128.load(to, 96), a7 = v128.load(to, 112);
    for (let j = 0; j < n; j++) {
      const at = <usize>j << 2, s = v128.load32_splat(S + at), p = rows + <usize>load<i32>(keys + at) * pitch + column;
      a0 = f32x4.add(a0, f32x4.mul(s, v128.load(p)));
      a1 = f32x4.add(a1, f32x4.mul(s, v128.load(p, 16)));
      a2 = f32x4.add(a2, f32x4.mul(s, v128.load(p, 32)));
      a3 = f32x4.add(a3, f32x4.mul(s, v128.load(p, 48)));
      a4 = f32x4.add(a4, f32x4.mul(s, v128.load(p, 64)));
      a5 = f32x4.add(a5, f32x4.mul(s, v128.load(p, 80)));
      a6 = f32x4.add(a6, f32x4.mul(s, v128.load(p, 96)));
      a7 = f32x4.add(a7, f32x4.mul(s, v128.load(p, 112)));
    }
    v128.store(to, a0); v128.store(to, a1, 16); v128.store(to, a2, 32); v128.store(to, a3, 48);
    v128.store(to, a4, 64); v128.store(to, a5, 80); v128.store(to, a6, 96); v128.store(to, a7, 112);
  }
  for (; d + 4 <= D; d += 4) {
    const column = <usize>d << 2, to = y + column;
    let a = v128.load(to);
    for (let j = 0; j < n; j++) {
      const at = <usize>j << 2;
      a = f32x4.add(a, f32x4.mul(v128.load32_splat(S + at), v128.load(rows + <usize>load<i32>(keys + at) * pitch + column)));
    }
    v128.store(to, a);
  }
  for (; d < D; d++) {
    const column = <usize>d << 2, to = y + column;
    let a = load<f32>(to);
    for (let j = 0; j < n; j++) {
      const at = <usize>j << 2;
      a += load<f32>(S + at) * load<f32>(rows + <usize>load<i32>(keys + at) * pitch + column);
    }
    store<f32>(to, a);
  }
}

/** row += s x */
// @ts-ignore: decorator
@inline
function addScaled(row: usize, s: f32, x: usize, D: i32): void {
  const by = f32x4.splat(s);
  let p = row, from = x, d = D;
  for (; d >= 4; d -= 4) {
    v128.store(p, f32x4.add(v128.load(p), f32x4.mul(by, v128.load(from))));
    p += 16; from += 16;
  }
  for (; d > 0; d--) {
    store<f32>(p, load<f32>(p) + s * load<f32>(from));
    p += 4; from += 4;
  }
}

// @ts-ignore: decorator
@inline
function scale(row: usize, s: f32, D: i32): void {
  const by = f32x4.splat(s);
  let p = row, d = D;
  for (; d >= 4; d -= 4) {
    v128.store(p, f32x4.mul(v128.load(p), by));
    p += 16;
  }
  for (; d > 0; d--) {
    store<f32>(p, load<f32>(p) * s);
    p += 4;
  }
}

/** In place S = 2^(S - base) over n, zeros up to a multiple of 4; returns the sum. */
// @ts-ignore: decorator
@inline
function exponentials(S: usize, n: i32, base: f32): f32 {
  let sum = f32x4.splat(0);
  for (let j = 0; j < n; j += 4) {
    const at = S + (<usize>j << 2), p = exp2(f32x4.sub(v128.load(at), f32x4.splat(base)));
    v128.store(at, p);
    sum = f32x4.add(sum, p);
  }
  return sumLanes(sum);
}

/** Sets the scores between n and the next multiple of 4 to `value`. */
// @ts-ignore: decorator
@inline
function pad(S: usize, n: i32, value: f32): void {
  for (let j = n; j & 3; j++) store<f32>(S + (<usize>j << 2), value);
}

/**
 * Forward; a work item is (batch, set of `share` heads, query).
 *
 * workspace: keys [KEYS], S [KEYS], a cursor, max and sum of each head of the set; O is summed in the output
 */
export function gatherForward(
  q: usize, k: usize, v: usize, output: usize, lse: usize, table: usize,
  Tq: i32, Tkv: i32, Hq: i32, Hkv: i32, D: i32, Dv: i32, factor: f32, share: i32,
  workspace: usize, begin: i32, end: i32,
): void {
  const blocks = changetype<Blocks>(table);
  const sets = Hq / share;
  const rowD = <usize>D << 2, rowDv = <usize>Dv << 2, pitchK = <usize>Hkv * rowD, pitchV = <usize>Hkv * rowDv;
  const LIST = workspace, S = LIST + (<usize>KEYS << 2), STATE = S + (<usize>KEYS << 2) + sizeof<usize>() * 4;
  const cursor = changetype<Cursor>(S + (<usize>KEYS << 2));
  for (let item = begin; item < end; item++) {
    const query = item % Tq, set = item / Tq % sets, b = item / (Tq * sets), firstHead = set * share;
    const kv = <usize>(firstHead / (Hq / Hkv));
    const K = k + <usize>(b * Tkv) * pitchK + kv * rowD, V = v + <usize>(b * Tkv) * pitchV + kv * rowDv;
    const row = <usize>((b * Tq + query) * Hq + firstHead);
    memory.fill(output + row * rowDv, 0, <usize>share * rowDv);
    for (let i = 0; i < share; i++) {
      store<f32>(STATE + (<usize>i << 3), -Infinity);
      store<f32>(STATE + (<usize>i << 3), 0, 4);
    }
    start(cursor, blocks, rowOf(blocks, b, firstHead, Hq, query, Tq));
    for (let n = next(cursor, LIST); n > 0; n = next(cursor, LIST)) {
      for (let i = 0; i < share; i++) {
        const state = STATE + (<usize>i << 3), O = output + (row + i) * rowDv;
        dotRows(q + (row + i) * rowD, K, pitchK, LIST, n, D, factor * LOG2E, S);
        pad(S, n, -Infinity);
        const old = load<f32>(state);
        let top = f32x4.splat(old);
        for (let j = 0; j < n; j += 4) top = f32x4.pmax(top, v128.load(S + (<usize>j << 2)));
        top = f32x4.pmax(top, v128.shuffle<f32>(top, top, 2, 3, 0, 1));
        const m = f32x4.extract_lane(f32x4.pmax(top, v128.shuffle<f32>(top, top, 1, 0, 3, 2)), 0);
        const base: f32 = m == -Infinity ? 0 : m;
        const sum = exponentials(S, n, base);
        let l = load<f32>(state, 4);
        if (m != old) {
          const a = f32x4.extract_lane(exp2(f32x4.splat(old - base)), 0);
          l *= a;
          scale(O, a, Dv);
          store<f32>(state, m);
        }
        store<f32>(state, l + sum, 4);
        addRows(S, V, pitchV, LIST, n, Dv, O);
      }
    }
    for (let i = 0; i < share; i++) {
      const state = STATE + (<usize>i << 3), l = load<f32>(state, 4), empty = l == 0;
      const value = load<f32>(state) * LN2 + f32x4.extract_lane(log(f32x4.splat(l)), 0);
      store<f32>(lse + (row + i << 2), empty ? <f32>-Infinity : value);
      if (!empty) scale(output + (row + i) * rowDv, 1 / l, Dv);
    }
  }
}

/**
 * Gradients; a work item is (batch, key head), whose dk and dv it adds up, so they begin as zeros.
 *
 * workspace: keys [KEYS], S [KEYS], dS [KEYS], a cursor
 */
export function gatherBackward(
  q: usize, k: usize, v: usize, output: usize, lse: usize, dOutput: usize, dLse: usize, table: usize,
  dq: usize, dk: usize, dv: usize,
  Tq: i32, Tkv: i32, Hq: i32, Hkv: i32, D: i32, Dv: i32, factor: f32,
  workspace: usize, begin: i32, end: i32,
): void {
  const blocks = changetype<Blocks>(table);
  const group = Hq / Hkv;
  const rowD = <usize>D << 2, rowDv = <usize>Dv << 2, pitchK = <usize>Hkv * rowD, pitchV = <usize>Hkv * rowDv;
  const LIST = workspace, S = LIST + (<usize>KEYS << 2), dS = S + (<usize>KEYS << 2);
  const cursor = changetype<Cursor>(dS + (<usize>KEYS << 2));
  for (let item = begin; item < end; item++) {
    const b = item / Hkv, kv = <usize>(item % Hkv);
    const atK = <usize>(b * Tkv) * pitchK + kv * rowD, atV = <usize>(b * Tkv) * pitchV + kv * rowDv;
    const K = k + atK, V = v + atV, dK = dk + atK, dV = dv + atV;
    for (let query = 0; query < Tq; query++) {
      for (let h = <i32>kv * group; h < (<i32>kv + 1) * group; h++) {
        const row = <usize>((b * Tq + query) * Hq + h);
        const Q = q + row * rowD, dQ = dq + row * rowD, dO = dOutput + row * rowDv;
        memory.fill(dQ, 0, rowD);
        start(cursor, blocks, rowOf(blocks, b, h, Hq, query, Tq));
        let n = next(cursor, LIST);
        if (n == 0) continue;
        const delta = dot(output + row * rowDv, dO, Dv) - load<f32>(dLse + (row << 2));
        const base = load<f32>(lse + (row << 2)) * LOG2E;
        for (; n > 0; n = next(cursor, LIST)) {
          dotRows(Q, K, pitchK, LIST, n, D, factor * LOG2E, S);
          exponentials(S, n, base);
          dotRows(dO, V, pitchV, LIST, n, Dv, 1, dS);
          for (let j = 0; j < n; j += 4) {
            const at = <usize>j << 2, d = f32x4.sub(v128.load(dS + at), f32x4.splat(delta));
            v128.store(dS + at, f32x4.mul(f32x4.mul(v128.load(S + at), d), f32x4.splat(factor)));
          }
          addRows(dS, K, pitchK, LIST, n, D, dQ);
          for (let j = 0; j < n; j++) {
            const at = <usize>j << 2, key = <usize>load<i32>(LIST + at);
            addScaled(dK + key * pitchK, load<f32>(dS + at), Q, D);
            addScaled(dV + key * pitchV, load<f32>(S + at), dO, Dv);
          }
        }
      }
    }
  }
}
