import { fma } from '../core/exp';
import { loadLanes, storeLanes } from '../core/lanes';
import { quickSilu, sigmoid, siluSlope } from '../core/silu';

// y_t = activation(bias + sum over k < W of w_k x_(t - W + 1 + k)), channel by channel. Weights lie as a table [W, D].
// Before the first token stand the W - 1 columns of a state [D, W - 1], oldest first, or zeros. With `seq`, the number of
// each token's sequence, only tokens of the same sequence meet; tokens of a negative one give 0.

/** Tokens of a work item, and channels of a work item of the gradient. */
const ROWS: i32 = 64;
const CHANNELS: i32 = 512;
/** Widths up to this have a path with four tokens at a time. */
const NARROW: i32 = 4;

// @ts-ignore: decorator
@inline
function sequenceOf(seq: usize, t: i32): i32 {
  return seq ? load<i32>(seq + (<usize>t << 2)) : 0;
}

/** Whether tokens [from, to) are of one sequence that is not negative. */
function uniform(seq: usize, from: i32, to: i32): bool {
  if (!seq) return true;
  const s = sequenceOf(seq, from);
  if (s < 0) return false;
  for (let t = from + 1; t < to; t++) if (sequenceOf(seq, t) != s) return false;
  return true;
}

/** Up to four numbers `stride` bytes apart. */
function gather(p: usize, stride: usize, n: i32): v128 {
  let x = f32x4.splat(load<f32>(p));
  if (n > 1) x = f32x4.replace_lane(x, 1, load<f32>(p + stride));
  if (n > 2) x = f32x4.replace_lane(x, 2, load<f32>(p + 2 * stride));
  if (n > 3) x = f32x4.replace_lane(x, 3, load<f32>(p + 3 * stride));
  return x;
}

/** The first n <= 4 lanes to places `stride` bytes apart. */
function scatter(p: usize, stride: usize, x: v128, n: i32): void {
  store<f32>(p, f32x4.extract_lane(x, 0));
  if (n > 1) store<f32>(p + stride, f32x4.extract_lane(x, 1));
  if (n > 2) store<f32>(p + 2 * stride, f32x4.extract_lane(x, 2));
  if (n > 3) store<f32>(p + 3 * stride, f32x4.extract_lane(x, 3));
}

/** Four rows y of n >= 4 channels from W + 3 rows x. The last vector may overlap the one before it. */
// @ts-ignore: decorator
@inline
function fourRowsOf(
  x: usize, rowX: usize, w: usize, stepW: usize, bias: usize, y: usize, rowY: usize, n: i32, W: i32,
): void {
  for (let c = 0; c < n; c += 4) {
    const p = <usize>min(c, n - 4) << 2;
    const w0 = v128.load(w + p);
    let w1 = w0, w2 = w0, w3 = w0;
    if (W > 1) w1 = v128.load(w + p + stepW);
    if (W > 2) w2 = v128.load(w + p + 2 * stepW);
    if (W > 3) w3 = v128.load(w + p + 3 * stepW);
    const start = bias ? v128.load(bias + p) : f32x4.splat(0);
    let px = x + p, v = v128.load(px);
    let y0 = fma(w0, v, start);
    px += rowX; v = v128.load(px);
    if (W > 1) y0 = fma(w1, v, y0);
    let y1 = fma(w0, v, start);
    px += rowX; v = v128.load(px);
    if (W > 2) y0 = fma(w2, v, y0);
    if (W > 1) y1 = fma(w1, v, y1);
    let y2 = fma(w0, v, start);
    px += rowX; v = v128.load(px);
    if (W > 3) y0 = fma(w3, v, y0);
    if (W > 2) y1 = fma(w2, v, y1);
    if (W > 1) y2 = fma(w1, v, y2);
    let y3 = fma(w0, v, start);
    if (W > 1) {
      px += rowX; v = v128.load(px);
      if (W > 3) y1 = fma(w3, v, y1);
      if (W > 2) y2 = fma(w2, v, y2);
      y3 = fma(w1, v, y3);
    }
    if (W > 2) {
      px += rowX; v = v128.load(px);
      if (W > 3) y2 = fma(w3, v, y2);
      y3 = fma(w2, v, y3);
    }
    if (W > 3) {
      px += rowX; v = v128.load(px);
      y3 = fma(w3, v, y3);
    }
    let py = y + p;
    v128.store(py, y0); py += rowY;
    v128.store(py, y1); py += rowY;
    v128.store(py, y2); py += rowY;
    v128.store(py, y3);
  }
}

function fourRows(
  x: usize, rowX: usize, w: usize, stepW: usize, bias: usize, y: usize, rowY: usize, n: i32, W: i32, isSilu: i32,
): void {
  if (W == 4) fourRowsOf(x, rowX, w, stepW, bias, y, rowY, n, 4);
  else if (W == 3) fourRowsOf(x, rowX, w, stepW, bias, y, rowY, n, 3);
  else if (W == 2) fourRowsOf(x, rowX, w, stepW, bias, y, rowY, n, 2);
  else fourRowsOf(x, rowX, w, stepW, bias, y, rowY, n, 1);
  if (isSilu) for (let i: usize = 0; i < 4; i++) siluRow(y + i * rowY, n);
}

/** n >= 4 numbers, in a loop whose body always runs: only there V8 keeps constants in registers. */
function siluRow(y: usize, n: i32): void {
  const whole = y + (<usize>(n & ~3) << 2);
  do {
    v128.store(y, quickSilu(v128.load(y)));
    y += 16;
  } while (y < whole);
  if (n & 3) storeLanes(y, quickSilu(loadLanes(y, n & 3)), n & 3);
}

/**
 * Rows y_t for t in [from, to): bias + sum over k of w_k x_(t + offset + k), over those that are in [0, T) and of the
 * sequence of t, and over the state's columns for those before 0. x and y point to row 0, whether it exists or not.
 */
function convolve(
  x: usize, rowX: usize, w: usize, stepW: usize, bias: usize, state: usize, seq: usize, y: usize, rowY: usize,
  from: i32, to: i32, T: i32, offset: i32, n: i32, W: i32, isSilu: i32,
): void {
  let t = from;
  while (t < to) {
    const first = t + offset, py = y + <usize>t * rowY;
    if (
      W <= NARROW && n >= 4 && t + 4 <= to && first >= 0 && first + W + 3 <= T && uniform(seq, first, first + W + 3)
    ) {
      fourRows(x + <usize>first * rowX, rowX, w, stepW, bias, py, rowY, n, W, isSilu);
      t += 4;
      continue;
    }
    const own = sequenceOf(seq, t);
    for (let c = 0; c < n; c += 4) {
      const p = <usize>c << 2, lanes = n - c;
      let sum = bias && own >= 0 ? loadLanes(bias + p, lanes) : f32x4.splat(0);
      let pw = w + p;
      for (let k = 0; k < W; k++, pw += stepW) {
        const s = first + k;
        if (s < 0) {
          if (!state) continue;
          const columns = <usize>(W - 1) << 2;
          sum = fma(loadLanes(pw, lanes), gather(state + <usize>c * columns + (<usize>(s + W - 1) << 2), columns, lanes), sum);
        } else if (s < T && own >= 0 && sequenceOf(seq, s) == own) {
          sum = fma(loadLanes(pw, lanes), loadLanes(x + <usize>s * rowX + p, lanes), sum);
        }
      }
      storeLanes(py + p, isSilu ? quickSilu(sum) : sum, lanes);
    }
    t++;
  }
}

/** Items [begin, end) of batch and 64 tokens. `w` is the table [W, D]; bias, state and seq may be 0. */
export function causalConv1d(
  x: usize, w: usize, bias: usize, state: usize, seq: usize, y: usize, T: i32, D: i32, W: i32, isSilu: i32,
  begin: i32, end: i32,
): void {
  const row = <usize>D << 2, blocks = (T + ROWS - 1) / ROWS;
  for (let item = begin; item < end; item++) {
    const batch = item / blocks, t = item % blocks * ROWS;
    const at = <usize>(batch * T) * row;
    convolve(
      x + at, row, w, row, bias, state ? state + <usize>batch * row * <usize>(W - 1) : 0,
      seq ? seq + (<usize>(batch * T) << 2) : 0, y + at, row, t, min(T, t + ROWS), T, 1 - W, D, W, isSilu,
    );
  }
}

/** The only token of batch entries [begin, end): y [D] and next [D, W - 1] from x, the weight [D, W] and a state or 0. */
export function causalConv1dToken(
  x: usize, w: usize, bias: usize, state: usize, y: usize, next: usize, D: i32, W: i32, isSilu: i32,
  begin: i32, end: i32,
): void {
  const row = <usize>D << 2, taps = <usize>W << 2, columns = taps - 4;
  for (let batch = <usize>begin; batch < <usize>end; batch++) {
    const px = x + batch * row, py = y + batch * row;
    for (let c = 0; c < D; c += 4) {
      const p = <usize>c << 2, n = D - c, own = loadLanes(px + p, n);
      const pw = w + <usize>c * taps, at = batch * <usize>D * columns + <usize>c * columns;
      let sum = bias ? loadLanes(bias + p, n) : f32x4.splat(0);
      for (let k: usize = 0; k < columns; k += 4) {
        let before = f32x4.splat(0);
        if (state) {
          before = gather(state + at + k, columns, n);
          sum = fma(gather(pw + k, taps, n), before, sum);
        }
        if (k) scatter(next + at + k - 4, columns, before, n);
      }
      if (columns) scatter(next + at + columns - 4, columns, own, n);
      storeLanes(py + p, fma(gather(pw + columns, taps, n), own, sum), n);
    }
    if (!isSilu) continue;
    if (D >= 4) siluRow(py, D);
    else storeLanes(py, quickSilu(loadLanes(py, D)), D);
  }
}

/** Rows [begin, end) of dst [rows, columns] = src [columns, rows] turned over. */
export function transposeMatrix(src: usize, dst: usize, rows: i32, columns: i32, begin: i32, end: i32): void {
  for (let r = begin; r < end; r++) {
    const to = dst + (<usize>(r * columns) << 2);
    for (let c = 0; c < columns; c++) {
      store<f32>(to + (<usize>c << 2), load<f32>(src + (<usize>(c * rows + r) << 2)));
    }
  }
}

/** final [D, W - 1] of batch entries [begin, end): the last columns of the state followed by x. */
export function causalConv1dState(
  x: usize, state: usize, final: usize, T: i32, D: i32, W: i32, begin: i32, end: i32,
): void {
  for (let batch = begin; batch < end; batch++) {
    for (let d = 0; d < D; d++) {
      const at = <usize>((batch * D + d) * (W - 1)) << 2;
      for (let j = 0; j < W - 1; j++) {
        const t = T - W + 1 + j;
        const before: f32 = state && t < 0 ? load<f32>(state + at + (<usize>(t + W - 1) << 2)) : 0;
        const value = t < 0 ? before : load<f32>(x + (<usize>((batch * T + t) * D + d) << 2));
        store<f32>(final + at + (<usize>j << 2), value);
      }
    }
  }
}

/** sums [W + 1, D]: to row k is added g_t x_(t - W + 1 + k) of four rows, to row W g_t. */
// @ts-ignore: decorator
@inline
function fourTapsOf(g: usize, rowG: usize, x: usize, rowX: usize, sums: usize, rowS: usize, n: i32, W: i32): void {
  for (let c = 0; c + 4 <= n; c += 4) {
    const p = <usize>c << 2;
    const g0 = v128.load(g + p), g1 = v128.load(g + p + rowG);
    const g2 = v128.load(g + p + 2 * rowG), g3 = v128.load(g + p + 3 * rowG);
    const x0 = v128.load(x + p), x1 = v128.load(x + p + rowX), x2 = v128.load(x + p + 2 * rowX);
    const x3 = v128.load(x + p + 3 * rowX);
    let ps = sums + p;
    v128.store(ps, fma(g0, x0, fma(g1, x1, fma(g2, x2, fma(g3, x3, v128.load(ps)))))); ps += rowS;
    if (W > 1) {
      const x4 = v128.load(x + p + 4 * rowX);
      v128.store(ps, fma(g0, x1, fma(g1, x2, fma(g2, x3, fma(g3, x4, v128.load(ps)))))); ps += rowS;
      if (W > 2) {
        const x5 = v128.load(x + p + 5 * rowX);
        v128.store(ps, fma(g0, x2, fma(g1, x3, fma(g2, x4, fma(g3, x5, v128.load(ps)))))); ps += rowS;
        if (W > 3) {
          const x6 = v128.load(x + p + 6 * rowX);
          v128.store(ps, fma(g0, x3, fma(g1, x4, fma(g2, x5, fma(g3, x6, v128.load(ps)))))); ps += rowS;
        }
      }
    }
    v128.store(ps, f32x4.add(v128.load(ps), f32x4.add(f32x4.add(g0, g1), f32x4.add(g2, g3))));
  }
}

function fourTaps(g: usize, rowG: usize, x: usize, rowX: usize, sums: usize, rowS: usize, n: i32, W: i32): void {
  if (W == 4) fourTapsOf(g, rowG, x, rowX, sums, rowS, n, 4);
  else if (W == 3) fourTapsOf(g, rowG, x, rowX, sums, rowS, n, 3);
  else if (W == 2) fourTapsOf(g, rowG, x, rowX, sums, rowS, n, 2);
  else fourTapsOf(g, rowG, x, rowX, sums, rowS, n, 1);
}

/** Adds to sums [W + 1, D] what tokens [from, to) give. */
function addTaps(
  g: usize, rowG: usize, x: usize, rowX: usize, state: usize, seq: usize, sums: usize, from: i32, to: i32, n: i32, W: i32,
): void {
  let t = from;
  while (t < to) {
    const first = t - W + 1, pg = g + <usize>t * rowG;
    if (W <= NARROW && (n & 3) == 0 && t + 4 <= to && first >= 0 && uniform(seq, first, t + 4)) {
      fourTaps(pg, rowG, x + <usize>first * rowX, rowX, sums, rowX, n, W);
      t += 4;
      continue;
    }
    const own = sequenceOf(seq, t);
    for (let c = 0; own >= 0 && c < n; c += 4) {
      const p = <usize>c << 2, lanes = n - c, vg = loadLanes(pg + p, lanes);
      let ps = sums + p;
      for (let k = 0; k < W; k++, ps += rowX) {
        const s = first + k;
        if (s < 0) {
          if (!state) continue;
          const columns = <usize>(W - 1) << 2;
          const v = gather(state + <usize>c * columns + (<usize>(s + W - 1) << 2), columns, lanes);
          storeLanes(ps, fma(vg, v, loadLanes(ps, lanes)), lanes);
        } else if (sequenceOf(seq, s) == own) {
          storeLanes(ps, fma(vg, loadLanes(x + <usize>s * rowX + p, lanes), loadLanes(ps, lanes)), lanes);
        }
      }
      storeLanes(ps, f32x4.add(vg, loadLanes(ps, lanes)), lanes);
    }
    t++;
  }
}

/** n >= 1 numbers g before the activation become its slopes times d; the last vector of g is whole. */
function slopeRow(g: usize, d: usize, n: i32): void {
  const whole = g + (<usize>(n & ~3) << 2);
  if (n >= 4) {
    do {
      const x = v128.load(g);
      v128.store(g, f32x4.mul(v128.load(d), siluSlope(x, sigmoid(x))));
      g += 16; d += 16;
    } while (g < whole);
  }
  if (n & 3) {
    const x = v128.load(g);
    v128.store(g, f32x4.mul(loadLanes(d, n & 3), siluSlope(x, sigmoid(x))));
  }
}

/**
 * Items [begin, end) of batch, 64 tokens and 512 channels. dx [batch, T, D] and dstate [batch, D, W - 1]; the sums of the
 * gradients of weight and bias over an item's tokens go to partial [batch, blocks of tokens, W + 1, D]. dfinal, the gradient
 * of the final state, and dstate may be 0. With an activation `work` holds the gradient before it, [64 + W - 1, 512].
 */
export function causalConv1dBackward(
  x: usize, w: usize, bias: usize, state: usize, seq: usize, dout: usize, dfinal: usize,
  dx: usize, dstate: usize, partial: usize, work: usize, T: i32, D: i32, W: i32, isSilu: i32, begin: i32, end: i32,
): void {
  const row = <usize>D << 2, pitch = <usize>CHANNELS << 2, columns = <usize>(W - 1) << 2;
  const blocks = max(1, (T + ROWS - 1) / ROWS), across = (D + CHANNELS - 1) / CHANNELS;
  for (let item = begin; item < end; item++) {
    const c = item % across * CHANNELS, block = item / across % blocks, batch = item / across / blocks;
    const n = min(CHANNELS, D - c), channel = <usize>c << 2;
    const from = block * ROWS, to = min(T, from + ROWS), beyond = min(T, from + ROWS + W - 1);
    const at = <usize>(batch * T) * row + channel, stateAt = (<usize>batch * row + channel) * <usize>(W - 1);
    const pstate = state ? state + stateAt : 0, pseq = seq ? seq + (<usize>(batch * T) << 2) : 0;
    let g = dout + at, rowG = row;
    if (isSilu) {
      g = work - <usize>from * pitch; rowG = pitch;
      convolve(
        x + at, row, w + channel, row, bias ? bias + channel : 0, pstate, pseq, g, pitch, from, beyond, T, 1 - W, n, W, 0,
      );
      for (let t = from; t < beyond; t++) slopeRow(g + <usize>t * pitch, dout + at + <usize>t * row, n);
    }
    // from the last tap to the first: dx_t is the sum over k of w_(W - 1 - k) g_(t + k)
    convolve(g, rowG, w + channel + <usize>(W - 1) * row, 0 - row, 0, 0, pseq, dx + at, row, from, to, T, 0, n, W, 0);
    const sums = partial + <usize>(batch * blocks + block) * <usize>(W + 1) * row + channel;
    for (let k = 0; k <= W; k++) memory.fill(sums + <usize>k * row, 0, <usize>n << 2);
    addTaps(g, rowG, x + at, row, pstate, pseq, sums, from, to, n, W);
    for (let t = max(from, T - W + 1); dfinal && t < to; t++) {
      for (let i = 0; i < n; i++) {
        const p = dx + at + <usize>t * row + (<usize>i << 2);
        const d = load<f32>(dfinal + stateAt + <usize>i * columns + (<usize>(t - T + W - 1) << 2));
        store<f32>(p, load<f32>(p) + d);
      }
    }
    if (!dstate || block > 0) continue;
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < W - 1; j++) {
        const p = stateAt + <usize>i * columns + (<usize>j << 2);
        let sum: f32 = dfinal && j >= T ? load<f32>(dfinal + p - (<usize>T << 2)) : 0;
        for (let k = max(0, j - T + 1); k <= j; k++) {
          const weight = load<f32>(w + channel + <usize>k * row + (<usize>i << 2));
          sum += weight * load<f32>(g + <usize>(j - k) * rowG + (<usize>i << 2));
        }
        store<f32>(dstate + p, sum);
      }
    }
  }
}
