import { LOG2E } from '../attention/score';
import { tanh } from '../core/tanh';

/**
 * What changes a score besides q k, all in units of log 2: before + cap + after. A table holds the terms of one set of
 * `share` heads that differ by distance only, [Tq + Tkv - 1][share] by query - key + Tkv - 1, so that the eight rows of
 * a tile (row = query * share + head) read eight neighbours. Pointers of 0 mean absent.
 */
@unmanaged
export class ScoreMods {
  before: usize;
  after: usize;
  softcap: f32;
}

/** Bytes of one table: eight floats more than it has, because tiles read whole lanes. */
// @ts-ignore: decorator
@inline
export function tableBytes(Tq: i32, Tkv: i32, share: i32): usize {
  return (<usize>(Tq + Tkv - 1) * share + 8) << 2;
}

/** Where the table has the terms of row and key. */
// @ts-ignore: decorator
@inline
export function termsOf(table: usize, row: i32, key: i32, Tkv: i32, share: i32): usize {
  return table + (<usize>(row + (Tkv - 1 - key) * share) << 2);
}

/** Tables [Hq][Tq + Tkv - 1] to tables of sets of heads in units of log 2; items are sets of heads. */
export function layTerms(
  from: usize, to: usize, Tq: i32, Tkv: i32, share: i32, begin: i32, end: i32,
): void {
  const length = Tq + Tkv - 1;
  for (let set = begin; set < end; set++) {
    const table = to + <usize>set * tableBytes(Tq, Tkv, share);
    for (let g = 0; g < share; g++) {
      const row = from + (<usize>(set * share + g) * length << 2);
      for (let i = 0; i < length; i++) {
        store<f32>(table + (<usize>(i * share + g) << 2), load<f32>(row + (<usize>i << 2)) * LOG2E);
      }
    }
    memory.fill(table + (<usize>length * share << 2), 0, 32);
  }
}

/** Sums the gradients [B][sets] of tables over the batch, back to [Hq][Tq + Tkv - 1]; items are sets of heads. */
export function gatherTerms(
  from: usize, to: usize, B: i32, sets: i32, Tq: i32, Tkv: i32, share: i32, begin: i32, end: i32,
): void {
  const length = Tq + Tkv - 1, bytes = tableBytes(Tq, Tkv, share);
  for (let set = begin; set < end; set++) {
    for (let g = 0; g < share; g++) {
      const row = to + (<usize>(set * share + g) * length << 2);
      for (let i = 0; i < length; i++) {
        let sum: f32 = 0;
        for (let b = 0; b < B; b++) {
          sum += load<f32>(from + <usize>(b * sets + set) * bytes + (<usize>(i * share + g) << 2));
        }
        store<f32>(row + (<usize>i << 2), sum);
      }
    }
  }
}

/** Applies the modifications to S [keys][8]; `row` and `key` are those of the tile's first. */
export function modify(mods: ScoreMods, S: usize, keys: i32, row: i32, key: i32, Tkv: i32, set: i32, Tq: i32, share: i32): void {
  const down = <usize>share << 2;
  const inverse = f32x4.splat(1 / (mods.softcap * LOG2E)), scaled = f32x4.splat(mods.softcap * LOG2E);
  const table = <usize>set * tableBytes(Tq, Tkv, share);
  let before = termsOf(mods.before + table, row, key, Tkv, share);
  let after = termsOf(mods.after + table, row, key, Tkv, share);
  for (let j = 0; j < keys; j++) {
    const p = S + (<usize>j << 5);
    let s0 = v128.load(p), s1 = v128.load(p, 16);
    if (mods.before) {
      s0 = f32x4.add(s0, v128.load(before));
      s1 = f32x4.add(s1, v128.load(before, 16));
      before -= down;
    }
    if (mods.softcap > 0) {
      s0 = f32x4.mul(scaled, tanh(f32x4.mul(s0, inverse)));
      s1 = f32x4.mul(scaled, tanh(f32x4.mul(s1, inverse)));
    }
    if (mods.after) {
      s0 = f32x4.add(s0, v128.load(after));
      s1 = f32x4.add(s1, v128.load(after, 16));
      after -= down;
    }
    v128.store(p, s0);
    v128.store(p, s1, 16);
  }
}

/** terms[h][i] = added[h][i] + weights[i] * parameters[h * head + columns[i] * column]; items are heads. */
export function positionTerms(
  parameters: usize, added: usize, terms: usize, columns: usize, weights: usize, length: i32, head: i32, column: i32,
  begin: i32, end: i32,
): void {
  for (let h = begin; h < end; h++) {
    const row = <usize>(h * length) << 2;
    for (let i = 0; i < length; i++) {
      const at = <usize>i << 2;
      const parameter = load<f32>(parameters + (<usize>(h * head + load<i32>(columns + at) * column) << 2));
      const term = load<f32>(weights + at) * parameter;
      store<f32>(terms + row + at, added ? load<f32>(added + row + at) + term : term);
    }
  }
}

/** Gradient of the parameters, summed in float64; workspace: [count] of them. */
export function positionTermsBackward(
  dTerms: usize, dParameters: usize, columns: usize, weights: usize, length: i32, count: i32, head: i32, column: i32,
  workspace: usize, begin: i32, end: i32,
): void {
  for (let h = begin; h < end; h++) {
    memory.fill(workspace, 0, <usize>count << 3);
    for (let i = 0; i < length; i++) {
      const at = <usize>i << 2, to = workspace + (<usize>load<i32>(columns + at) << 3);
      const term = load<f32>(weights + at) * load<f32>(dTerms + (<usize>(h * length) << 2) + at);
      store<f64>(to, load<f64>(to) + <f64>term);
    }
    for (let c = 0; c < count; c++) {
      store<f32>(dParameters + (<usize>(h * head + c * column) << 2), <f32>load<f64>(workspace + (<usize>c << 3)));
    }
  }
}
