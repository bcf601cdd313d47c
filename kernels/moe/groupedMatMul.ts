import { packPanel, panelProduct, PANEL_ROW, rowAt, fillPanel, unpackPanel } from '../core/panel';
import { vectorProduct } from '../core/vector';

// A block is three int32: expert, first slot, number of slots (1..128). All slots of a block are of one expert.
export const BLOCK_BYTES: usize = 12;
const BLOCK_PANELS: i32 = 16;
/** Up to this many slots the weight is read once per slot instead of computing 8 lanes. */
export const FEW: i32 = 2;

/**
 * out[slot] = x[index[slot]] W(expert) + bias[expert] for blocks [begin, end): x [*, K] (index 0: slot itself), out
 * [slots, N], bias [E, N] or 0. W(n, k) = w[expert][n * rowW + k * stepW].
 * scratch: 8 * 32 * (K + N) + 64 * K bytes.
 */
export function groupedMatMul(
  x: usize, index: usize, w: usize, rowW: usize, stepW: usize, bias: usize, out: usize, blocks: usize,
  scratch: usize, K: i32, N: i32, begin: i32, end: i32,
): void {
  const rowX = <usize>K << 2, rowOut = <usize>N << 2, weight = <usize>K * rowOut;
  const inBytes = <usize>K * PANEL_ROW, outBytes = <usize>N * PANEL_ROW;
  const result = scratch + <usize>BLOCK_PANELS * inBytes, strip = result + <usize>BLOCK_PANELS * outBytes;
  for (let b = begin; b < end; b++) {
    const block = blocks + <usize>b * BLOCK_BYTES;
    const expert = <usize>load<i32>(block), first = load<i32>(block, 4), count = load<i32>(block, 8);
    const matrix = w + expert * weight;
    const shift: usize = bias ? bias + expert * rowOut : 0;
    if (count <= FEW) {
      for (let i = first; i < first + count; i++) {
        const to = out + <usize>i * rowOut;
        if (shift) memory.copy(to, shift, rowOut);
        vectorProduct(matrix, rowW, stepW, K, N, rowAt(x, index, i, rowX), to, shift != 0);
      }
      continue;
    }
    const P = (count + 7) >> 3;
    for (let p = 0; p < P; p++) {
      packPanel(x, index, first + (p << 3), min(8, count - (p << 3)), K, scratch + <usize>p * inBytes);
      if (shift) fillPanel(result + <usize>p * outBytes, shift, N);
    }
    panelProduct(matrix, rowW, stepW, K, N, scratch, inBytes, count, result, outBytes, shift != 0, strip);
    for (let p = 0; p < P; p++) {
      const i = p << 3;
      unpackPanel(result + <usize>p * outBytes, min(8, count - i), N, out + <usize>(first + i) * rowOut);
    }
  }
}

/**
 * out[i] = x[i] W + bias for all `rows` of x [rows, K], outputs [part * columns, (part + 1) * columns) of N for the parts
 * [begin, end): a row or two that every thread can work on. bias [N] or 0.
 */
export function rowProducts(
  x: usize, w: usize, rowW: usize, stepW: usize, bias: usize, out: usize, rows: i32, K: i32, N: i32, columns: i32,
  begin: i32, end: i32,
): void {
  for (let part = begin; part < end; part++) {
    const first = part * columns, count = min(columns, N - first), at = <usize>first << 2;
    for (let i = 0; i < rows; i++) {
      const to = out + (<usize>i * <usize>N << 2) + at;
      if (bias) memory.copy(to, bias + at, <usize>count << 2);
      vectorProduct(w + <usize>first * rowW, rowW, stepW, K, count, x + (<usize>i * <usize>K << 2), to, bias != 0);
    }
  }
}

/** out[e] = sum over slots of expert e of scale[slot] * a[index[slot]] for experts [begin, end); scale may be 0 (ones). */
export function groupedSum(
  a: usize, index: usize, scale: usize, out: usize, offsets: usize, M: i32, begin: i32, end: i32,
): void {
  const row = <usize>M << 2;
  for (let e = begin; e < end; e++) {
    const sum = out + <usize>e * row;
    memory.fill(sum, 0, row);
    const from = load<i32>(offsets + (<usize>e << 2)), to = load<i32>(offsets + (<usize>e << 2), 4);
    for (let i = from; i < to; i++) {
      const x = rowAt(a, index, i, row);
      const weight: f32 = scale ? load<f32>(scale + (<usize>i << 2)) : 1;
      for (let m = 0; m < M; m++) {
        const p = <usize>m << 2;
        store<f32>(sum + p, load<f32>(sum + p) + weight * load<f32>(x + p));
      }
    }
  }
}
