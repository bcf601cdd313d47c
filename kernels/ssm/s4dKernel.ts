import { product } from '../core/product';

// K [H, T], K_t = 2 Re sum over n < N of w_n z_n^t, as a matrix product: with t = j R + r, z^t = z^(j R) z^r, so that rows j
// and columns r of K are (w z^(j R)) [J, 2 N] times z^r [2 N, R]. Powers are made in float64, one after the other.
// `modes` [H, N, 4] holds z and w in float64. A work item is a channel h.

/** `work` holds (J + R) rows of 2 N floats; R is a multiple of 8. */
export function s4dKernel(modes: usize, k: usize, work: usize, N: i32, T: i32, R: i32, begin: i32, end: i32): void {
  const J = (T + R - 1) / R, pitch = <usize>N << 3, row = <usize>R << 2;
  const anchors = work, powers = work + <usize>J * pitch;
  for (let h = begin; h < end; h++) {
    for (let n = 0; n < N; n++) {
      const mode = modes + (<usize>(h * N + n) << 5);
      const zr = load<f64>(mode), zi = load<f64>(mode, 8);
      let re: f64 = 1, im: f64 = 0, p = powers + <usize>(n << 1) * row;
      for (let r = 0; r < R; r++, p += 4) {
        store<f32>(p, <f32>re);
        store<f32>(p + row, <f32>im);
        const next = re * zr - im * zi;
        im = re * zi + im * zr;
        re = next;
      }
      const stepRe = re, stepIm = im;
      re = 2 * load<f64>(mode, 16); im = 2 * load<f64>(mode, 24);
      p = anchors + (<usize>n << 3);
      for (let j = 0; j < J; j++, p += pitch) {
        store<f32>(p, <f32>re);
        store<f32>(p, <f32>-im, 4);
        const next = re * stepRe - im * stepIm;
        im = re * stepIm + im * stepRe;
        re = next;
      }
    }
    const out = k + <usize>h * (<usize>T << 2), last = J - 1;
    product(anchors, pitch, 4, powers, row, N << 1, out, row, last, R, false);
    product(anchors + <usize>last * pitch, pitch, 4, powers, row, N << 1, out + <usize>last * row, row, 1, T - last * R, false);
  }
}

/**
 * sums [H, N, 4], float64: the sums over t of dk_t z^t and of dk_t t z^(t - 1). `work` holds (J + R) rows of 4 N floats.
 * With P_j = sum over r of dk_(j R + r) z^r and Q_j of dk_(j R + r) r z^(r - 1), they are the sums of z^(j R) P_j and of
 * z^(j R) Q_j + j R z^(j R - 1) P_j.
 */
export function s4dKernelBackward(
  modes: usize, dk: usize, sums: usize, work: usize, N: i32, T: i32, R: i32, begin: i32, end: i32,
): void {
  const J = (T + R - 1) / R, pitch = <usize>N << 4, row = <usize>R << 2;
  const partial = work, powers = work + <usize>J * pitch;
  for (let h = begin; h < end; h++) {
    for (let n = 0; n < N; n++) {
      const mode = modes + (<usize>(h * N + n) << 5);
      const zr = load<f64>(mode), zi = load<f64>(mode, 8);
      let re: f64 = 1, im: f64 = 0, beforeRe: f64 = 0, beforeIm: f64 = 0, p = powers + (<usize>n << 4);
      for (let r = 0; r < R; r++, p += pitch) {
        store<f32>(p, <f32>re);
        store<f32>(p, <f32>im, 4);
        store<f32>(p, <f32>(<f64>r * beforeRe), 8);
        store<f32>(p, <f32>(<f64>r * beforeIm), 12);
        beforeRe = re;
        beforeIm = im;
        re = beforeRe * zr - beforeIm * zi;
        im = beforeRe * zi + beforeIm * zr;
      }
    }
    const from = dk + <usize>h * (<usize>T << 2), last = J - 1;
    product(from, row, 4, powers, pitch, R, partial, pitch, last, N << 2, false);
    product(
      from + <usize>last * row, row, 4, powers, pitch, T - last * R, partial + <usize>last * pitch, pitch, 1, N << 2, false,
    );
    for (let n = 0; n < N; n++) {
      const at = <usize>(h * N + n) << 5;
      sumRowsOfMode(modes + at, partial + (<usize>n << 4), pitch, J, R, sums + at);
    }
  }
}

function sumRowsOfMode(mode: usize, partial: usize, pitch: usize, J: i32, R: i32, sums: usize): void {
  const zr = load<f64>(mode), zi = load<f64>(mode, 8);
  // z^R and R z^(R - 1)
  let stepRe: f64 = 1, stepIm: f64 = 0, slopeRe: f64 = 0, slopeIm: f64 = 0;
  for (let r = 0; r < R; r++) {
    slopeRe = stepRe;
    slopeIm = stepIm;
    stepRe = slopeRe * zr - slopeIm * zi;
    stepIm = slopeRe * zi + slopeIm * zr;
  }
  slopeRe *= <f64>R;
  slopeIm *= <f64>R;
  let re: f64 = 1, im: f64 = 0, dRe: f64 = 0, dIm: f64 = 0, s0r: f64 = 0, s0i: f64 = 0, s1r: f64 = 0, s1i: f64 = 0;
  for (let j = 0; j < J; j++, partial += pitch) {
    const pr = <f64>load<f32>(partial), pi = <f64>load<f32>(partial, 4);
    const qr = <f64>load<f32>(partial, 8), qi = <f64>load<f32>(partial, 12);
    s0r += re * pr - im * pi;
    s0i += re * pi + im * pr;
    s1r += re * qr - im * qi + dRe * pr - dIm * pi;
    s1i += re * qi + im * qr + dRe * pi + dIm * pr;
    const factor = <f64>(j + 1);
    dRe = factor * (re * slopeRe - im * slopeIm);
    dIm = factor * (re * slopeIm + im * slopeRe);
    const next = re * stepRe - im * stepIm;
    im = re * stepIm + im * stepRe;
    re = next;
  }
  store<f64>(sums, s0r); store<f64>(sums, s0i, 8);
  store<f64>(sums, s1r, 16); store<f64>(sums, s1i, 24);
}
