// Forget gates g [B, Tk, Hq] are logarithms; a score of query i and key j gets F_i - F_j with F their running sums.

/** F [B, Tk, Hq, 2], each the sum of two floats, so that differences are as exact as the gates. A work item is (batch, head). */
export function forgetSums(gate: usize, sums: usize, Tk: i32, Hq: i32, begin: i32, end: i32): void {
  const step = <usize>Hq << 2;
  for (let item = begin; item < end; item++) {
    const at = <usize>(item / Hq * Tk * Hq + item % Hq);
    let p = gate + (at << 2), to = sums + (at << 3);
    let sum: f64 = 0;
    for (let j = 0; j < Tk; j++) {
      sum += load<f32>(p);
      const high = <f32>sum;
      store<f32>(to, high);
      store<f32>(to, <f32>(sum - high), 4);
      p += step;
      to += step << 1;
    }
  }
}

/** dg_j = sum of dF_i over i >= j, from parts [B, Hkv, splits, Tk, group] of dF. A work item is (batch, head). */
export function forgetGradient(
  parts: usize, dgate: usize, Tk: i32, Hq: i32, Hkv: i32, splits: i32, begin: i32, end: i32,
): void {
  const group = Hq / Hkv;
  for (let item = begin; item < end; item++) {
    const b = item / Hq, h = item % Hq;
    const part = parts + (<usize>((b * Hkv + h / group) * splits * Tk * group + h % group) << 2);
    let sum: f64 = 0;
    for (let j = Tk - 1; j >= 0; j--) {
      for (let s = 0; s < splits; s++) sum += load<f32>(part + (<usize>((s * Tk + j) * group) << 2));
      store<f32>(dgate + (<usize>((b * Tk + j) * Hq + h) << 2), <f32>sum);
    }
  }
}
