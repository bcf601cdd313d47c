import { LOG2E } from '../attention/score';
import { edgeTile, rowTile } from '../core/tile';
import { probabilities } from './choose';

/**
 * mass [B, Hkv, Tk]: how much of the attention of all queries and heads of a KV head falls on each key, or on each
 * distance of a key from the last one its query sees. `ranges` [Tq][2] are the keys [lo, hi) of a query. A work item is
 * (batch, KV head); its rows are numbered query * group + head.
 *
 * workspace: Q^T [D][8], S [Tk][8], ranges [2][8]
 */
export function attentionMass(
  q: usize, k: usize, ranges: usize, mass: usize,
  Tq: i32, Tk: i32, Hq: i32, Hkv: i32, D: i32, scale: f32, byDistance: i32, workspace: usize, begin: i32, end: i32,
): void {
  const group = Hq / Hkv, rows = Tq * group, rowD = <usize>D << 2, rowK = <usize>Hkv * rowD;
  const S = workspace + (rowD << 3), R = S + (<usize>Tk << 5);
  for (let item = begin; item < end; item++) {
    const kv = item % Hkv, b = item / Hkv;
    const keys = k + <usize>(b * Tk * Hkv + kv) * rowD, sums = mass + (<usize>item * <usize>Tk << 2);
    memory.fill(sums, 0, <usize>Tk << 2);
    for (let r = 0; r < rows; r += 8) {
      let n = 0;
      for (let lane = 0; lane < 8; lane++) {
        const row = r + lane, i = min(row, rows - 1) / group, to = workspace + (<usize>lane << 2);
        const from = q + <usize>((b * Tq + i) * Hq + kv * group + row % group) * rowD;
        for (let d = 0; d < D; d++) {
          store<f32>(to + (<usize>d << 5), row < rows ? load<f32>(from + (<usize>d << 2)) * (scale * LOG2E) : 0);
        }
        const lo = load<i32>(ranges + (<usize>i << 3)), hi = row < rows ? load<i32>(ranges + (<usize>i << 3), 4) : lo;
        store<i32>(R + (<usize>lane << 2), lo);
        store<i32>(R + (<usize>lane << 2), hi, 32);
        n = max(n, hi);
      }
      let j = 0;
      for (; j + 4 <= n; j += 4) rowTile(keys + <usize>j * rowK, rowK, workspace, 32, D, S + (<usize>j << 5), 32, false);
      if (j < n) edgeTile(keys + <usize>j * rowK, rowK, 4, workspace, 32, D, S + (<usize>j << 5), 32, n - j, 8, false);
      probabilities(S, 0, n, R);
      for (let lane = 0; lane < 8; lane++) {
        const at = S + (<usize>lane << 2), hi = load<i32>(R + (<usize>lane << 2), 32);
        for (let j = load<i32>(R + (<usize>lane << 2)); j < hi; j++) {
          const p = sums + (<usize>(byDistance ? hi - 1 - j : j) << 2);
          store<f32>(p, load<f32>(p) + load<f32>(at + (<usize>j << 5)));
        }
      }
    }
  }
}
