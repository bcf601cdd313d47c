import { fma } from '../core/exp';
import { loadLanes, storeLanes } from '../core/lanes';
import { sumLanes } from '../core/reduce';
import { sigmoid, silu, siluSlope } from '../core/silu';
import { BLOCK, decayTile, loadSteps, loadTiles, LOG2E, PITCH, scan, SPACING, storeTiles, TILE } from './selectiveScan';

// With g_t the gradient in h_t, which is dy_t C_t + a_(t+1) g_(t+1), a_t = exp(delta_t A):
//   dC_t = dy_t h_t,  dB_t = g_t x_t,  dx_t = g_t . B_t,  d(delta_t A) = g_t a_t h_(t-1)
// Chunks of 64 tokens are taken from the last to the first; each is scanned again from the state kept before it.

const LN2: f32 = 0.6931471805599453;

/** dy [tokens, 64] = dout silu(z); z may be 0. */
function loadGradients(
  dout: usize, z: usize, row: usize, tokens: i32, channels: i32, dy: usize,
): void {
  for (let t = 0; t < tokens; t++) {
    for (let c = 0; c < channels; c += 4) {
      const p = <usize>c << 2, n = channels - c;
      const d = loadLanes(dout + p, n);
      v128.store(dy + p, z ? f32x4.mul(d, silu(loadLanes(z + p, n))) : d);
    }
    dout += row; dy += PITCH;
    if (z) z += row;
  }
}

// @ts-ignore: decorator
@inline
function reverseTile(
  decays: usize, states: usize, g: usize, dt: usize, x: usize, dy: usize, A: usize, B: usize, rowB: usize,
  C: usize, rowC: usize, dA: usize, dx: usize, dd: usize, dB: usize, dC: usize, tokens: i32, N: i32,
  perTokenB: bool, perTokenC: bool,
): void {
  const tile = <usize>N * TILE;
  for (let t = tokens - 1; t >= 0; t--) {
    const at = <usize>t * PITCH, slot = <usize>t * tile;
    const dy0 = v128.load(dy + at), dy1 = v128.load(dy + at, 16);
    const dt0 = v128.load(dt + at), dt1 = v128.load(dt + at, 16);
    const x0 = v128.load(x + at), x1 = v128.load(x + at, 16);
    let dx0 = f32x4.splat(0), dx1 = f32x4.splat(0), dd0 = f32x4.splat(0), dd1 = f32x4.splat(0);
    let pa = decays + slot, ph = states + slot, pnext = ph + tile, pg = g, pA = A, pdA = dA;
    let pb = perTokenB ? B + <usize>t * rowB : B, pc = perTokenC ? C + <usize>t * rowC : C;
    let pdB = perTokenB ? dB + (slot >> 1) : dB, pdC = perTokenC ? dC + (slot >> 1) : dC;
    for (let n = N; n > 0; n--) {
      const c0 = perTokenC ? v128.load32_splat(pc) : v128.load(pc), c1 = perTokenC ? c0 : v128.load(pc, 16);
      const g0 = fma(dy0, c0, v128.load(pg)), g1 = fma(dy1, c1, v128.load(pg, 16));
      const q0 = f32x4.mul(g0, v128.load(pa)), q1 = f32x4.mul(g1, v128.load(pa, 16));
      v128.store(pg, q0); v128.store(pg, q1, 16);
      if (perTokenC) {
        v128.store(pdC, fma(dy0, v128.load(pnext), fma(dy1, v128.load(pnext, 16), v128.load(pdC))));
      } else {
        v128.store(pdC, fma(dy0, v128.load(pnext), v128.load(pdC)));
        v128.store(pdC, fma(dy1, v128.load(pnext, 16), v128.load(pdC, 16)), 16);
      }
      if (perTokenB) {
        v128.store(pdB, fma(g0, x0, fma(g1, x1, v128.load(pdB))));
      } else {
        v128.store(pdB, fma(g0, x0, v128.load(pdB)));
        v128.store(pdB, fma(g1, x1, v128.load(pdB, 16)), 16);
      }
      const b0 = perTokenB ? v128.load32_splat(pb) : v128.load(pb), b1 = perTokenB ? b0 : v128.load(pb, 16);
      dx0 = fma(g0, b0, dx0); dx1 = fma(g1, b1, dx1);
      const r0 = f32x4.mul(q0, v128.load(ph)), r1 = f32x4.mul(q1, v128.load(ph, 16));
      dd0 = fma(r0, v128.load(pA), dd0); dd1 = fma(r1, v128.load(pA, 16), dd1);
      v128.store(pdA, fma(r0, dt0, v128.load(pdA))); v128.store(pdA, fma(r1, dt1, v128.load(pdA, 16)), 16);
      pa += TILE; ph += TILE; pnext += TILE; pg += TILE; pA += TILE; pdA += TILE;
      pb += perTokenB ? 4 : TILE;
      pc += perTokenC ? 4 : TILE;
      pdB += perTokenB ? 16 : TILE;
      pdC += perTokenC ? 16 : TILE;
    }
    v128.store(dx + at, dx0); v128.store(dx + at, dx1, 16);
    v128.store(dd + at, dd0); v128.store(dd + at, dd1, 16);
  }
}

/**
 * A tile of 8 channels back over `tokens` tokens: g [N, 8] is the gradient in the state after them and becomes that
 * before them. dx and dd [tokens, 64] are those in x and, but for the factor log2 e of A, in dt as far as decays go.
 * dA is added to; so are dB and dC, [N, 8] or, per token, four lanes whose sum they are, [tokens, N, 4].
 */
function reverse(
  decays: usize, states: usize, g: usize, dt: usize, x: usize, dy: usize, A: usize, B: usize, rowB: usize,
  C: usize, rowC: usize, dA: usize, dx: usize, dd: usize, dB: usize, dC: usize, tokens: i32, N: i32,
): void {
  if (rowB) {
    if (rowC) reverseTile(decays, states, g, dt, x, dy, A, B, rowB, C, rowC, dA, dx, dd, dB, dC, tokens, N, true, true);
    else reverseTile(decays, states, g, dt, x, dy, A, B, rowB, C, 0, dA, dx, dd, dB, dC, tokens, N, true, false);
  } else {
    if (rowC) reverseTile(decays, states, g, dt, x, dy, A, B, 0, C, rowC, dA, dx, dd, dB, dC, tokens, N, false, true);
    else reverseTile(decays, states, g, dt, x, dy, A, B, 0, C, 0, dA, dx, dd, dB, dC, tokens, N, false, false);
  }
}

/** From the rows [tokens, 64] of a block its gradients in u, delta and z, and the sums of those in D and bias [64]. */
function storeGradients(
  u: usize, delta: usize, z: usize, D: usize, bias: usize, dout: usize, dt: usize, y: usize, dy: usize, dx: usize, dd: usize,
  du: usize, ddelta: usize, dz: usize, dD: usize, dbias: usize, row: usize, tokens: i32, channels: i32, isSoftplus: i32,
): void {
  for (let t = 0; t < tokens; t++) {
    const at = <usize>t * row;
    for (let c = 0; c < channels; c += 4) {
      const p = <usize>c << 2, q = at + p, n = channels - c;
      const vu = loadLanes(u + q, n), vdy = v128.load(dy + p), vdx = v128.load(dx + p);
      let vy = v128.load(y + p), vdu = f32x4.mul(vdx, v128.load(dt + p));
      if (D) {
        const skip = loadLanes(D + p, n);
        vy = fma(skip, vu, vy);
        vdu = fma(skip, vdy, vdu);
      }
      storeLanes(du + q, vdu, n);
      v128.store(dD + p, fma(vdy, vu, v128.load(dD + p)));
      let step = fma(vdx, vu, f32x4.mul(v128.load(dd + p), f32x4.splat(LN2)));
      if (isSoftplus) {
        let d = loadLanes(delta + q, n);
        if (bias) d = f32x4.add(d, loadLanes(bias + p, n));
        step = f32x4.mul(step, sigmoid(d));
      }
      storeLanes(ddelta + q, step, n);
      v128.store(dbias + p, f32x4.add(step, v128.load(dbias + p)));
      if (z) {
        const gate = loadLanes(z + q, n);
        storeLanes(dz + q, f32x4.mul(f32x4.mul(loadLanes(dout + q, n), vy), siluSlope(gate, sigmoid(gate))), n);
      }
    }
    dt += PITCH; y += PITCH; dy += PITCH; dx += PITCH; dd += PITCH;
  }
}

/** dst [tokens, N], rows `row` bytes apart, = the sums of four lanes of src [tokens, N, 4]. */
function storeSums(src: usize, tokens: i32, N: i32, dst: usize, row: usize): void {
  for (let t = 0; t < tokens; t++) {
    for (let n = 0; n < N; n++) {
      store<f32>(dst + (<usize>n << 2), sumLanes(v128.load(src)));
      src += 16;
    }
    dst += row;
  }
}

/** dst [n] = src [n] */
// @ts-ignore: decorator
@inline
function copyFloats(dst: usize, src: usize, n: i32): void {
  memory.copy(dst, src, <usize>n << 2);
}

/**
 * Items as in selectiveScan, whose `kept` this reads. dA [batch, Dm, N], dD and dbias [batch, Dm] hold each batch entry's
 * part, dB and dC [blocks, batch, T, G, N] each block's or, where they are constant, [batch, Dm, N] each batch entry's.
 * z, D, bias, dlast, dz, dD, dbias and dinitial may be 0. `work` holds A, g, dA, B, C, dB, dC [tiles, N, 8],
 * decays [64, N, 8], states [65, N, 8], lanes of dB and dC [64, N, 4], dt, x, y, dy, dx, dd [64, 64], dD and dbias [64].
 */
export function selectiveScanBackward(
  u: usize, delta: usize, z: usize, A: usize, B: usize, C: usize, D: usize, bias: usize, kept: usize, dout: usize, dlast: usize,
  du: usize, ddelta: usize, dz: usize, dA: usize, dB: usize, dC: usize, dD: usize, dbias: usize, dinitial: usize, work: usize,
  batches: i32, T: i32, Dm: i32, N: i32, G: i32, constantB: i32, constantC: i32, isSoftplus: i32, begin: i32, end: i32,
): void {
  const grouped = Dm / G, blocks = (grouped + BLOCK - 1) / BLOCK;
  const tiles = (min(grouped, BLOCK) + 7) >> 3, chunks = (T + SPACING - 1) / SPACING;
  const row = <usize>Dm << 2, rowBC = <usize>(G * N) << 2, perBlock = <usize>(batches * T) * rowBC;
  const tile = <usize>N * TILE, stateBytes = <usize>tiles * tile, rowsBytes = <usize>SPACING * PITCH;
  const wA = work, wg = wA + stateBytes, wdA = wg + stateBytes, wB = wdA + stateBytes, wC = wB + stateBytes;
  const wdB = wC + stateBytes, wdC = wdB + stateBytes, wa = wdC + stateBytes, wh = wa + <usize>SPACING * tile;
  const sB = wh + <usize>(SPACING + 1) * tile, sumBytes = <usize>SPACING * (tile >> 1), sC = sB + sumBytes;
  const wdt = sC + sumBytes, wx = wdt + rowsBytes, wy = wx + rowsBytes, wdy = wy + rowsBytes, wdx = wdy + rowsBytes;
  const wdd = wdx + rowsBytes, wdD = wdd + rowsBytes, wdbias = wdD + PITCH;
  for (let item = begin; item < end; item++) {
    const block = item % blocks, group = item / blocks % G, batch = item / blocks / G;
    const first = group * grouped + block * BLOCK, channels = min(BLOCK, grouped - block * BLOCK);
    const channel = <usize>first << 2, matrixAt = <usize>first * (<usize>N << 2);
    const partAt = <usize>(batch * Dm) << 2, stateAt = partAt * <usize>N + matrixAt;
    loadTiles(A + matrixAt, channels, N, tiles, LOG2E, wA);
    loadTiles(dlast ? dlast + stateAt : 0, channels, N, tiles, 1, wg);
    if (constantB) loadTiles(B + matrixAt, channels, N, tiles, 1, wB);
    if (constantC) loadTiles(C + matrixAt, channels, N, tiles, 1, wC);
    memory.fill(wdA, 0, stateBytes);
    memory.fill(wdB, 0, 2 * stateBytes);
    memory.fill(wdD, 0, 2 * PITCH);
    if (channels & 7) memory.fill(wdt, 0, 4 * rowsBytes);
    for (let chunk = chunks - 1; chunk >= 0; chunk--) {
      const t = chunk * SPACING, tokens = min(SPACING, T - t);
      const at = <usize>(batch * T + t) * row + channel, atBC = <usize>(batch * T + t) * rowBC + (<usize>(group * N) << 2);
      const state = kept + <usize>(item * chunks + chunk) * stateBytes;
      loadSteps(u + at, delta + at, bias ? bias + channel : 0, row, tokens, channels, isSoftplus, wdt, wx);
      loadGradients(dout + at, z ? z + at : 0, row, tokens, channels, wdy);
      memory.fill(sB, 0, 2 * sumBytes);
      for (let c = 0; c < channels; c += 8) {
        const p = <usize>c << 2, s = <usize>(c >> 3) * tile;
        const pB = constantB ? wB + s : B + atBC, pC = constantC ? wC + s : C + atBC;
        const stepB = constantB ? 0 : rowBC, stepC = constantC ? 0 : rowBC;
        decayTile(wA + s, wdt + p, tokens, N, wa);
        memory.copy(wh, state + s, tile);
        scan(wa, wh, wh + tile, tile, wx + p, wy + p, pB, stepB, pC, stepC, tokens, N);
        reverse(
          wa, wh, wg + s, wdt + p, wx + p, wdy + p, wA + s, pB, stepB, pC, stepC,
          wdA + s, wdx + p, wdd + p, constantB ? wdB + s : sB, constantC ? wdC + s : sC, tokens, N,
        );
      }
      if (!constantB) storeSums(sB, tokens, N, dB + <usize>block * perBlock + atBC, rowBC);
      if (!constantC) storeSums(sC, tokens, N, dC + <usize>block * perBlock + atBC, rowBC);
      storeGradients(
        u + at, delta + at, z ? z + at : 0, D ? D + channel : 0, bias ? bias + channel : 0, dout + at, wdt, wy, wdy, wdx, wdd,
        du + at, ddelta + at, dz + at, wdD, wdbias, row, tokens, channels, isSoftplus,
      );
    }
    storeTiles(wdA, channels, N, dA + stateAt);
    if (constantB) storeTiles(wdB, channels, N, dB + stateAt);
    if (constantC) storeTiles(wdC, channels, N, dC + stateAt);
    if (dinitial) storeTiles(wg, channels, N, dinitial + stateAt);
    if (dD) copyFloats(dD + partAt + channel, wdD, channels);
    if (dbias) copyFloats(dbias + partAt + channel, wdbias, channels);
  }
}
