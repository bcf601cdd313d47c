// Fast Fourier transforms of eight real sequences at once: an element is 32 bytes, four real parts and four imaginary
// parts, and holds one sample of eight channels, the first four as real, the others as imaginary parts. Lanes never mix.
//
// Forward, decimation in frequency, leaves the spectrum in bit-reversed order; inverse takes it from there, times n.
// So nothing is ever reordered. There, frequency k of a place p in [2^j, 2^(j+1)) has its mirror -k at 3 2^j - 1 - p.
// `twiddles` holds e^(-2 pi i t / N), t < 3 N / 4, as pairs.

/** Elements up to which all stages run over a block that stays in the first cache. */
const IN_CACHE: i32 = 256;

export function forward(z: usize, n: i32, twiddles: usize, stride: usize): void {
  if (n > IN_CACHE) {
    forwardStage(z, n, twiddles, stride);
    const quarter = <usize>n << 3;
    for (let i: usize = 0; i < 4; i++) forward(z + i * quarter, n >> 2, twiddles, stride << 2);
    return;
  }
  const end = z + (<usize>n << 5);
  let size = n;
  for (; size > 4; size >>= 2) {
    for (let block = z; block < end; block += <usize>size << 5) forwardStage(block, size, twiddles, stride);
    stride <<= 2;
  }
  if (size == 4) forwardQuads(z, n);
  else if (size == 2) pairs(z, n);
}

/** Unscaled: the result is n times the sequence. */
export function inverse(z: usize, n: i32, twiddles: usize, stride: usize): void {
  if (n > IN_CACHE) {
    const quarter = <usize>n << 3;
    for (let i: usize = 0; i < 4; i++) inverse(z + i * quarter, n >> 2, twiddles, stride << 2);
    inverseStage(z, n, twiddles, stride);
    return;
  }
  const end = z + (<usize>n << 5);
  let size = n, step = stride;
  for (; size > 4; size >>= 2) step <<= 2;
  if (size == 4) inverseQuads(z, n);
  else if (size == 2) pairs(z, n);
  for (size <<= 2, step >>= 2; size <= n; size <<= 2, step >>= 2) {
    for (let block = z; block < end; block += <usize>size << 5) inverseStage(block, size, twiddles, step);
  }
}

/** Sums and differences of neighbours. */
function pairs(z: usize, n: i32): void {
  for (let i = 0; i < n; i += 2, z += 64) {
    const ar = v128.load(z), ai = v128.load(z, 16), br = v128.load(z, 32), bi = v128.load(z, 48);
    v128.store(z, f32x4.add(ar, br));
    v128.store(z, f32x4.add(ai, bi), 16);
    v128.store(z, f32x4.sub(ar, br), 32);
    v128.store(z, f32x4.sub(ai, bi), 48);
  }
}

/** The last two halvings, whose twiddles are all 1. */
function forwardQuads(z: usize, n: i32): void {
  for (let i = 0; i < n; i += 4, z += 128) {
    const ar = v128.load(z), ai = v128.load(z, 16), br = v128.load(z, 32), bi = v128.load(z, 48);
    const cr = v128.load(z, 64), ci = v128.load(z, 80), dr = v128.load(z, 96), di = v128.load(z, 112);
    const sr = f32x4.add(ar, cr), si = f32x4.add(ai, ci), tr = f32x4.add(br, dr), ti = f32x4.add(bi, di);
    v128.store(z, f32x4.add(sr, tr)); v128.store(z, f32x4.add(si, ti), 16);
    v128.store(z, f32x4.sub(sr, tr), 32); v128.store(z, f32x4.sub(si, ti), 48);
    const ur = f32x4.sub(ar, cr), ui = f32x4.sub(ai, ci), vr = f32x4.sub(br, dr), vi = f32x4.sub(bi, di);
    v128.store(z, f32x4.add(ur, vi), 64); v128.store(z, f32x4.sub(ui, vr), 80);
    v128.store(z, f32x4.sub(ur, vi), 96); v128.store(z, f32x4.add(ui, vr), 112);
  }
}

function inverseQuads(z: usize, n: i32): void {
  for (let i = 0; i < n; i += 4, z += 128) {
    const ar = v128.load(z), ai = v128.load(z, 16), br = v128.load(z, 32), bi = v128.load(z, 48);
    const cr = v128.load(z, 64), ci = v128.load(z, 80), dr = v128.load(z, 96), di = v128.load(z, 112);
    const sr = f32x4.add(ar, br), si = f32x4.add(ai, bi), tr = f32x4.sub(ar, br), ti = f32x4.sub(ai, bi);
    const ur = f32x4.add(cr, dr), ui = f32x4.add(ci, di), vr = f32x4.sub(cr, dr), vi = f32x4.sub(ci, di);
    v128.store(z, f32x4.add(sr, ur)); v128.store(z, f32x4.add(si, ui), 16);
    v128.store(z, f32x4.sub(tr, vi), 32); v128.store(z, f32x4.add(ti, vr), 48);
    v128.store(z, f32x4.sub(sr, ur), 64); v128.store(z, f32x4.sub(si, ui), 80);
    v128.store(z, f32x4.add(tr, vi), 96); v128.store(z, f32x4.sub(ti, vr), 112);
  }
}

/** Two halvings at once. Twiddles of this stage lie `stride` bytes apart. */
function forwardStage(z: usize, n: i32, twiddles: usize, stride: usize): void {
  const quarter = <usize>n << 3;
  let z1 = z + quarter, z2 = z1 + quarter, z3 = z2 + quarter;
  let w1 = twiddles, w2 = twiddles, w3 = twiddles;
  const end = z1;
  for (; z < end; z += 32, z1 += 32, z2 += 32, z3 += 32) {
    const ar = v128.load(z), ai = v128.load(z, 16), br = v128.load(z1), bi = v128.load(z1, 16);
    const cr = v128.load(z2), ci = v128.load(z2, 16), dr = v128.load(z3), di = v128.load(z3, 16);
    const sr = f32x4.add(ar, cr), si = f32x4.add(ai, ci), tr = f32x4.add(br, dr), ti = f32x4.add(bi, di);
    v128.store(z, f32x4.add(sr, tr));
    v128.store(z, f32x4.add(si, ti), 16);
    turn(z1, f32x4.sub(sr, tr), f32x4.sub(si, ti), w2);
    const ur = f32x4.sub(ar, cr), ui = f32x4.sub(ai, ci), vr = f32x4.sub(br, dr), vi = f32x4.sub(bi, di);
    turn(z2, f32x4.add(ur, vi), f32x4.sub(ui, vr), w1);
    turn(z3, f32x4.sub(ur, vi), f32x4.add(ui, vr), w3);
    w1 += stride; w2 += stride << 1; w3 += 3 * stride;
  }
}

function inverseStage(z: usize, n: i32, twiddles: usize, stride: usize): void {
  const quarter = <usize>n << 3;
  let z1 = z + quarter, z2 = z1 + quarter, z3 = z2 + quarter;
  let w1 = twiddles, w2 = twiddles, w3 = twiddles;
  const end = z1;
  for (; z < end; z += 32, z1 += 32, z2 += 32, z3 += 32) {
    turnBack(z1, w2);
    turnBack(z2, w1);
    turnBack(z3, w3);
    const ar = v128.load(z), ai = v128.load(z, 16), br = v128.load(z1), bi = v128.load(z1, 16);
    const cr = v128.load(z2), ci = v128.load(z2, 16), dr = v128.load(z3), di = v128.load(z3, 16);
    const sr = f32x4.add(ar, br), si = f32x4.add(ai, bi), tr = f32x4.sub(ar, br), ti = f32x4.sub(ai, bi);
    const ur = f32x4.add(cr, dr), ui = f32x4.add(ci, di), vr = f32x4.sub(cr, dr), vi = f32x4.sub(ci, di);
    v128.store(z, f32x4.add(sr, ur));
    v128.store(z, f32x4.add(si, ui), 16);
    v128.store(z1, f32x4.sub(tr, vi));
    v128.store(z1, f32x4.add(ti, vr), 16);
    v128.store(z2, f32x4.sub(sr, ur));
    v128.store(z2, f32x4.sub(si, ui), 16);
    v128.store(z3, f32x4.add(tr, vi));
    v128.store(z3, f32x4.sub(ti, vr), 16);
    w1 += stride; w2 += stride << 1; w3 += 3 * stride;
  }
}

/** z = (re + i im) w */
// @ts-ignore: decorator
@inline
function turn(z: usize, re: v128, im: v128, w: usize): void {
  const wr = v128.load32_splat(w), wi = v128.load32_splat(w, 4);
  v128.store(z, f32x4.sub(f32x4.mul(re, wr), f32x4.mul(im, wi)));
  v128.store(z, f32x4.add(f32x4.mul(re, wi), f32x4.mul(im, wr)), 16);
}

/** z = z conj(w) */
// @ts-ignore: decorator
@inline
function turnBack(z: usize, w: usize): void {
  const re = v128.load(z), im = v128.load(z, 16), wr = v128.load32_splat(w), wi = v128.load32_splat(w, 4);
  v128.store(z, f32x4.add(f32x4.mul(re, wr), f32x4.mul(im, wi)));
  v128.store(z, f32x4.sub(f32x4.mul(im, wr), f32x4.mul(re, wi)), 16);
}

/**
 * y (+)= scale times the spectrum of the convolutions of z with k, or with `conjugate` of their correlations
 * sum over t of z_t k_(t - s), all in bit-reversed order; y may be z.
 */
// @ts-ignore: decorator
@inline
export function multiply(z: usize, k: usize, y: usize, n: i32, scale: f32, conjugate: bool, accumulate: bool): void {
  // twice the spectra of the first and of the second four channels, from a frequency and its mirror: factor 4
  const factor = f32x4.splat(scale * 0.25), sign = f32x4.splat(conjugate ? -1 : 1);
  for (let p = 0; p < n; p++) {
    const q = p < 2 ? p : 3 * (1 << (31 - clz(p))) - 1 - p;
    if (q < p) continue;
    const zp = z + (<usize>p << 5), zq = z + (<usize>q << 5), kp = k + (<usize>p << 5), kq = k + (<usize>q << 5);
    let pr = v128.load(zp), pi = v128.load(zp, 16), qr = v128.load(zq), qi = v128.load(zq, 16);
    const ar = f32x4.add(pr, qr), ai = f32x4.sub(pi, qi), br = f32x4.add(pi, qi), bi = f32x4.sub(qr, pr);
    pr = v128.load(kp); pi = v128.load(kp, 16); qr = v128.load(kq); qi = v128.load(kq, 16);
    const cr = f32x4.add(pr, qr), ci = f32x4.mul(sign, f32x4.sub(pi, qi));
    const dr = f32x4.add(pi, qi), di = f32x4.mul(sign, f32x4.sub(qr, pr));
    const er = f32x4.sub(f32x4.mul(ar, cr), f32x4.mul(ai, ci)), ei = f32x4.add(f32x4.mul(ar, ci), f32x4.mul(ai, cr));
    const fr = f32x4.sub(f32x4.mul(br, dr), f32x4.mul(bi, di)), fi = f32x4.add(f32x4.mul(br, di), f32x4.mul(bi, dr));
    const yp = y + (<usize>p << 5), yq = y + (<usize>q << 5);
    put(yp, f32x4.mul(factor, f32x4.sub(er, fi)), f32x4.mul(factor, f32x4.add(ei, fr)), accumulate);
    if (q > p) put(yq, f32x4.mul(factor, f32x4.add(er, fi)), f32x4.mul(factor, f32x4.sub(fr, ei)), accumulate);
  }
}

// @ts-ignore: decorator
@inline
function put(y: usize, re: v128, im: v128, accumulate: bool): void {
  v128.store(y, accumulate ? f32x4.add(v128.load(y), re) : re);
  v128.store(y, accumulate ? f32x4.add(v128.load(y, 16), im) : im, 16);
}
