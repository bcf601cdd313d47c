import { loadLanes, storeLanes } from '../core/lanes';
import { transpose4 } from '../core/transpose';
import { forward, inverse, multiply } from './fft';

// Causal convolution of every channel with a kernel of its own, y_t = sum over s <= t of k_s u_(t - s), by Fourier
// transforms of `size` >= T + L - 1 elements. A work item is a group of eight channels, over all batch entries.

/** z [size] = `n` <= 8 channels of x [T, H], zeros after T. */
function loadRows(x: usize, row: usize, T: i32, n: i32, z: usize, size: i32): void {
  for (let t = 0; t < T; t++, x += row, z += 32) {
    v128.store(z, loadLanes(x, n));
    v128.store(z, n > 4 ? loadLanes(x + 16, n - 4) : f32x4.splat(0), 16);
  }
  memory.fill(z, 0, <usize>(size - T) << 5);
}

function storeRows(z: usize, x: usize, row: usize, T: i32, n: i32): void {
  for (let t = 0; t < T; t++, x += row, z += 32) {
    storeLanes(x, v128.load(z), n);
    if (n > 4) storeLanes(x + 16, v128.load(z, 16), n - 4);
  }
}

/** z = n <= 8 kernels k [n, L] turned over, the skip D [n] (or 0) added at lag 0; lags from `lags` on are left out. */
function loadKernels(k: usize, skip: usize, L: i32, lags: i32, n: i32, z: usize, size: i32): void {
  memory.fill(z, 0, <usize>size << 5);
  const row = <usize>L << 2;
  for (let h = 0; h < n; h += 4) {
    const from = k + <usize>h * row, to = z + (<usize>h << 2);
    let t = 0;
    if (h + 4 <= n) {
      for (; t + 4 <= lags; t += 4) transpose4(from + (<usize>t << 2), row, to + (<usize>t << 5), 32, false);
    }
    for (let i = 0; i < min(4, n - h); i++) {
      for (let s = t; s < lags; s++) {
        store<f32>(to + (<usize>s << 5) + (<usize>i << 2), load<f32>(from + <usize>i * row + (<usize>s << 2)));
      }
    }
  }
  if (!skip) return;
  for (let h = 0; h < n; h++) {
    const at = <usize>h << 2;
    store<f32>(z + at, load<f32>(z + at) + load<f32>(skip + at));
  }
}

/** The first `lags` elements of z as n <= 8 rows of k [n, L], the rest of which is zero. */
function storeKernels(z: usize, k: usize, L: i32, lags: i32, n: i32): void {
  for (let h = 0; h < n; h++) {
    const row = k + (<usize>h * <usize>L << 2), from = z + (<usize>h << 2);
    for (let t = 0; t < lags; t++) store<f32>(row + (<usize>t << 2), load<f32>(from + (<usize>t << 5)));
    memory.fill(row + (<usize>lags << 2), 0, <usize>(L - lags) << 2);
  }
}

/** Groups [begin, end); skip may be 0; `work` holds 2 `size` elements. */
export function fftConv(
  u: usize, k: usize, skip: usize, y: usize, twiddles: usize, work: usize,
  B: i32, T: i32, H: i32, L: i32, size: i32, begin: i32, end: i32,
): void {
  const row = <usize>H << 2, lags = min(L, T), kernels = work + (<usize>size << 5);
  for (let group = begin; group < end; group++) {
    const h = group << 3, n = min(8, H - h), column = <usize>h << 2;
    loadKernels(k + column * <usize>L, skip ? skip + column : 0, L, lags, n, kernels, size);
    forward(kernels, size, twiddles, 8);
    for (let b = 0; b < B; b++) {
      const at = <usize>b * <usize>T * row + column;
      loadRows(u + at, row, T, n, work, size);
      forward(work, size, twiddles, 8);
      multiply(work, kernels, work, size, 1 / <f32>size, false, false);
      inverse(work, size, twiddles, 8);
      storeRows(work, y + at, row, T, n);
    }
  }
}

/** du = the correlation of dy with k, dk that of dy with u, dskip [H] its lag 0, if not 0; `work` holds 4 `size` elements. */
export function fftConvBackward(
  u: usize, k: usize, skip: usize, dy: usize, du: usize, dk: usize, dskip: usize, twiddles: usize, work: usize,
  B: i32, T: i32, H: i32, L: i32, size: i32, begin: i32, end: i32,
): void {
  const row = <usize>H << 2, lags = min(L, T), part = <usize>size << 5, scale: f32 = 1 / <f32>size;
  const kernels = work + part, rows = kernels + part, sums = rows + part;
  for (let group = begin; group < end; group++) {
    const h = group << 3, n = min(8, H - h), column = <usize>h << 2;
    loadKernels(k + column * <usize>L, skip ? skip + column : 0, L, lags, n, kernels, size);
    forward(kernels, size, twiddles, 8);
    memory.fill(sums, 0, part);
    for (let b = 0; b < B; b++) {
      const at = <usize>b * <usize>T * row + column;
      loadRows(u + at, row, T, n, rows, size);
      forward(rows, size, twiddles, 8);
      loadRows(dy + at, row, T, n, work, size);
      forward(work, size, twiddles, 8);
      multiply(work, rows, sums, size, scale, true, true);
      multiply(work, kernels, work, size, scale, true, false);
      inverse(work, size, twiddles, 8);
      storeRows(work, du + at, row, T, n);
    }
    inverse(sums, size, twiddles, 8);
    storeKernels(sums, dk + column * <usize>L, L, lags, n);
    if (dskip) memory.copy(dskip + column, sums, <usize>n << 2);
  }
}
