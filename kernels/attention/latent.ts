import { packPanel, PANEL_ROW, panelProduct, unpackPanel } from '../core/panel';
import { vectorProduct } from '../core/vector';

const BLOCK_ROWS: i32 = 128;
/** Up to this many rows the matrix is read once per row instead of computing 8 lanes. */
const FEW: i32 = 2;

/**
 * out [rows, N] = x [rows, K] W for blocks [begin, end) of 128 rows, W(n, k) = w[n * rowW + k * stepW] with one stride of 4.
 * scratch: 512 * (K + N) + 64 * K bytes.
 */
export function projectRows(
  x: usize, w: usize, rowW: usize, stepW: usize, out: usize, scratch: usize, rows: i32, K: i32, N: i32,
  begin: i32, end: i32,
): void {
  const rowX = <usize>K << 2, rowOut = <usize>N << 2, inBytes = <usize>K * PANEL_ROW, outBytes = <usize>N * PANEL_ROW;
  const result = scratch + <usize>(BLOCK_ROWS >> 3) * inBytes, strip = result + <usize>(BLOCK_ROWS >> 3) * outBytes;
  for (let block = begin; block < end; block++) {
    const first = block * BLOCK_ROWS, count = min(BLOCK_ROWS, rows - first);
    const from = x + <usize>first * rowX, to = out + <usize>first * rowOut;
    if (count <= FEW) {
      for (let i = 0; i < count; i++) {
        vectorProduct(w, rowW, stepW, K, N, from + <usize>i * rowX, to + <usize>i * rowOut, false);
      }
      continue;
    }
    for (let i = 0; i < count; i += 8) packPanel(from, 0, i, min(8, count - i), K, scratch + <usize>(i >> 3) * inBytes);
    panelProduct(w, rowW, stepW, K, N, scratch, inBytes, count, result, outBytes, false, strip);
    for (let i = 0; i < count; i += 8) {
      unpackPanel(result + <usize>(i >> 3) * outBytes, min(8, count - i), N, to + <usize>i * rowOut);
    }
  }
}

/**
 * Each head's rows times its own matrix, head by head: x [rows, H, K], matrices `matrix` bytes apart, rows of out
 * [rows, H, N] `pitch` bytes apart; items are H * rows.
 */
export function projectHeads(
  x: usize, w: usize, matrix: usize, rowW: usize, stepW: usize, out: usize, pitch: usize, rows: i32, H: i32, K: i32,
  N: i32, begin: i32, end: i32,
): void {
  for (let item = begin; item < end; item++) {
    const h = item / rows, i = <usize>((item % rows) * H + h);
    vectorProduct(w + <usize>h * matrix, rowW, stepW, K, N, x + i * (<usize>K << 2), out + i * pitch, false);
  }
}

/** out [rows, n] = the sum over the heads of x [rows, H, n], whose rows are `pitch` bytes apart. */
export function sumHeads(x: usize, pitch: usize, H: i32, n: i32, out: usize, begin: i32, end: i32): void {
  for (let row = begin; row < end; row++) {
    for (let c = 0; c < n; c++) {
      let sum: f32 = 0, at = x + <usize>(row * H) * pitch + (<usize>c << 2);
      for (let h = 0; h < H; h++, at += pitch) sum += load<f32>(at);
      store<f32>(out + (<usize>(row * n + c) << 2), sum);
    }
  }
}
