import { exp2Clamped, fma } from '../core/exp';
import { loadLanes, storeLanes } from '../core/lanes';
import { softplus } from '../core/log';
import { silu } from '../core/silu';

// h_t = exp(delta_t A) h_(t-1) + delta_t u_t B_t,  y_t = C_t . h_t + D u_t,  out_t = y_t silu(z_t)
//
// An item is a block of up to 64 channels of one group and batch entry. Lanes are channels, in tiles of 8:
// what a tile has per state lies as [N, 8], what a block has per token as [tokens, 64].

export const BLOCK: i32 = 64;
/** Bytes of a row of a block. */
export const PITCH: usize = 256;
/** Bytes of a state of a tile. */
export const TILE: usize = 32;
/** Tokens that are scanned at a time. */
const TOKENS: i32 = 32;
/** Tokens between states that are kept for the gradient. */
export const SPACING: i32 = 64;
export const LOG2E: f32 = 1.4426950408889634;

/** dst [tiles, N, 8] = src [channels, N] times `scale`, or zero where src is 0; missing channels become 0. */
export function loadTiles(src: usize, channels: i32, N: i32, tiles: i32, scale: f32, dst: usize): void {
  memory.fill(dst, 0, <usize>(tiles * N) * TILE);
  if (!src) return;
  for (let c = 0; c < channels; c++) {
    const to = dst + <usize>(c >> 3) * <usize>N * TILE + (<usize>(c & 7) << 2);
    const from = src + (<usize>(c * N) << 2);
    for (let n = 0; n < N; n++) {
      store<f32>(to + <usize>n * TILE, load<f32>(from + (<usize>n << 2)) * scale);
    }
  }
}

/** dst [channels, N] = src [tiles, N, 8]. */
export function storeTiles(src: usize, channels: i32, N: i32, dst: usize): void {
  for (let c = 0; c < channels; c++) {
    const from = src + <usize>(c >> 3) * <usize>N * TILE + (<usize>(c & 7) << 2);
    const to = dst + (<usize>(c * N) << 2);
    for (let n = 0; n < N; n++) {
      store<f32>(to + (<usize>n << 2), load<f32>(from + <usize>n * TILE));
    }
  }
}

/** Step sizes dt [tokens, 64] and inputs x = dt u of a block, whose rows of u and delta are `row` bytes apart. */
export function loadSteps(
  u: usize, delta: usize, bias: usize, row: usize, tokens: i32, channels: i32, isSoftplus: i32, dt: usize, x: usize,
): void {
  for (let t = 0; t < tokens; t++) {
    for (let c = 0; c < channels; c += 4) {
      const p = <usize>c << 2, n = channels - c;
      let d = loadLanes(delta + p, n);
      if (bias) d = f32x4.add(d, loadLanes(bias + p, n));
      if (isSoftplus) d = softplus(d);
      v128.store(dt + p, d);
      v128.store(x + p, f32x4.mul(d, loadLanes(u + p, n)));
    }
    u += row; delta += row; dt += PITCH; x += PITCH;
  }
}

/** decays [tokens, N, 8] = 2^(dt A) of a tile of 8 channels. */
export function decayTile(A: usize, dt: usize, tokens: i32, N: i32, decays: usize): void {
  for (let t = 0; t < tokens; t++) {
    const d0 = v128.load(dt), d1 = v128.load(dt, 16);
    let pa = A;
    for (let n = N; n > 0; n--) {
      v128.store(decays, exp2Clamped(f32x4.mul(d0, v128.load(pa))));
      v128.store(decays, exp2Clamped(f32x4.mul(d1, v128.load(pa, 16))), 16);
      pa += TILE; decays += TILE;
    }
    dt += PITCH;
  }
}

// @ts-ignore: decorator
@inline
function scanTile(
  decays: usize, h: usize, next: usize, step: usize, x: usize, y: usize, B: usize, rowB: usize, C: usize, rowC: usize,
  tokens: i32, N: i32, perTokenB: bool, perTokenC: bool,
): void {
  for (let t = 0; t < tokens; t++) {
    const x0 = v128.load(x), x1 = v128.load(x, 16);
    let y0 = f32x4.splat(0), y1 = f32x4.splat(0);
    let ph = h, pn = next, pb = B, pc = C;
    for (let n = N; n > 0; n--) {
      const b0 = perTokenB ? v128.load32_splat(pb) : v128.load(pb), b1 = perTokenB ? b0 : v128.load(pb, 16);
      const h0 = fma(v128.load(decays), v128.load(ph), f32x4.mul(x0, b0));
      const h1 = fma(v128.load(decays, 16), v128.load(ph, 16), f32x4.mul(x1, b1));
      v128.store(pn, h0); v128.store(pn, h1, 16);
      const c0 = perTokenC ? v128.load32_splat(pc) : v128.load(pc), c1 = perTokenC ? c0 : v128.load(pc, 16);
      y0 = fma(c0, h0, y0); y1 = fma(c1, h1, y1);
      decays += TILE; ph += TILE; pn += TILE;
      pb += perTokenB ? 4 : TILE;
      pc += perTokenC ? 4 : TILE;
    }
    v128.store(y, y0); v128.store(y, y1, 16);
    h += step; next += step; x += PITCH; y += PITCH; B += rowB; C += rowC;
  }
}

/**
 * A tile of 8 channels over `tokens` tokens: y [tokens, 64], and from the state h [N, 8] the next one, each `step` bytes
 * after the one before. B and C are [N] per token, rows `rowB` and `rowC` bytes apart, or [N, 8] for all if that is 0.
 */
export function scan(
  decays: usize, h: usize, next: usize, step: usize, x: usize, y: usize, B: usize, rowB: usize, C: usize, rowC: usize,
  tokens: i32, N: i32,
): void {
  if (rowB) {
    if (rowC) scanTile(decays, h, next, step, x, y, B, rowB, C, rowC, tokens, N, true, true);
    else scanTile(decays, h, next, step, x, y, B, rowB, C, 0, tokens, N, true, false);
  } else {
    if (rowC) scanTile(decays, h, next, step, x, y, B, 0, C, rowC, tokens, N, false, true);
    else scanTile(decays, h, next, step, x, y, B, 0, C, 0, tokens, N, false, false);
  }
}

/** out = (y + D u) silu(z) for a block of y [tokens, 64]; D and z may be 0. */
function storeOutputs(
  y: usize, u: usize, z: usize, D: usize, out: usize, row: usize, tokens: i32, channels: i32,
): void {
  for (let t = 0; t < tokens; t++) {
    for (let c = 0; c < channels; c += 4) {
      const p = <usize>c << 2, n = channels - c;
      let v = v128.load(y + p);
      if (D) v = fma(loadLanes(D + p, n), loadLanes(u + p, n), v);
      if (z) v = f32x4.mul(v, silu(loadLanes(z + p, n)));
      storeLanes(out + p, v, n);
    }
    y += PITCH; u += row; out += row;
    if (z) z += row;
  }
}

/**
 * Items [begin, end) of batch, group, block. B and C are [batch, T, G, N] or, with `constantB`, `constantC`, [Dm, N].
 * z, D, bias, initial, last and kept may be 0. `kept` takes the states before every 64th token, [items, chunks, tiles, N, 8],
 * tiles those of a full block. `work` holds A, h, B, C [tiles, N, 8], dt, x, y [32, 64] and decays [32, N, 8].
 */
export function selectiveScan(
  u: usize, delta: usize, z: usize, A: usize, B: usize, C: usize, D: usize, bias: usize, initial: usize,
  out: usize, last: usize, kept: usize, work: usize, T: i32, Dm: i32, N: i32, G: i32,
  constantB: i32, constantC: i32, isSoftplus: i32, begin: i32, end: i32,
): void {
  const grouped = Dm / G, blocks = (grouped + BLOCK - 1) / BLOCK;
  const tiles = (min(grouped, BLOCK) + 7) >> 3, chunks = (T + SPACING - 1) / SPACING;
  const row = <usize>Dm << 2, rowBC = <usize>(G * N) << 2;
  const tile = <usize>N * TILE, stateBytes = <usize>tiles * tile;
  const wA = work, wh = wA + stateBytes, wB = wh + stateBytes, wC = wB + stateBytes;
  const wdt = wC + stateBytes, wx = wdt + TOKENS * PITCH, wy = wx + TOKENS * PITCH, wa = wy + TOKENS * PITCH;
  for (let item = begin; item < end; item++) {
    const block = item % blocks, group = item / blocks % G, batch = item / blocks / G;
    const first = group * grouped + block * BLOCK, channels = min(BLOCK, grouped - block * BLOCK);
    const channel = <usize>first << 2, stateAt = <usize>(batch * Dm + first) * (<usize>N << 2);
    const matrixAt = <usize>first * (<usize>N << 2);
    loadTiles(A + matrixAt, channels, N, tiles, LOG2E, wA);
    loadTiles(initial ? initial + stateAt : 0, channels, N, tiles, 1, wh);
    if (constantB) loadTiles(B + matrixAt, channels, N, tiles, 1, wB);
    if (constantC) loadTiles(C + matrixAt, channels, N, tiles, 1, wC);
    let keep = kept ? kept + <usize>(item * chunks) * stateBytes : 0;
    if (channels & 7) memory.fill(wdt, 0, 2 * TOKENS * PITCH);
    for (let t = 0; t < T; t += TOKENS) {
      if (kept && t % SPACING == 0) {
        memory.copy(keep, wh, stateBytes);
        keep += stateBytes;
      }
      const tokens = min(TOKENS, T - t);
      const at = <usize>(batch * T + t) * row + channel, atBC = <usize>(batch * T + t) * rowBC + (<usize>(group * N) << 2);
      loadSteps(u + at, delta + at, bias ? bias + channel : 0, row, tokens, channels, isSoftplus, wdt, wx);
      for (let c = 0; c < channels; c += 8) {
        const p = <usize>c << 2, s = <usize>(c >> 3) * tile;
        decayTile(wA + s, wdt + p, tokens, N, wa);
        scan(
          wa, wh + s, wh + s, 0, wx + p, wy + p,
          constantB ? wB + s : B + atBC, constantB ? 0 : rowBC, constantC ? wC + s : C + atBC, constantC ? 0 : rowBC,
          tokens, N,
        );
      }
      storeOutputs(wy, u + at, z ? z + at : 0, D ? D + channel : 0, out + at, row, tokens, channels);
    }
    if (last) storeTiles(wh, channels, N, last + stateAt);
  }
}
