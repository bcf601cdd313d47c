import { exp } from '../core/exp';
import { loadLanes, storeLanes } from '../core/lanes';
import { softplus } from '../core/log';
import { sigmoid } from '../core/silu';
import { sumLanes } from '../core/reduce';

/**
 * gate = -e^A softplus(g + bias), or bound * sigmoid(e^A (g + bias)) when bound is not 0, for heads [begin, end) of
 * g [rows, H, K]; A [H], bias [H, K] or 0.
 */
export function kdaGate(
  g: usize, aLog: usize, bias: usize, gate: usize, rows: i32, H: i32, K: i32, bound: f32, begin: i32, end: i32,
): void {
  for (let h = begin; h < end; h++) {
    const rate = exp(v128.load32_splat(aLog + (<usize>h << 2)));
    for (let r = 0; r < rows; r++) {
      const row = <usize>(r * H + h) * <usize>K << 2;
      for (let k = 0; k < K; k += 4) {
        const at = <usize>k << 2, n = K - k;
        const x = biased(g + row + at, bias, <usize>(h * K) << 2, at, n);
        const y = bound != 0
          ? f32x4.mul(f32x4.splat(bound), sigmoid(f32x4.mul(rate, x)))
          : f32x4.neg(f32x4.mul(rate, softplus(x)));
        storeLanes(gate + row + at, y, n);
      }
    }
  }
}

// @ts-ignore: decorator
@inline
function biased(g: usize, bias: usize, head: usize, at: usize, n: i32): v128 {
  const x = loadLanes(g, n);
  return bias ? f32x4.add(x, loadLanes(bias + head + at, n)) : x;
}

/** Gradients of all three for heads [begin, end); dBias may be 0 with bias. */
export function kdaGateBackward(
  g: usize, aLog: usize, bias: usize, dGate: usize, dg: usize, dA: usize, dBias: usize,
  rows: i32, H: i32, K: i32, bound: f32, begin: i32, end: i32,
): void {
  const one = f32x4.splat(1);
  for (let h = begin; h < end; h++) {
    const rate = exp(v128.load32_splat(aLog + (<usize>h << 2))), head = <usize>(h * K) << 2;
    let sum = f32x4.splat(0);
    for (let k = 0; k < K; k += 4) {
      const at = <usize>k << 2, n = K - k;
      let sumX = f32x4.splat(0);
      for (let r = 0; r < rows; r++) {
        const row = <usize>(r * H + h) * <usize>K << 2;
        const x = biased(g + row + at, bias, head, at, n);
        const dy = loadLanes(dGate + row + at, n);
        let dx: v128;
        if (bound != 0) {
          const s = sigmoid(f32x4.mul(rate, x));
          dx = f32x4.mul(dy, f32x4.mul(f32x4.splat(bound), f32x4.mul(s, f32x4.sub(one, s))));
          sum = f32x4.add(sum, f32x4.mul(f32x4.mul(rate, dx), x));
          dx = f32x4.mul(rate, dx);
        } else {
          dx = f32x4.neg(f32x4.mul(rate, dy));
          sum = f32x4.add(sum, f32x4.mul(dx, softplus(x)));
          dx = f32x4.mul(dx, sigmoid(x));
        }
        sumX = f32x4.add(sumX, dx);
        storeLanes(dg + row + at, dx, n);
      }
      if (dBias) storeLanes(dBias + head + at, sumX, n);
    }
    store<f32>(dA + (<usize>h << 2), sumLanes(sum));
  }
}
