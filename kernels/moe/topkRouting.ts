import { exp2 } from '../core/exp';
import { orderKey } from '../core/order';
import { sumLanes } from '../core/reduce';
import { sigmoid } from '../core/silu';

// How logits become scores; src/moe/scoring.ts has the same numbers.
const SOFTMAX: i32 = 0;
export const SIGMOID: i32 = 1;
const RELU: i32 = 2;
/** Softmax over the chosen logits only. */
const CHOSEN_SOFTMAX: i32 = 3;

const TAKEN: i32 = i32.MIN_VALUE;

/** Greatest number of a row of E; NaN where there is one, -Infinity when E is 0. */
// @ts-ignore: decorator
@inline
export function greatest(x: usize, E: i32): f32 {
  let m = f32x4.splat(-Infinity);
  let i = 0;
  for (; i + 4 <= E; i += 4) m = f32x4.max(m, v128.load(x + (<usize>i << 2)));
  let best = max(
    max(f32x4.extract_lane(m, 0), f32x4.extract_lane(m, 1)),
    max(f32x4.extract_lane(m, 2), f32x4.extract_lane(m, 3)),
  );
  for (; i < E; i++) best = max(best, load<f32>(x + (<usize>i << 2)));
  return best;
}

/** e^x for x <= 0, which is what a softmax needs; half the instructions of the general one. */
// @ts-ignore: decorator
@inline
function expNegative(x: v128): v128 {
  return exp2(f32x4.mul(x, f32x4.splat(1.4426950408889634)));
}

/** x = e^(x - shift) on n numbers, and their sum. */
// @ts-ignore: decorator
@inline
export function powers(from: usize, shift: f32, to: usize, n: i32): f32 {
  const m = f32x4.splat(shift);
  let sums = f32x4.splat(0);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = <usize>i << 2, e = expNegative(f32x4.sub(v128.load(from + at), m));
    sums = f32x4.add(sums, e);
    v128.store(to + at, e);
  }
  let sum = sumLanes(sums);
  for (; i < n; i++) {
    const at = <usize>i << 2;
    const e = f32x4.extract_lane(expNegative(f32x4.sub(v128.load32_splat(from + at), m)), 0);
    sum += e;
    store<f32>(to + at, e);
  }
  return sum;
}

/** p = softmax(logits) on a row of E: zeros where all logits are -Infinity, NaN where one is NaN or +Infinity. */
export function softmaxRow(logits: usize, p: usize, E: i32): void {
  const best = greatest(logits, E);
  if (best == -Infinity) {
    memory.fill(p, 0, <usize>E << 2);
    return;
  }
  const sum = powers(logits, best, p, E);
  const scale: f32 = 1 / sum;
  let i = 0;
  for (; i + 4 <= E; i += 4) {
    const at = p + (<usize>i << 2);
    v128.store(at, f32x4.mul(v128.load(at), f32x4.splat(scale)));
  }
  for (; i < E; i++) {
    const at = p + (<usize>i << 2);
    store<f32>(at, load<f32>(at) * scale);
  }
}

// @ts-ignore: decorator
@inline
function score(x: v128, scoring: i32): v128 {
  if (scoring == SIGMOID) return sigmoid(x);
  if (scoring == RELU) return v128.andnot(x, f32x4.lt(x, f32x4.splat(0)));
  return x;
}

/** Scores of a row: probabilities, sigmoids, positive parts or the logits themselves. */
export function scoreRow(logits: usize, scores: usize, E: i32, scoring: i32): void {
  if (scoring == SOFTMAX) return softmaxRow(logits, scores, E);
  let i = 0;
  for (; i + 4 <= E; i += 4) {
    const p = <usize>i << 2;
    v128.store(scores + p, score(v128.load(logits + p), scoring));
  }
  for (; i < E; i++) {
    const p = <usize>i << 2;
    store<f32>(scores + p, f32x4.extract_lane(score(v128.load32_splat(logits + p), scoring), 0));
  }
}

// Keys come in runs of 16, and the lane-wise maxima of each run are kept beside them: taking the greatest looks at one
// vector per run and at one run.
export const RUN: i32 = 16;
const RUN_BYTES: usize = 64;

// @ts-ignore: decorator
@inline
function runMaximum(run: usize): v128 {
  return i32x4.max_s(
    i32x4.max_s(v128.load(run), v128.load(run, 16)), i32x4.max_s(v128.load(run, 32), v128.load(run, 48)),
  );
}

// @ts-ignore: decorator
@inline
export function prepareRuns(keys: usize, maxima: usize, runs: i32): void {
  for (let r: usize = 0; r < <usize>runs; r++) v128.store(maxima + (r << 4), runMaximum(keys + r * RUN_BYTES));
}

/** Position of the greatest key, the lowest of equals; it becomes `TAKEN`. */
// @ts-ignore: decorator
@inline
export function takeGreatest(keys: usize, maxima: usize, runs: i32): i32 {
  let m = v128.load(maxima);
  for (let r: usize = 1; r < <usize>runs; r++) m = i32x4.max_s(m, v128.load(maxima + (r << 4)));
  m = i32x4.max_s(m, v128.shuffle<i32>(m, m, 2, 3, 0, 1));
  m = i32x4.max_s(m, v128.shuffle<i32>(m, m, 1, 0, 3, 2));
  // no branch depends on where it is: a wrong guess would cost more than looking everywhere
  let r: usize = 0;
  for (let first: usize = 0; first < <usize>runs; first += 64) {
    const count = min<usize>(64, <usize>runs - first);
    let found: u64 = 0;
    for (let i: usize = 0; i < count; i++) {
      const equal = i32x4.eq(v128.load(maxima + ((first + i) << 4)), m);
      found |= u64(v128.any_true(equal)) << u64(i);
    }
    if (found != 0) {
      r = first + <usize>ctz(found);
      break;
    }
  }
  const run = keys + r * RUN_BYTES;
  const equal = i32x4.bitmask(i32x4.eq(v128.load(run), m)) | (i32x4.bitmask(i32x4.eq(v128.load(run, 16), m)) << 4) |
    (i32x4.bitmask(i32x4.eq(v128.load(run, 32), m)) << 8) | (i32x4.bitmask(i32x4.eq(v128.load(run, 48), m)) << 12);
  const at = run + (<usize>ctz(equal) << 2);
  store<i32>(at, TAKEN);
  v128.store(maxima + (r << 4), runMaximum(run));
  return i32((at - keys) >> 2);
}

/** Marks as taken all experts outside of the best `kept` of `groups` equal runs of experts. scratch as for the keys. */
function keepBestGroups(
  scores: usize, bias: usize, keys: usize, scratch: usize, E: i32, groups: i32, kept: i32, bestOnly: bool,
): void {
  const size = E / groups, runs = (groups + RUN - 1) / RUN;
  const groupKeys = scratch, maxima = groupKeys + <usize>runs * RUN_BYTES;
  for (let g = 0; g < groups; g++) {
    let first: f32 = -Infinity, second: f32 = -Infinity;
    for (let i = g * size; i < (g + 1) * size; i++) {
      let x = load<f32>(scores + (<usize>i << 2));
      if (bias) x += load<f32>(bias + (<usize>i << 2));
      if (x > first) { second = first; first = x; }
      else if (x > second) second = x;
    }
    const score = bestOnly || size == 1 ? first : first + second;
    store<i32>(groupKeys + (<usize>g << 2), i32x4.extract_lane(orderKey(f32x4.splat(score)), 0));
  }
  for (let g = groups; g < runs * RUN; g++) store<i32>(groupKeys + (<usize>g << 2), TAKEN);
  prepareRuns(groupKeys, maxima, runs);
  for (let n = 0; n < kept; n++) takeGreatest(groupKeys, maxima, runs);
  for (let g = 0; g < groups; g++) {
    if (load<i32>(groupKeys + (<usize>g << 2)) == TAKEN) continue;
    for (let i = g * size; i < (g + 1) * size; i++) store<i32>(keys + (<usize>i << 2), TAKEN);
  }
}

/** Keys of scores + bias (0: none), filled up with `TAKEN`; false when one of the scores is NaN. */
// @ts-ignore: decorator
@inline
export function rank(scores: usize, bias: usize, keys: usize, E: i32, padded: i32): bool {
  let numbers = i32x4.splat(-1);
  let i = 0;
  for (; i + 4 <= E; i += 4) {
    const p = <usize>i << 2;
    let x = v128.load(scores + p);
    numbers = v128.and(numbers, f32x4.eq(x, x));
    if (bias) x = f32x4.add(x, v128.load(bias + p));
    v128.store(keys + p, orderKey(x));
  }
  for (; i < E; i++) {
    const p = <usize>i << 2;
    let x = v128.load32_splat(scores + p);
    numbers = v128.and(numbers, f32x4.eq(x, x));
    if (bias) x = f32x4.add(x, v128.load32_splat(bias + p));
    store<i32>(keys + p, i32x4.extract_lane(orderKey(x), 0));
  }
  for (; i < padded; i++) store<i32>(keys + (<usize>i << 2), TAKEN);
  return i32x4.all_true(numbers);
}

/** Weights of the chosen of one row from its scores (for CHOSEN_SOFTMAX its logits); -1 gets 0. */
// @ts-ignore: decorator
@inline
function weighChosen(
  scores: usize, indices: usize, weights: usize, k: i32, scoring: i32, normalize: bool, scale: f32,
): void {
  let best: f32 = -Infinity;
  for (let j = 0; j < k; j++) {
    const p = <usize>j << 2, index = load<i32>(indices + p);
    const score: f32 = index < 0 ? (scoring == CHOSEN_SOFTMAX ? -Infinity : 0) : load<f32>(scores + (<usize>index << 2));
    store<f32>(weights + p, score);
    best = max(best, score);
  }
  let factor = scale;
  if (scoring == CHOSEN_SOFTMAX) {
    if (best == -Infinity) {
      memory.fill(weights, 0, <usize>k << 2);
      return;
    }
    factor = scale / powers(weights, best, weights, k);
  } else if (normalize) {
    let sum: f32 = 0;
    for (let j = 0; j < k; j++) sum += load<f32>(weights + (<usize>j << 2));
    factor = sum == 0 ? 0 : scale / sum;
  }
  for (let j = 0; j < k; j++) {
    const p = weights + (<usize>j << 2);
    store<f32>(p, load<f32>(p) * factor);
  }
}

/**
 * The k best experts of every row in [begin, end) of logits [rows, E], best first, ties to the lower index, and their
 * weights. bias [E] or 0 takes part in the choice only. scratch: 14 * (E + 16) bytes.
 */
export function topkRouting(
  logits: usize, bias: usize, weights: usize, indices: usize, scratch: usize, E: i32, k: i32, scoring: i32,
  normalize: i32, scale: f32, groups: i32, keptGroups: i32, bestOnly: i32, begin: i32, end: i32,
): void {
  const runs = (E + RUN - 1) / RUN, padded = runs * RUN;
  const keys = scratch, maxima = keys + (<usize>padded << 2), scores = maxima + (<usize>runs << 4);
  const groupScratch = scores + (<usize>padded << 2);
  // probabilities divided by the sum of the chosen ones are a softmax of the chosen logits, unless one is NaN
  const mode = scoring == SOFTMAX && normalize && !bias && groups == 1 ? CHOSEN_SOFTMAX : scoring;
  for (let row = begin; row < end; row++) {
    const x = logits + (<usize>row * <usize>E << 2), chosen = indices + (<usize>row * <usize>k << 2);
    let from = scores;
    if (mode == CHOSEN_SOFTMAX) from = x;
    else scoreRow(x, scores, E, mode);
    // without a bias the logits are in the order of the scores, and free of their rounding
    const numbers = rank(bias || groups > 1 ? from : x, bias, keys, E, padded);
    if (groups > 1) keepBestGroups(from, bias, keys, groupScratch, E, groups, keptGroups, bestOnly != 0);
    prepareRuns(keys, maxima, runs);
    for (let j = 0; j < k; j++) store<i32>(chosen + (<usize>j << 2), takeGreatest(keys, maxima, runs));
    const w = weights + (<usize>row * <usize>k << 2);
    if (numbers || mode == scoring) weighChosen(from, chosen, w, k, mode, normalize != 0, scale);
    else for (let j = 0; j < k; j++) store<f32>(w + (<usize>j << 2), NaN);
  }
}

/** Weights of given choices, indices [rows, k] with -1 for none. scratch: 4 * E bytes. */
export function routingWeights(
  logits: usize, indices: usize, weights: usize, scratch: usize, E: i32, k: i32, scoring: i32, normalize: i32,
  scale: f32, begin: i32, end: i32,
): void {
  for (let row = begin; row < end; row++) {
    const x = logits + (<usize>row * <usize>E << 2), at = <usize>row * <usize>k << 2;
    let scores = x;
    if (scoring != CHOSEN_SOFTMAX) {
      scoreRow(x, scratch, E, scoring);
      scores = scratch;
    }
    weighChosen(scores, indices + at, weights + at, k, scoring, normalize != 0, scale);
  }
}

/** dlogits [rows, E] of `routingWeights` from dweights [rows, k]. scratch: 4 * (E + 2 k) bytes. */
export function routingWeightsBackward(
  logits: usize, indices: usize, dweights: usize, dlogits: usize, scratch: usize, E: i32, k: i32, scoring: i32,
  normalize: i32, scale: f32, begin: i32, end: i32,
): void {
  const scores = scratch, share = scores + (<usize>E << 2), dscore = share + (<usize>k << 2);
  for (let row = begin; row < end; row++) {
    const x = logits + (<usize>row * <usize>E << 2), dx = dlogits + (<usize>row * <usize>E << 2);
    const chosen = indices + (<usize>row * <usize>k << 2), dw = dweights + (<usize>row * <usize>k << 2);
    let from = x;
    if (scoring != CHOSEN_SOFTMAX) {
      scoreRow(x, scores, E, scoring);
      from = scores;
    }
    memory.fill(dx, 0, <usize>E << 2);
    // shares of the sum and their mean gradient; without a sum the scores stand for themselves
    weighChosen(from, chosen, share, k, scoring, normalize != 0, 1);
    const summed = normalize || scoring == CHOSEN_SOFTMAX;
    let mean: f32 = 0, sum: f32 = 0;
    for (let j = 0; j < k; j++) {
      const p = <usize>j << 2, index = load<i32>(chosen + p);
      if (index < 0) continue;
      mean += load<f32>(share + p) * load<f32>(dw + p) * scale;
      sum += load<f32>(from + (<usize>index << 2));
    }
    let across: f32 = 0;
    for (let j = 0; j < k; j++) {
      const p = <usize>j << 2, index = load<i32>(chosen + p);
      if (index < 0) continue;
      const to = dx + (<usize>index << 2), w = load<f32>(share + p);
      let d: f32 = load<f32>(dw + p) * scale;
      if (summed) d -= mean;
      // through softmax, share * d is complete: the part of the sum over all experts cancels
      if (scoring == CHOSEN_SOFTMAX || (scoring == SOFTMAX && summed)) {
        store<f32>(to, load<f32>(to) + w * d);
        continue;
      }
      if (summed) d = sum == 0 ? 0 : d / sum;
      const s = load<f32>(scores + (<usize>index << 2));
      if (scoring == SOFTMAX) {
        across += s * d;
        store<f32>(to, load<f32>(to) + s * d);
      } else if (scoring == SIGMOID) store<f32>(to, load<f32>(to) + s * (1 - s) * d);
      else if (s > 0) store<f32>(to, load<f32>(to) + d);
    }
    if (scoring == SOFTMAX && !summed) {
      for (let i = 0; i < E; i++) {
        const p = <usize>i << 2;
        store<f32>(dx + p, load<f32>(dx + p) - load<f32>(scores + p) * across);
      }
    }
  }
}
