import { product } from '../core/product';

// States [N, H, K, V] of whole sequences, written and read at once; columns joined to rows; states turned over.

/** S [K, V] = scale sum over tokens of k v^T, for (sequence, value head) items [begin, end). */
export function writeState(
  k: usize, v: usize, S: usize, offsets: usize, H: i32, HV: i32, K: i32, V: i32, scale: f32,
  begin: i32, end: i32,
): void {
  for (let item = begin; item < end; item++) {
    const head = item % HV, bounds = offsets + (<usize>(item / HV) << 2);
    const first = load<i32>(bounds), tokens = load<i32>(bounds, 4) - first;
    product(
      k + (<usize>(first * H * K + head / (HV / H) * K) << 2), 4, <usize>(H * K) << 2,
      v + (<usize>(first * HV * V + head * V) << 2), <usize>(HV * V) << 2, tokens,
      S + (<usize>(item * K * V) << 2), <usize>V << 2, K, V, false,
    );
    if (scale == 1) continue;
    const end = S + (<usize>((item + 1) * K * V) << 2);
    for (let p = S + (<usize>(item * K * V) << 2); p < end; p += 4) store<f32>(p, scale * load<f32>(p));
  }
}

/**
 * y [T, Hy, V] = scale x [T, Hx, K] S [HV, K, V], for (sequence, head of y) items [begin, end); with `turned`, S is [V, K].
 * A head of x serves several of y, or those of x that one of y stands for are summed. `work` holds a state.
 */
export function readState(
  x: usize, S: usize, y: usize, offsets: usize, work: usize,
  Hx: i32, Hy: i32, HV: i32, K: i32, V: i32, scale: f32, turned: i32, begin: i32, end: i32,
): void {
  const group = HV / Hy;
  for (let item = begin; item < end; item++) {
    const sequence = item / Hy, bounds = offsets + (<usize>sequence << 2);
    const first = load<i32>(bounds), tokens = load<i32>(bounds, 4) - first, head = item % Hy;
    const to = y + (<usize>(first * Hy * V + head * V) << 2);
    for (let h = head * group; h < (head + 1) * group; h++) {
      scaledState(S + (<usize>((sequence * HV + h) * K * V) << 2), work, K, V, scale, turned);
      product(
        x + (<usize>(first * Hx * K + h / (HV / Hx) * K) << 2), <usize>(Hx * K) << 2, 4, work, <usize>V << 2, K,
        to, <usize>(Hy * V) << 2, tokens, V, h > head * group,
      );
    }
  }
}

/** dst [K, V] = scale src [K, V], or [V, K] with `turned`. */
function scaledState(src: usize, dst: usize, K: i32, V: i32, scale: f32, turned: i32): void {
  const rowStep = turned ? 1 : V, columnStep = turned ? K : 1;
  for (let k = 0; k < K; k++) {
    for (let v = 0; v < V; v++, dst += 4) {
      store<f32>(dst, scale * load<f32>(src + (<usize>(k * rowStep + v * columnStep) << 2)));
    }
  }
}

/** y [C, R] = x [R, C] turned over, for items [begin, end) of such matrices. */
export function turnStates(x: usize, y: usize, R: i32, C: i32, begin: i32, end: i32): void {
  for (let item = begin; item < end; item++) {
    const at = <usize>(item * R * C) << 2;
    scaledState(x + at, y + at, C, R, 1, 1);
  }
}

/** y [rows, V + 1] = x [rows, V] with a column at its end, of ones if `column` is 0. */
export function joinColumn(x: usize, column: usize, y: usize, V: i32, begin: i32, end: i32): void {
  const size = <usize>V << 2;
  for (let row: usize = begin; row < <usize>end; row++) {
    const to = y + row * (size + 4);
    memory.copy(to, x + row * size, size);
    store<f32>(to + size, column ? load<f32>(column + (row << 2)) : <f32>1);
  }
}

/** The reverse; column may be 0. */
export function splitColumn(y: usize, x: usize, column: usize, V: i32, begin: i32, end: i32): void {
  const size = <usize>V << 2;
  for (let row: usize = begin; row < <usize>end; row++) {
    const from = y + row * (size + 4);
    memory.copy(x + row * size, from, size);
    if (column) store<f32>(column + (row << 2), load<f32>(from + size));
  }
}

/** y [rows, V] = the first V columns of x [rows, V + 1] over (the last + eps). */
export function divideByColumn(x: usize, y: usize, V: i32, eps: f32, begin: i32, end: i32): void {
  for (let row = begin; row < end; row++) {
    const from = x + (<usize>(row * (V + 1)) << 2), to = y + (<usize>(row * V) << 2);
    const by: f32 = <f32>1 / (load<f32>(from + (<usize>V << 2)) + eps);
    for (let j: usize = 0; j < <usize>V << 2; j += 4) store<f32>(to + j, by * load<f32>(from + j));
  }
}

export function divideByColumnBackward(
  x: usize, dy: usize, dx: usize, V: i32, eps: f32, begin: i32, end: i32,
): void {
  for (let row = begin; row < end; row++) {
    const at = <usize>(row * (V + 1)) << 2, last = at + (<usize>V << 2), grad = dy + (<usize>(row * V) << 2);
    const by: f32 = <f32>1 / (load<f32>(x + last) + eps);
    let sum: f32 = 0;
    for (let j: usize = 0; j < <usize>V << 2; j += 4) {
      const d = by * load<f32>(grad + j);
      sum += d * load<f32>(x + at + j);
      store<f32>(dx + at + j, d);
    }
    store<f32>(dx + last, -by * sum);
  }
}
