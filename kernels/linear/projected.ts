import { exp } from '../core/exp';
import { product } from '../core/product';
import { loadColumns, storeColumns } from '../core/transpose';

// Features of projections p = scale W x, for 16 tokens in lanes at a time:
//
//   Performer  y = e^(p - |scale x|^2 / 2) / sqrt(m)        [m]
//   Hedgehog   y = softmax of p and -p, one after the other  [2 m]

export const PERFORMER: i32 = 0;

const ROW: usize = 64;

/** y [N, H, F] of x [N, H, D] and w [H, m, D], for items [begin, end) of 16 tokens of a head; `work` holds 16 (D + F). */
export function projectedFeatures(
  x: usize, w: usize, y: usize, work: usize, kind: i32, N: i32, H: i32, D: i32, m: i32, scale: f32, begin: i32, end: i32,
): void {
  const F = kind == PERFORMER ? m : 2 * m, columns = work, features = work + <usize>D * ROW;
  const pitchX = <usize>(H * D) << 2, pitchY = <usize>(H * F) << 2;
  for (let item = begin; item < end; item++) {
    const head = <usize>(item % H), token = item / H << 4, rows = min(16, N - token);
    loadColumns(x + <usize>token * pitchX + (head * <usize>D << 2), pitchX, rows, D, columns, ROW, D);
    project(columns, w + (head * <usize>m * <usize>D << 2), features, kind, D, m, scale);
    storeColumns(features, ROW, rows, F, y + <usize>token * pitchY + (head * <usize>F << 2), pitchY, false);
  }
}

/** dx and dw of the same, for heads [begin, end); `work` holds 16 (2 D + 2 F). */
export function projectedFeaturesBackward(
  x: usize, w: usize, dy: usize, dx: usize, dw: usize, work: usize,
  kind: i32, N: i32, H: i32, D: i32, m: i32, scale: f32, begin: i32, end: i32,
): void {
  const F = kind == PERFORMER ? m : 2 * m, pitchX = <usize>(H * D) << 2, pitchY = <usize>(H * F) << 2;
  const columns = work, dColumns = columns + <usize>D * ROW, features = dColumns + <usize>D * ROW;
  const d = features + <usize>F * ROW;
  for (let head = <usize>begin; head < <usize>end; head++) {
    const at = head * <usize>m * <usize>D << 2;
    memory.fill(dw + at, 0, <usize>m * <usize>D << 2);
    for (let token = 0; token < N; token += 16) {
      const rows = min(16, N - token), own = <usize>token * pitchX + (head * <usize>D << 2);
      loadColumns(x + own, pitchX, rows, D, columns, ROW, D);
      project(columns, w + at, features, kind, D, m, scale);
      loadColumns(dy + <usize>token * pitchY + (head * <usize>F << 2), pitchY, rows, F, d, ROW, F);
      for (let lane: usize = 0; lane < ROW; lane += 16) {
        if (kind == PERFORMER) performerSlope(features + lane, d + lane, m, scale);
        else hedgehogSlope(features + lane, d + lane, m, scale);
      }
      product(w + at, 4, <usize>D << 2, d, ROW, m, dColumns, ROW, D, 16, false);
      if (kind == PERFORMER) subtractNorm(columns, features, dColumns, D, scale);
      storeColumns(dColumns, ROW, rows, D, dx + own, pitchX, false);
      product(d, ROW, 4, x + own, pitchX, rows, dw + at, <usize>D << 2, m, D, true);
    }
  }
}

/** features [F, 16] of columns [D, 16] */
function project(columns: usize, w: usize, features: usize, kind: i32, D: i32, m: i32, scale: f32): void {
  product(w, <usize>D << 2, 4, columns, ROW, D, features, ROW, m, 16, false);
  for (let lane: usize = 0; lane < ROW; lane += 16) {
    if (kind == PERFORMER) performer(columns + lane, features + lane, D, m, scale);
    else hedgehog(features + lane, m, scale);
  }
}

function performer(x: usize, y: usize, D: i32, m: i32, scale: f32): void {
  let squares = f32x4.splat(0);
  for (const end = x + <usize>D * ROW; x < end; x += ROW) {
    squares = f32x4.add(squares, f32x4.mul(v128.load(x), v128.load(x)));
  }
  const by = f32x4.splat(scale), norm = f32x4.mul(f32x4.splat(scale * scale / 2), squares);
  const share = f32x4.splat(1 / sqrt(<f32>m));
  for (const end = y + <usize>m * ROW; y < end; y += ROW) {
    v128.store(y, f32x4.mul(share, exp(f32x4.sub(f32x4.mul(by, v128.load(y)), norm))));
  }
}

function hedgehog(y: usize, m: i32, scale: f32): void {
  const by = f32x4.splat(scale), negative = <usize>m * ROW, end = y + negative;
  let most = f32x4.splat(0), sum = most;
  for (let p = y; p < end; p += ROW) most = f32x4.pmax(most, f32x4.abs(v128.load(p)));
  most = f32x4.mul(by, most);
  for (let p = y; p < end; p += ROW) {
    const z = f32x4.mul(by, v128.load(p));
    const up = exp(f32x4.sub(z, most)), down = exp(f32x4.sub(f32x4.neg(z), most));
    sum = f32x4.add(sum, f32x4.add(up, down));
    v128.store(p, up);
    v128.store(p + negative, down);
  }
  for (let p = y; p < end + negative; p += ROW) v128.store(p, f32x4.div(v128.load(p), sum));
}

/** d = scale y d, and the sum of y d in the first row of y. */
function performerSlope(y: usize, d: usize, m: i32, scale: f32): void {
  let sum = f32x4.splat(0);
  for (let at: usize = 0; at < <usize>m * ROW; at += ROW) {
    const slope = f32x4.mul(v128.load(y + at), v128.load(d + at));
    sum = f32x4.add(sum, slope);
    v128.store(d + at, f32x4.mul(f32x4.splat(scale), slope));
  }
  if (m > 0) v128.store(y, sum);
}

/** The first m of d = scale times the slopes of p. */
function hedgehogSlope(y: usize, d: usize, m: i32, scale: f32): void {
  const negative = <usize>m * ROW;
  let mean = f32x4.splat(0);
  for (let at: usize = 0; at < 2 * negative; at += ROW) {
    mean = f32x4.add(mean, f32x4.mul(v128.load(y + at), v128.load(d + at)));
  }
  for (let at: usize = 0; at < negative; at += ROW) {
    const up = f32x4.mul(v128.load(y + at), f32x4.sub(v128.load(d + at), mean));
    const down = f32x4.mul(v128.load(y + at + negative), f32x4.sub(v128.load(d + at + negative), mean));
    v128.store(d + at, f32x4.mul(f32x4.splat(scale), f32x4.sub(up, down)));
  }
}

/** dx -= scale^2 x times the sums in the first row of y */
function subtractNorm(x: usize, y: usize, dx: usize, D: i32, scale: f32): void {
  for (let lane: usize = 0; lane < ROW; lane += 16) {
    const by = f32x4.mul(f32x4.splat(scale * scale), v128.load(y + lane));
    for (let at = lane; at < <usize>D * ROW; at += ROW) {
      v128.store(dx + at, f32x4.sub(v128.load(dx + at), f32x4.mul(by, v128.load(x + at))));
    }
  }
}
