import { fma } from './exp';
import { columnTile, inSixes, rowTile, sixTile } from './tile';

// A panel holds up to 8 rows (tokens) of a matrix transposed, [K][8]: the lanes are tokens. A product with a weight
// then gives the transposed result [N][8], which is a panel again, the weights being read as they lie in memory.
// Lanes past the number of rows repeat the last row, and nothing reads their results.

export const PANEL_ROW: usize = 32;
/** Columns of a weight stored [K, N] that are copied side by side, so that a product walks 64 contiguous bytes. */
const STRIP: i32 = 16;
/**
 * Terms of a product at a time, so that panels stay in cache: of a weight whose rows are contiguous (3 percent faster than
 * twice as many), and of one whose columns go through a strip (2 percent faster than half as many).
 */
const ROW_DEPTH: i32 = 128, COLUMN_DEPTH: i32 = 256;

// @ts-ignore: decorator
@inline
function transpose(out: usize, step: usize, r0: v128, r1: v128, r2: v128, r3: v128): void {
  const a = v128.shuffle<i32>(r0, r1, 0, 4, 1, 5), b = v128.shuffle<i32>(r0, r1, 2, 6, 3, 7);
  const c = v128.shuffle<i32>(r2, r3, 0, 4, 1, 5), d = v128.shuffle<i32>(r2, r3, 2, 6, 3, 7);
  v128.store(out, v128.shuffle<i64>(a, c, 0, 2));
  v128.store(out + step, v128.shuffle<i64>(a, c, 1, 3));
  v128.store(out + 2 * step, v128.shuffle<i64>(b, d, 0, 2));
  v128.store(out + 3 * step, v128.shuffle<i64>(b, d, 1, 3));
}

/** Address of row i of a slot range, through an index of rows unless that is 0. */
// @ts-ignore: decorator
@inline
export function rowAt(x: usize, index: usize, i: i32, row: usize): usize {
  return x + <usize>(index ? load<i32>(index + (<usize>i << 2)) : i) * row;
}

/** Rows [first, first + count) of x [*, K], count in 1..8, as a panel. */
export function packPanel(x: usize, index: usize, first: i32, count: i32, K: i32, out: usize): void {
  const row = <usize>K << 2, last = count - 1;
  let p0 = rowAt(x, index, first, row), p1 = rowAt(x, index, first + min(1, last), row);
  let p2 = rowAt(x, index, first + min(2, last), row), p3 = rowAt(x, index, first + min(3, last), row);
  let p4 = rowAt(x, index, first + min(4, last), row), p5 = rowAt(x, index, first + min(5, last), row);
  let p6 = rowAt(x, index, first + min(6, last), row), p7 = rowAt(x, index, first + min(7, last), row);
  let k = K;
  for (; k >= 4; k -= 4) {
    transpose(out, PANEL_ROW, v128.load(p0), v128.load(p1), v128.load(p2), v128.load(p3));
    transpose(out + 16, PANEL_ROW, v128.load(p4), v128.load(p5), v128.load(p6), v128.load(p7));
    p0 += 16; p1 += 16; p2 += 16; p3 += 16; p4 += 16; p5 += 16; p6 += 16; p7 += 16;
    out += 4 * PANEL_ROW;
  }
  for (; k > 0; k--) {
    store<f32>(out, load<f32>(p0)); store<f32>(out, load<f32>(p1), 4);
    store<f32>(out, load<f32>(p2), 8); store<f32>(out, load<f32>(p3), 12);
    store<f32>(out, load<f32>(p4), 16); store<f32>(out, load<f32>(p5), 20);
    store<f32>(out, load<f32>(p6), 24); store<f32>(out, load<f32>(p7), 28);
    p0 += 4; p1 += 4; p2 += 4; p3 += 4; p4 += 4; p5 += 4; p6 += 4; p7 += 4;
    out += PANEL_ROW;
  }
}

/** The first `count` lanes of a panel [N][8] as rows of out [*, N]. */
export function unpackPanel(panel: usize, count: i32, N: i32, out: usize): void {
  const row = <usize>N << 2;
  let n = 0;
  for (; n + 4 <= N; n += 4) {
    const p = panel + <usize>n * PANEL_ROW, o = out + (<usize>n << 2);
    if (count >= 4) {
      transpose(o, row, v128.load(p), v128.load(p, 32), v128.load(p, 64), v128.load(p, 96));
      if (count == 8) {
        transpose(o + 4 * row, row, v128.load(p, 16), v128.load(p, 48), v128.load(p, 80), v128.load(p, 112));
        continue;
      }
    }
    for (let i = count & ~3; i < count; i++) {
      const from = p + (<usize>i << 2), to = o + <usize>i * row;
      store<f32>(to, load<f32>(from)); store<f32>(to, load<f32>(from, 32), 4);
      store<f32>(to, load<f32>(from, 64), 8); store<f32>(to, load<f32>(from, 96), 12);
    }
  }
  for (; n < N; n++) {
    for (let i = 0; i < count; i++) {
      store<f32>(out + <usize>i * row + (<usize>n << 2), load<f32>(panel + <usize>n * PANEL_ROW + (<usize>i << 2)));
    }
  }
}

/** Every row of a panel [N][8] set to bias [N], element by element. */
export function fillPanel(panel: usize, bias: usize, N: i32): void {
  for (let n = 0; n < N; n++) {
    const b = v128.load32_splat(bias + (<usize>n << 2));
    v128.store(panel, b); v128.store(panel, b, 16);
    panel += PANEL_ROW;
  }
}

/**
 * One row of the product: out[0][8] (+)= sum over k of W(0, k) * panel[k][8]. Even and odd terms have sums of their own: a
 * single one would wait for itself.
 */
function productRow(w: usize, stepW: usize, K: i32, panel: usize, out: usize, accumulate: bool): void {
  let c0 = f32x4.splat(0), c1 = f32x4.splat(0), d0 = f32x4.splat(0), d1 = f32x4.splat(0);
  if (accumulate) { c0 = v128.load(out); c1 = v128.load(out, 16); }
  for (let k = K; k > 0; k -= 2) {
    let a = v128.load32_splat(w);
    c0 = fma(a, v128.load(panel), c0); c1 = fma(a, v128.load(panel, 16), c1);
    if (k == 1) break;
    a = v128.load32_splat(w + stepW);
    d0 = fma(a, v128.load(panel, 32), d0); d1 = fma(a, v128.load(panel, 48), d1);
    w += stepW << 1; panel += PANEL_ROW << 1;
  }
  v128.store(out, f32x4.add(c0, d0)); v128.store(out, f32x4.add(c1, d1), 16);
}

/** Columns [n, n + columns) of w [K, stepW / 4] side by side, strip [K][STRIP]. */
function packStrip(w: usize, stepW: usize, K: i32, columns: i32, strip: usize): void {
  if (columns == STRIP) {
    for (let k = K; k > 0; k--) {
      v128.store(strip, v128.load(w)); v128.store(strip, v128.load(w, 16), 16);
      v128.store(strip, v128.load(w, 32), 32); v128.store(strip, v128.load(w, 48), 48);
      w += stepW; strip += STRIP << 2;
    }
    return;
  }
  for (let k = K; k > 0; k--) {
    memory.copy(strip, w, <usize>columns << 2);
    w += stepW; strip += STRIP << 2;
  }
}

// The tiles are entry points of the module only because that keeps the compiler from merging them into their caller,
// whose variables would push the accumulators out of the registers (a tenth of the speed).

/** Four rows of the product over P panels; each tile also reads its share of the four rows at `next`. */
export function rowTiles(
  a: usize, rowA: usize, K: i32, panel: usize, panelBytes: usize, P: i32, c: usize, outBytes: usize,
  accumulate: i32, next: usize, share: usize, sink: usize,
): void {
  for (; P > 0; P--) {
    // a tile walks its rows too slowly for the processor to fetch the next ones by itself
    readAhead(next, rowA, 4, share, sink);
    next += share;
    rowTile(a, rowA, panel, PANEL_ROW, K, c, PANEL_ROW, accumulate != 0);
    panel += panelBytes; c += outBytes;
  }
}

/** Six rows of a weight or of a strip, where there are fused multiply-adds. */
export function sixTiles(
  a: usize, rowA: usize, stepA: usize, K: i32, panel: usize, panelBytes: usize, P: i32, c: usize, outBytes: usize,
  accumulate: i32, next: usize, share: usize, sink: usize,
): void {
  for (; ASC_FEATURE_RELAXED_SIMD && P > 0; P--) {
    if (share) readAhead(next, rowA, 6, share, sink);
    next += share;
    sixTile(a, rowA, stepA, panel, PANEL_ROW, K, c, PANEL_ROW, accumulate != 0);
    panel += panelBytes; c += outBytes;
  }
}

/** Four rows from a strip, whose steps are a cache line apart. */
export function columnTiles(
  a: usize, K: i32, panel: usize, panelBytes: usize, P: i32, c: usize, outBytes: usize, accumulate: i32,
): void {
  for (; P > 0; P--) {
    columnTile(a, STRIP << 2, panel, PANEL_ROW, K, c, PANEL_ROW, accumulate != 0);
    panel += panelBytes; c += outBytes;
  }
}

/** Reads a number of every cache line of some rows, `bytes` of each, so that they are near when they are needed. */
function readAhead(from: usize, row: usize, rows: i32, bytes: usize, sink: usize): void {
  let sum = 0;
  for (let i = 0; i < rows; i++) {
    for (let at: usize = 0; at < bytes; at += 64) sum |= load<i32>(from + at);
    from += row;
  }
  store<i32>(sink, sum);
}

/**
 * Eight rows of the product for the first four lanes of a panel:
 * out[i][0..3] (+)= sum over k of a[i * rowA + k * stepA] * panel[k][0..3], i < 8.
 */
export function halfTile(
  a: usize, rowA: usize, stepA: usize, b: usize, n: i32, c: usize, accumulate: i32,
): void {
  let c0 = f32x4.splat(0), c1 = f32x4.splat(0), c2 = f32x4.splat(0), c3 = f32x4.splat(0);
  let c4 = f32x4.splat(0), c5 = f32x4.splat(0), c6 = f32x4.splat(0), c7 = f32x4.splat(0);
  if (accumulate) {
    c0 = v128.load(c); c1 = v128.load(c, 32); c2 = v128.load(c, 64); c3 = v128.load(c, 96);
    c4 = v128.load(c, 128); c5 = v128.load(c, 160); c6 = v128.load(c, 192); c7 = v128.load(c, 224);
  }
  let a0 = a, a1 = a0 + rowA, a2 = a1 + rowA, a3 = a2 + rowA;
  let a4 = a3 + rowA, a5 = a4 + rowA, a6 = a5 + rowA, a7 = a6 + rowA;
  for (let s = n; s > 0; s--) {
    const x = v128.load(b); // [4]
    c0 = fma(v128.load32_splat(a0), x, c0); c1 = fma(v128.load32_splat(a1), x, c1);
    c2 = fma(v128.load32_splat(a2), x, c2); c3 = fma(v128.load32_splat(a3), x, c3);
    c4 = fma(v128.load32_splat(a4), x, c4); c5 = fma(v128.load32_splat(a5), x, c5);
    c6 = fma(v128.load32_splat(a6), x, c6); c7 = fma(v128.load32_splat(a7), x, c7);
    a0 += stepA; a1 += stepA; a2 += stepA; a3 += stepA; a4 += stepA; a5 += stepA; a6 += stepA; a7 += stepA;
    b += PANEL_ROW;
  }
  v128.store(c, c0); v128.store(c, c1, 32); v128.store(c, c2, 64); v128.store(c, c3, 96);
  v128.store(c, c4, 128); v128.store(c, c5, 160); v128.store(c, c6, 192); v128.store(c, c7, 224);
}

/**
 * out[p][n][8] (+)= sum over k < K of W(n, k) * panel[p][k][8] for the panels of `count` tokens, W(n, k) =
 * w[n * rowW + k * stepW], where one of the strides is 4. Panels are panelBytes and outBytes apart. strip holds
 * 64 * min(K, COLUMN_DEPTH) bytes.
 */
export function panelProduct(
  w: usize, rowW: usize, stepW: usize, K: i32, N: i32, panel: usize, panelBytes: usize, count: i32,
  out: usize, outBytes: usize, accumulate: bool, strip: usize,
): void {
  const depth = stepW == 4 ? ROW_DEPTH : COLUMN_DEPTH;
  let k = 0;
  do {
    const from = w + <usize>k * stepW, rows = panel + <usize>k * PANEL_ROW, n = min(depth, K - k);
    addProduct(from, rowW, stepW, n, N, rows, panelBytes, count, out, outBytes, accumulate || k > 0, strip);
    k += depth;
  } while (k < K);
}

/** `panelProduct` over as many terms as are taken at a time. */
function addProduct(
  w: usize, rowW: usize, stepW: usize, K: i32, N: i32, panel: usize, panelBytes: usize, count: i32,
  out: usize, outBytes: usize, accumulate: bool, strip: usize,
): void {
  const P = (count + 7) >> 3, whole = N & ~3;
  // a last panel of up to four tokens takes half the arithmetic, on eight rows at a time
  const half = ((count - 1) & 7) < 4, full = half ? P - 1 : P;
  const rowBytes = <usize>K << 2, share = rowBytes / <usize>P;
  // where there are fused multiply-adds, sixteen rows are six, six and four
  for (let n = 0, height = 4; n < whole; n += height) {
    const place = n & (STRIP - 1), six = ASC_FEATURE_RELAXED_SIMD && !half && place < inSixes(STRIP) && n - place + STRIP <= N;
    height = six ? 6 : 4;
    let a = w + <usize>n * rowW, rowA = rowW, stepA = stepW;
    const c = out + <usize>n * PANEL_ROW;
    // the eight rows of a half tile end here, or four rows are left over
    const pair = half && (n & 4) != 0, tiles = half && (n & 4) == 0 && n + 4 == whole ? P : full;
    if (stepW == 4) {
      const next = n + 2 * height <= N ? a + <usize>height * rowW : a;
      if (six) sixTiles(a, rowA, stepA, K, panel, panelBytes, P, c, outBytes, i32(accumulate), next, share, strip);
      else rowTiles(a, rowW, K, panel, panelBytes, tiles, c, outBytes, i32(accumulate), next, share, strip);
    } else {
      if (place == 0) packStrip(a, stepW, K, min(STRIP, N - n), strip);
      a = strip + (<usize>place << 2);
      rowA = 4;
      stepA = STRIP << 2;
      if (six) sixTiles(a, rowA, stepA, K, panel, panelBytes, P, c, outBytes, i32(accumulate), 0, 0, 0);
      else columnTiles(a, K, panel, panelBytes, tiles, c, outBytes, i32(accumulate));
    }
    if (pair) {
      const last = <usize>full * panelBytes;
      halfTile(a - 4 * rowA, rowA, stepA, panel + last, K, c - 4 * PANEL_ROW + <usize>full * outBytes, i32(accumulate));
    }
  }
  for (let n = whole; n < N; n++) {
    for (let p = 0; p < P; p++) {
      productRow(
        w + <usize>n * rowW, stepW, K, panel + <usize>p * panelBytes, out + <usize>p * outBytes + <usize>n * PANEL_ROW,
        accumulate,
      );
    }
  }
}
