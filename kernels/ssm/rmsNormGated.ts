import { loadLanes, storeLanes } from '../core/lanes';
import { sumLanes } from '../core/reduce';
import { sigmoid, silu, siluSlope } from '../core/silu';

// A row of D channels is normalised in groups of `group`. z and weight may be 0 (none).
// Gate first: v = x silu(z), y = v / rms(v) weight. Norm first: v = x, y = v / rms(v) weight silu(z).

// @ts-ignore: decorator
@inline
function gated(x: usize, z: usize, n: i32): v128 {
  const v = loadLanes(x, n);
  return z ? f32x4.mul(v, silu(loadLanes(z, n))) : v;
}

/** Rows [begin, end) of y. */
export function rmsNormGated(
  x: usize, weight: usize, z: usize, y: usize, D: i32, group: i32, eps: f32, normFirst: i32, begin: i32, end: i32,
): void {
  for (let r = begin; r < end; r++) {
    for (let first = 0; first < D; first += group) {
      const at = <usize>(r * D + first) << 2;
      const px = x + at, py = y + at;
      const early = z && !normFirst ? z + at : 0, late = z && normFirst ? z + at : 0;
      let squares = f32x4.splat(0);
      for (let i = 0; i < group; i += 4) {
        const p = <usize>i << 2, n = group - i;
        const v = gated(px + p, early ? early + p : 0, n);
        squares = f32x4.add(squares, f32x4.mul(v, v));
        storeLanes(py + p, v, n);
      }
      const rstd = f32x4.splat(1 / sqrt<f32>(sumLanes(squares) / <f32>group + eps));
      for (let i = 0; i < group; i += 4) {
        const p = <usize>i << 2, n = group - i;
        let v = f32x4.mul(gated(py + p, late ? late + p : 0, n), rstd);
        if (weight) v = f32x4.mul(v, loadLanes(weight + (<usize>(first + i) << 2), n));
        storeLanes(py + p, v, n);
      }
    }
  }
}

/**
 * With n = v / rms(v) and g the gradient in n: dv = (g - n mean(g n)) / rms(v). For blocks [begin, end) of `blockRows` rows;
 * where there is a weight, the block's sum of its gradient goes to row `block` of partial [blocks, D].
 * `work` holds n and g of one group.
 */
export function rmsNormGatedBackward(
  x: usize, weight: usize, z: usize, dy: usize, dx: usize, dz: usize, partial: usize, work: usize,
  rows: i32, blockRows: i32, D: i32, group: i32, eps: f32, normFirst: i32, begin: i32, end: i32,
): void {
  const row = <usize>D << 2;
  const pg = work + (<usize>((group + 3) & ~3) << 2);
  for (let block = begin; block < end; block++) {
    const sums = partial + <usize>block * row;
    if (weight) memory.fill(sums, 0, row);
    const last = min(rows, (block + 1) * blockRows);
    for (let r = block * blockRows; r < last; r++) {
      for (let first = 0; first < D; first += group) {
        const at = <usize>(r * D + first) << 2;
        const px = x + at, pdy = dy + at, pz = z ? z + at : 0;
        const early = normFirst ? 0 : pz, late = normFirst ? pz : 0;
        let squares = f32x4.splat(0);
        for (let i = 0; i < group; i += 4) {
          const p = <usize>i << 2;
          const v = gated(px + p, early ? early + p : 0, group - i);
          squares = f32x4.add(squares, f32x4.mul(v, v));
          v128.store(work + p, v);
        }
        const rstd = f32x4.splat(1 / sqrt<f32>(sumLanes(squares) / <f32>group + eps));
        let products = f32x4.splat(0);
        for (let i = 0; i < group; i += 4) {
          const p = <usize>i << 2, n = group - i, channel = <usize>(first + i) << 2;
          const v = f32x4.mul(v128.load(work + p), rstd);
          const d = gated(pdy + p, late ? late + p : 0, n);
          let g = d;
          if (weight) {
            g = f32x4.mul(d, loadLanes(weight + channel, n));
            storeLanes(sums + channel, f32x4.add(loadLanes(sums + channel, n), f32x4.mul(d, v)), n);
          }
          products = f32x4.add(products, f32x4.mul(g, v));
          v128.store(work + p, v);
          v128.store(pg + p, g);
        }
        const mean = f32x4.splat(sumLanes(products) / <f32>group);
        for (let i = 0; i < group; i += 4) {
          const p = <usize>i << 2, n = group - i, channel = <usize>(first + i) << 2;
          const v = v128.load(work + p);
          const dv = f32x4.mul(rstd, f32x4.sub(v128.load(pg + p), f32x4.mul(v, mean)));
          if (!pz) {
            storeLanes(dx + at + p, dv, n);
            continue;
          }
          const gate = loadLanes(pz + p, n), s = sigmoid(gate);
          if (normFirst) {
            let d = f32x4.mul(loadLanes(pdy + p, n), v);
            if (weight) d = f32x4.mul(d, loadLanes(weight + channel, n));
            storeLanes(dx + at + p, dv, n);
            storeLanes(dz + at + p, f32x4.mul(d, siluSlope(gate, s)), n);
          } else {
            storeLanes(dx + at + p, f32x4.mul(dv, f32x4.mul(gate, s)), n);
            storeLanes(dz + at + p, f32x4.mul(f32x4.mul(dv, loadLanes(px + p, n)), siluSlope(gate, s)), n);
          }
        }
      }
    }
  }
}
