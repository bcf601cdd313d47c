import { greatest, powers, scoreRow, SIGMOID } from './topkRouting';

/** Probabilities of a row: its softmax, or its sigmoids divided by their sum, which is returned (1 for softmax). */
// @ts-ignore: decorator
@inline
function probabilities(logits: usize, p: usize, E: i32, scoring: i32): f32 {
  scoreRow(logits, p, E, scoring);
  if (scoring != SIGMOID) return 1;
  let sum: f32 = 0;
  for (let i = 0; i < E; i++) sum += load<f32>(p + (<usize>i << 2));
  for (let i = 0; i < E; i++) {
    const at = p + (<usize>i << 2);
    store<f32>(at, sum == 0 ? 0 : load<f32>(at) / sum);
  }
  return sum;
}

/**
 * out[0] = sum over the rows of logits [groups, rows, E] of weight[row] * sum over e of frequency[group, e] * p_e.
 * One work item. scratch: 4 * E bytes.
 */
export function balanceLoss(
  logits: usize, frequency: usize, weight: usize, out: usize, scratch: usize, groups: i32, rows: i32, E: i32,
  scoring: i32, begin: i32, end: i32,
): void {
  const row = <usize>E << 2;
  let loss: f64 = 0;
  for (let g = 0; g < groups * (end - begin); g++) {
    const f = frequency + <usize>g * row;
    for (let n = g * rows; n < (g + 1) * rows; n++) {
      const w = load<f32>(weight + (<usize>n << 2));
      if (w == 0) continue;
      probabilities(logits + <usize>n * row, scratch, E, scoring);
      let sum: f64 = 0;
      for (let i = 0; i < E; i++) {
        const p = <usize>i << 2;
        sum += <f64>load<f32>(f + p) * <f64>load<f32>(scratch + p);
      }
      loss += <f64>w * sum;
    }
  }
  store<f32>(out, <f32>loss);
}

/** dlogits of `balanceLoss` for rows [begin, end) of all groups; dy is the gradient of the loss. scratch: 4 * E bytes. */
export function balanceLossBackward(
  logits: usize, frequency: usize, weight: usize, dy: usize, dlogits: usize, scratch: usize, rows: i32, E: i32,
  scoring: i32, begin: i32, end: i32,
): void {
  const row = <usize>E << 2;
  for (let n = begin; n < end; n++) {
    const f = frequency + <usize>(n / rows) * row, d = dlogits + <usize>n * row;
    const w: f32 = load<f32>(weight + (<usize>n << 2)) * load<f32>(dy);
    if (w == 0) {
      memory.fill(d, 0, row);
      continue;
    }
    const total = probabilities(logits + <usize>n * row, scratch, E, scoring);
    let mean: f32 = 0;
    for (let i = 0; i < E; i++) {
      const p = <usize>i << 2;
      mean += load<f32>(f + p) * load<f32>(scratch + p);
    }
    for (let i = 0; i < E; i++) {
      const p = <usize>i << 2, share = load<f32>(scratch + p);
      let slope: f32 = share;
      if (scoring == SIGMOID) slope *= 1 - share * total;
      store<f32>(d + p, w * slope * (load<f32>(f + p) - mean));
    }
  }
}

/** log x of a normal x > 0, from the series of log((1 + s) / (1 - s)); the one of the library needs a table. */
function log(x: f64): f64 {
  if (x != x) return x;
  const bits = reinterpret<u64>(x);
  let exponent = i32(bits >> 52) - 1023;
  let m = reinterpret<f64>((bits & 0xfffffffffffff) | 0x3ff0000000000000);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    exponent++;
  }
  const s = (m - 1) / (m + 1), q = s * s;
  const series = 1 + q * (1.0 / 3 + q * (1.0 / 5 + q * (1.0 / 7 + q * (1.0 / 9 + q * (1.0 / 11 + q / 13)))));
  return 2 * s * series + <f64>exponent * 0.6931471805599453;
}

/** log of the sum of e^logits of a row, whose powers are left in p; -Infinity where all logits are. */
// @ts-ignore: decorator
@inline
function logSumExp(logits: usize, p: usize, E: i32): f64 {
  const best = greatest(logits, E);
  if (best == -Infinity) return -Infinity;
  return <f64>best + log(<f64>powers(logits, best, p, E));
}

/** out[0] = sum over rows of logits [rows, E] of weight[row] * logsumexp^2. One work item. scratch: 4 * E bytes. */
export function routerZLoss(
  logits: usize, weight: usize, out: usize, scratch: usize, rows: i32, E: i32, begin: i32, end: i32,
): void {
  let loss: f64 = 0;
  for (let n = 0; n < rows * (end - begin); n++) {
    const w = load<f32>(weight + (<usize>n << 2));
    if (w == 0) continue;
    const z = logSumExp(logits + (<usize>n * <usize>E << 2), scratch, E);
    if (z != -Infinity) loss += <f64>w * z * z;
  }
  store<f32>(out, <f32>loss);
}

/** dlogits of `routerZLoss` for rows [begin, end). scratch: 4 * E bytes. */
export function routerZLossBackward(
  logits: usize, weight: usize, dy: usize, dlogits: usize, scratch: usize, E: i32, begin: i32, end: i32,
): void {
  const row = <usize>E << 2;
  for (let n = begin; n < end; n++) {
    const x = logits + <usize>n * row, d = dlogits + <usize>n * row;
    const w: f32 = load<f32>(weight + (<usize>n << 2)) * load<f32>(dy);
    const z = w == 0 ? -Infinity : logSumExp(x, scratch, E);
    if (z == -Infinity) {
      memory.fill(d, 0, row);
      continue;
    }
    let sum: f32 = 0;
    for (let i = 0; i < E; i++) sum += load<f32>(scratch + (<usize>i << 2));
    const scale: f32 = w * 2 * <f32>z / sum;
    for (let i = 0; i < E; i++) {
      const p = <usize>i << 2;
      store<f32>(d + p, scale * load<f32>(scratch + p));
    }
  }
}

/** out = bias + rate * sign(mean of counts - counts), blocks of experts [begin, end) of one. */
export function updateRouterBias(
  bias: usize, counts: usize, out: usize, E: i32, rate: f32, begin: i32, end: i32,
): void {
  let total: i64 = 0;
  for (let e = 0; e < E; e++) total += <i64>load<i32>(counts + (<usize>e << 2));
  for (let e = begin; e < end; e++) {
    const p = <usize>e << 2;
    const below = total - <i64>E * <i64>load<i32>(counts + p);
    const step: f32 = below > 0 ? rate : below < 0 ? -rate : 0;
    store<f32>(out + p, load<f32>(bias + p) + step);
  }
}
