import { exp } from '../core/exp';
import { dot } from '../core/reduce';
import { prepareRuns, rank, RUN, softmaxRow, takeGreatest } from './topkRouting';

/** scores[e][n] = softmax(logits[n])[e] for rows [begin, end): logits [N, E], scores [E, N]. scratch: 4 * E bytes. */
export function expertScores(
  logits: usize, scores: usize, scratch: usize, N: i32, E: i32, begin: i32, end: i32,
): void {
  for (let n = begin; n < end; n++) {
    softmaxRow(logits + (<usize>n * <usize>E << 2), scratch, E);
    for (let e = 0; e < E; e++) {
      store<f32>(scores + ((<usize>e * <usize>N + <usize>n) << 2), load<f32>(scratch + (<usize>e << 2)));
    }
  }
}

/** The C tokens each expert in [begin, end) scores highest, best first, ties to the lower token. scratch: 5 * (N + 16). */
export function expertChoice(
  scores: usize, weights: usize, tokens: usize, scratch: usize, N: i32, C: i32, begin: i32, end: i32,
): void {
  const runs = (N + RUN - 1) / RUN, maxima = scratch + (<usize>(runs * RUN) << 2);
  for (let e = begin; e < end; e++) {
    const row = scores + (<usize>e * <usize>N << 2), out = <usize>e * <usize>C << 2;
    rank(row, 0, scratch, N, runs * RUN);
    prepareRuns(scratch, maxima, runs);
    for (let c = 0; c < C; c++) {
      const n = takeGreatest(scratch, maxima, runs), at = out + (<usize>c << 2);
      store<i32>(tokens + at, n);
      store<f32>(weights + at, load<f32>(row + (<usize>n << 2)));
    }
  }
}

/** dscores[n][e] = dweights[e][c] where expert e chose token n, else 0; tokens are distinct within an expert. */
export function expertChoiceScatter(
  tokens: usize, dweights: usize, dscores: usize, C: i32, E: i32, begin: i32, end: i32,
): void {
  for (let e = begin; e < end; e++) {
    for (let c = 0; c < C; c++) {
      const at = (<usize>e * <usize>C + <usize>c) << 2;
      const place = <usize>load<i32>(tokens + at) * <usize>E + <usize>e;
      store<f32>(dscores + (place << 2), load<f32>(dweights + at));
    }
  }
}

/** p = softmax(logits) for rows [begin, end) of [rows, E]. */
export function softmaxRows(logits: usize, p: usize, E: i32, begin: i32, end: i32): void {
  for (let n = begin; n < end; n++) {
    const at = <usize>n * <usize>E << 2;
    softmaxRow(logits + at, p + at, E);
  }
}

/** dlogits = p * (dp - p . dp) for rows [begin, end) of [rows, E]; dlogits may be dp. */
export function softmaxRowsBackward(p: usize, dp: usize, dlogits: usize, E: i32, begin: i32, end: i32): void {
  for (let n = begin; n < end; n++) {
    const at = <usize>n * <usize>E << 2;
    const mean = dot(p + at, dp + at, E);
    for (let e = 0; e < E; e++) {
      const i = at + (<usize>e << 2);
      store<f32>(dlogits + i, load<f32>(p + i) * (load<f32>(dp + i) - mean));
    }
  }
}

/** p = softmax over T of logits [batches, T, J] for batches [begin, end). */
export function softmaxColumns(logits: usize, p: usize, T: i32, J: i32, begin: i32, end: i32): void {
  const row = <usize>J << 2;
  for (let b = begin; b < end; b++) {
    const base = <usize>b * <usize>T * row;
    for (let j = 0; j < J; j++) {
      const first = base + (<usize>j << 2);
      let best: f32 = -Infinity;
      for (let t = 0, at = first; t < T; t++, at += row) best = max(best, load<f32>(logits + at));
      let sum: f32 = 0;
      for (let t = 0, at = first; t < T; t++, at += row) {
        const power: f32 = best == -Infinity ? 0 : f32x4.extract_lane(exp(f32x4.splat(load<f32>(logits + at) - best)), 0);
        sum += power;
        store<f32>(p + at, power);
      }
      const scale: f32 = sum == 0 ? 0 : 1 / sum;
      for (let t = 0, at = first; t < T; t++, at += row) store<f32>(p + at, load<f32>(p + at) * scale);
    }
  }
}

/** dlogits of `softmaxColumns` for batches [begin, end). */
export function softmaxColumnsBackward(
  p: usize, dp: usize, dlogits: usize, T: i32, J: i32, begin: i32, end: i32,
): void {
  const row = <usize>J << 2;
  for (let b = begin; b < end; b++) {
    const base = <usize>b * <usize>T * row;
    for (let j = 0; j < J; j++) {
      const first = base + (<usize>j << 2);
      let mean: f32 = 0;
      for (let t = 0, at = first; t < T; t++, at += row) mean += load<f32>(p + at) * load<f32>(dp + at);
      for (let t = 0, at = first; t < T; t++, at += row) {
        store<f32>(dlogits + at, load<f32>(p + at) * (load<f32>(dp + at) - mean));
      }
    }
  }
}

/** out[i] = x[index[i]] for rows [begin, end) of D; an index of -1 gives zeros. */
export function gatherRows(x: usize, index: usize, out: usize, D: i32, begin: i32, end: i32): void {
  const row = <usize>D << 2;
  for (let i = begin; i < end; i++) {
    const from = load<i32>(index + (<usize>i << 2)), to = out + <usize>i * row;
    if (from < 0) memory.fill(to, 0, row);
    else memory.copy(to, x + <usize>from * row, row);
  }
}

/** dy[i] = weight[i] * dout[index[i]] and dweight[i] = y[i] . dout[index[i]] for rows [begin, end); -1 gives zeros. */
export function scatterRowsBackward(
  y: usize, weight: usize, index: usize, dout: usize, dy: usize, dweight: usize, D: i32, begin: i32, end: i32,
): void {
  const row = <usize>D << 2;
  for (let i = begin; i < end; i++) {
    const at = <usize>i << 2, from = load<i32>(index + at), to = dy + <usize>i * row;
    if (from < 0) {
      memory.fill(to, 0, row);
      store<f32>(dweight + at, 0);
      continue;
    }
    const d = dout + <usize>from * row, w = load<f32>(weight + at);
    for (let j = 0; j < D; j++) {
      const p = <usize>j << 2;
      store<f32>(to + p, w * load<f32>(d + p));
    }
    store<f32>(dweight + at, dot(y + <usize>i * row, d, D));
  }
}

/** Runs and maxima of n keys, of which each is the key of a number: the scratch that `best` needs. */
// @ts-ignore: decorator
@inline
function keyBytes(n: i32): usize {
  return <usize>((n + RUN - 1) / RUN) * (RUN * 5);
}

/** Positions of the k greatest of n numbers, best first. */
function best(values: usize, n: i32, k: i32, positions: usize, keys: usize): void {
  const runs = (n + RUN - 1) / RUN, maxima = keys + (<usize>(runs * RUN) << 2);
  rank(values, 0, keys, n, runs * RUN);
  prepareRuns(keys, maxima, runs);
  for (let j = 0; j < k; j++) store<i32>(positions + (<usize>j << 2), takeGreatest(keys, maxima, runs));
}

/**
 * Experts are pairs (i, j), numbered i * n + j, scored a[i] + b[j]: for rows [begin, end) of a and b [rows, n] the k best
 * pairs, which are among the pairs of the k best of each, and the softmax of their scores.
 * scratch: 5 * (max(n, k * k) + 16) + 4 * (k * k + 2 * k) bytes.
 */
export function productKeyRouting(
  a: usize, b: usize, weights: usize, indices: usize, scratch: usize, n: i32, k: i32, begin: i32, end: i32,
): void {
  const sums = scratch + keyBytes(max(n, k * k)), bestA = sums + (<usize>(k * k) << 2), bestB = bestA + (<usize>k << 2);
  for (let r = begin; r < end; r++) {
    const pa = a + (<usize>r * <usize>n << 2), pb = b + (<usize>r * <usize>n << 2);
    const w = weights + (<usize>r * <usize>k << 2), out = indices + (<usize>r * <usize>k << 2);
    best(pa, n, k, bestA, scratch);
    best(pb, n, k, bestB, scratch);
    for (let i = 0; i < k * k; i++) {
      const x = load<f32>(pa + (<usize>load<i32>(bestA + (<usize>(i / k) << 2)) << 2));
      const y = load<f32>(pb + (<usize>load<i32>(bestB + (<usize>(i % k) << 2)) << 2));
      store<f32>(sums + (<usize>i << 2), x + y);
    }
    best(sums, k * k, k, out, scratch);
    for (let j = 0; j < k; j++) {
      const at = <usize>j << 2, pair = load<i32>(out + at);
      store<f32>(w + at, load<f32>(sums + (<usize>pair << 2)));
      const i = load<i32>(bestA + (<usize>(pair / k) << 2));
      store<i32>(out + at, i * n + load<i32>(bestB + (<usize>(pair % k) << 2)));
    }
    softmaxRow(w, w, k);
  }
}

/** da and db [rows, n] of `productKeyRouting` for rows [begin, end). */
export function productKeyRoutingBackward(
  weights: usize, indices: usize, dweights: usize, da: usize, db: usize, n: i32, k: i32, begin: i32, end: i32,
): void {
  const row = <usize>n << 2;
  for (let r = begin; r < end; r++) {
    const pa = da + <usize>r * row, pb = db + <usize>r * row, at = <usize>r * <usize>k << 2;
    memory.fill(pa, 0, row);
    memory.fill(pb, 0, row);
    const mean = dot(weights + at, dweights + at, k);
    for (let j = 0; j < k; j++) {
      const p = at + (<usize>j << 2), pair = load<i32>(indices + p);
      const d: f32 = load<f32>(weights + p) * (load<f32>(dweights + p) - mean);
      const i = pa + (<usize>(pair / n) << 2), l = pb + (<usize>(pair % n) << 2);
      store<f32>(i, load<f32>(i) + d);
      store<f32>(l, load<f32>(l) + d);
    }
  }
}
