import { exp2 } from '../core/exp';
import { columnTile, rowTile } from '../core/tile';
import {
  applyRanges, finiteMax, KEYS, LN2, log, LOG2E, Modifiers, modifies, modifyScore, packRows, rescale,
} from './score';

/**
 * FlashAttention-2 order. A row is one query of one head; the rows of a KV head are numbered query * group + head,
 * so that all its query heads share each packed block of keys and values. A work item is (batch, KV head, block of
 * `rowsPerItem` rows). Eight rows lie in the lanes of a transposed score tile [keys][8], which after exp2 is the
 * left operand of the product with V.
 *
 * scratch: Q [tiles][D][8], O [tiles][8][pitchV], max and sum [tiles][8], ranges [tiles][2][8],
 *          K [KEYS][D], V [KEYS][pitchV], scores [KEYS][8]
 */
export function attentionForward(
  q: usize, k: usize, v: usize, output: usize, lse: usize, ranges: usize, sink: usize, modifiers: usize,
  Tq: i32, Tk: i32, Hq: i32, Hkv: i32, D: i32, Dv: i32, scale: f32, rowsPerItem: i32, scratch: usize,
  begin: i32, end: i32,
): void {
  const mods = changetype<Modifiers>(modifiers);
  const modified = modifies(mods);
  const group = Hq / Hkv, rows = Tq * group;
  const blocks = (rows + rowsPerItem - 1) / rowsPerItem;
  const pitchV = (Dv + 7) & ~7;
  const tiles = rowsPerItem >> 3;
  const Q = scratch;
  const O = Q + (<usize>(tiles * D) << 5);
  const M = O + (<usize>(tiles * pitchV) << 5);
  const L = M + (<usize>tiles << 5);
  const R = L + (<usize>tiles << 5);
  const K = R + (<usize>tiles << 6);
  const V = K + (<usize>(KEYS * D) << 2);
  const S = V + (<usize>(KEYS * pitchV) << 2);
  const rowK = <usize>(Hkv * D) << 2, rowV = <usize>(Hkv * Dv) << 2, rowD = <usize>D << 2;
  const factor: f32 = modified ? scale : scale * LOG2E;

  for (let item = begin; item < end; item++) {
    const block = item % blocks, bh = item / blocks, b = bh / Hkv, kv = bh % Hkv;
    const firstRow = block * rowsPerItem, rowCount = min(rowsPerItem, rows - firstRow);
    const usedTiles = (rowCount + 7) >> 3;
    let itemLo = Tk, itemHi = 0;
    memory.fill(O, 0, <usize>(usedTiles * pitchV) << 5);
    for (let t = 0; t < usedTiles; t++) {
      const lanes = <usize>t << 5, bounds = R + (<usize>t << 6);
      for (let lane = 0; lane < 8; lane++) {
        const r = firstRow + (t << 3) + lane, at = <usize>lane << 2;
        store<f32>(M + lanes + at, -Infinity);
        store<f32>(L + lanes + at, 0);
        // lanes past the last row see what it sees, so that a ragged tile needs no masking
        const i = min(r, rows - 1) / group, h = kv * group + r % group;
        const lo = load<i32>(ranges + <usize>(b * Tq + i) * 12), hi = load<i32>(ranges + <usize>(b * Tq + i) * 12, 4);
        if (r < rows) {
          if (lo < hi) {
            itemLo = min(itemLo, lo);
            itemHi = max(itemHi, hi);
          }
          const src = q + (<usize>((b * Tq + i) * Hq + h) * rowD);
          for (let d = 0; d < D; d++) {
            store<f32>(Q + <usize>t * (rowD << 3) + (<usize>d << 5) + at, load<f32>(src + (<usize>d << 2)) * factor);
          }
        } else {
          for (let d = 0; d < D; d++) store<f32>(Q + <usize>t * (rowD << 3) + (<usize>d << 5) + at, 0);
        }
        store<i32>(bounds + at, lo);
        store<i32>(bounds + at, hi, 32);
      }
    }

    for (let first = itemLo; first < itemHi; first += KEYS) {
      const keys = min(KEYS, itemHi - first), keys4 = (keys + 3) & ~3;
      const source = <usize>(b * Tk + first);
      let keyRows = k + source * rowK + <usize>kv * rowD, keyPitch = rowK;
      let valueRows = v + source * rowV + (<usize>(kv * Dv) << 2), valuePitch = rowV;
      let irregular = false;
      // a single tile (decode) reads a whole block once, so copying it first would only cost
      if (!(usedTiles == 1 && keys == keys4 && pitchV == Dv && !modified && coversBlock(R, rowCount, first, keys))) {
        packRows(keyRows, rowK, K, keys, D, D);
        memory.fill(K + <usize>keys * rowD, 0, <usize>(keys4 - keys) * rowD);
        irregular = packRows(valueRows, rowV, V, keys, Dv, pitchV);
        keyRows = K;
        keyPitch = rowD;
        valueRows = V;
        valuePitch = <usize>pitchV << 2;
      }

      for (let t = 0; t < usedTiles; t++) {
        const lanes = <usize>t << 5, bounds = R + (<usize>t << 6);
        let lo = Tk, hi = 0, fullLo = 0, fullHi = Tk;
        for (let lane = 0; lane < 8; lane++) {
          const l = load<i32>(bounds + (<usize>lane << 2)), u = load<i32>(bounds + (<usize>lane << 2), 32);
          if (l < u) {
            lo = min(lo, l);
            hi = max(hi, u);
          }
          fullLo = max(fullLo, l);
          fullHi = min(fullHi, u);
        }
        if (first >= hi || first + keys <= lo) continue;

        const tileQ = Q + <usize>t * (rowD << 3);
        for (let j = 0; j < keys4; j += 4) {
          rowTile(keyRows + <usize>j * keyPitch, keyPitch, tileQ, 32, D, S + (<usize>j << 5), 32, false); // [4][D] x [D][8]
        }
        if (modified) {
          for (let lane = 0; lane < 8; lane++) {
            const r = firstRow + (t << 3) + lane;
            if (r >= rows) continue;
            const i = r / group, h = kv * group + r % group;
            const range = ranges + <usize>(b * Tq + i) * 12;
            const from = max(load<i32>(range), first), to = min(load<i32>(range, 4), first + keys);
            const own = load<i32>(range, 8);
            for (let j = from; j < to; j++) {
              const p = S + (<usize>(j - first) << 5) + (<usize>lane << 2);
              store<f32>(p, modifyScore(mods, load<f32>(p), b, h, i, j, j - own, Hq, Tk) * LOG2E);
            }
          }
        }
        const partial = first < fullLo || first + keys > fullHi;
        if (partial) applyRanges(S, 32, bounds, bounds + 32, first, keys);

        let m0 = v128.load(M + lanes), m1 = v128.load(M + lanes, 16);
        const old0 = m0, old1 = m1;
        for (let j = 0; j < keys; j++) {
          const p = S + (<usize>j << 5);
          m0 = f32x4.pmax(m0, v128.load(p));
          m1 = f32x4.pmax(m1, v128.load(p, 16));
        }
        v128.store(M + lanes, m0);
        v128.store(M + lanes, m1, 16);
        const base0 = finiteMax(m0), base1 = finiteMax(m1);
        let sum0 = f32x4.splat(0), sum1 = f32x4.splat(0);
        for (let j = 0; j < keys; j++) {
          const p = S + (<usize>j << 5);
          const p0 = exp2(f32x4.sub(v128.load(p), base0)), p1 = exp2(f32x4.sub(v128.load(p, 16), base1));
          sum0 = f32x4.add(sum0, p0);
          sum1 = f32x4.add(sum1, p1);
          v128.store(p, p0);
          v128.store(p, p1, 16);
        }
        const tileO = O + <usize>t * (<usize>pitchV << 5);
        let l0 = v128.load(L + lanes), l1 = v128.load(L + lanes, 16);
        if (v128.any_true(v128.or(f32x4.ne(m0, old0), f32x4.ne(m1, old1)))) {
          const a0 = rescale(old0, base0), a1 = rescale(old1, base1);
          l0 = f32x4.mul(l0, a0);
          l1 = f32x4.mul(l1, a1);
          const alpha = S + (<usize>KEYS << 5);
          v128.store(alpha, a0);
          v128.store(alpha, a1, 16);
          for (let lane = 0; lane < 8; lane++) {
            const a = v128.load32_splat(alpha + (<usize>lane << 2));
            const row = tileO + (<usize>(lane * pitchV) << 2);
            for (let d = 0; d < pitchV; d += 4) {
              v128.store(row + (<usize>d << 2), f32x4.mul(v128.load(row + (<usize>d << 2)), a));
            }
          }
        }
        v128.store(L + lanes, f32x4.add(l0, sum0));
        v128.store(L + lanes, f32x4.add(l1, sum1), 16);
        if (irregular && (partial || modified)) {
          addVisibleValues(S, V, tileO, keys, pitchV);
        } else {
          const rowO = <usize>pitchV << 2;
          for (let d = 0; d < pitchV; d += 8) {
            const column = <usize>d << 2;
            columnTile(S, 32, valueRows + column, valuePitch, keys, tileO + column, rowO, true); // [4][keys] x [keys][8]
            columnTile(S + 16, 32, valueRows + column, valuePitch, keys, tileO + (rowO << 2) + column, rowO, true);
          }
        }
      }
    }

    for (let t = 0; t < usedTiles; t++) {
      finishTile(t, firstRow, rows, group, kv, b, Tq, Hq, Dv, pitchV, sink, O, M, L, output, lse);
    }
  }
}

/** Whether every row of the first tile sees all keys of the block. */
function coversBlock(ranges: usize, rows: i32, first: i32, keys: i32): bool {
  for (let lane = 0; lane < min(rows, 8); lane++) {
    const at = ranges + (<usize>lane << 2);
    if (load<i32>(at) > first || load<i32>(at, 32) < first + keys) return false;
  }
  return true;
}

/** O += P V without the terms whose probability is 0, so that a masked NaN or Infinity in V stays where it is. */
function addVisibleValues(P: usize, V: usize, O: usize, keys: i32, pitchV: i32): void {
  for (let j = 0; j < keys; j++) {
    for (let lane = 0; lane < 8; lane++) {
      const p = load<f32>(P + (<usize>j << 5) + (<usize>lane << 2));
      if (p == 0) continue;
      for (let d = 0; d < pitchV; d++) {
        const at = O + (<usize>(lane * pitchV + d) << 2);
        store<f32>(at, load<f32>(at) + p * load<f32>(V + (<usize>(j * pitchV + d) << 2)));
      }
    }
  }
}

/** output = O / sum, lse = ln 2 (max + log2 sum); the sink is one more logit without a value. */
function finishTile(
  t: i32, firstRow: i32, rows: i32, group: i32, kv: i32, b: i32, Tq: i32, Hq: i32, Dv: i32, pitchV: i32,
  sink: usize, O: usize, M: usize, L: usize, output: usize, lse: usize,
): void {
  for (let lane = 0; lane < 8; lane++) {
    const r = firstRow + (t << 3) + lane;
    if (r >= rows) return;
    const h = kv * group + r % group;
    const at = (<usize>t << 5) + (<usize>lane << 2);
    let m = load<f32>(M + at), l = load<f32>(L + at);
    let weight: f32 = 1;
    if (sink) {
      const logit = load<f32>(sink + (<usize>h << 2)) * LOG2E;
      const top = max<f32>(m, logit);
      weight = m == -Infinity ? 0 : f32x4.extract_lane(exp2(f32x4.splat(m - top)), 0);
      l = l * weight + f32x4.extract_lane(exp2(f32x4.splat(logit - top)), 0);
      m = top;
    }
    const to = <usize>((b * Tq + r / group) * Hq + h);
    const empty = l == 0;
    store<f32>(lse + (to << 2), empty ? <f32>-Infinity : m * LN2 + f32x4.extract_lane(log(f32x4.splat(l)), 0));
    const inverse: f32 = empty ? 0 : weight / l;
    const row = O + (<usize>((t << 3) + lane) * (<usize>pitchV << 2));
    const out = output + to * (<usize>Dv << 2);
    for (let d = 0; d < Dv; d++) store<f32>(out + (<usize>d << 2), load<f32>(row + (<usize>d << 2)) * inverse);
  }
}
