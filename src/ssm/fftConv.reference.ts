import type { NdArray } from '../op/define';

interface Inputs {
  u?: NdArray;
  k?: NdArray;
  D?: NdArray;
  dy?: NdArray;
}

/** y_t = D u_t + sum over s <= t of k_s u_(t - s), per channel. */
export function fftConvReference({ u, k, D }: Inputs): [y: Float64Array] {
  const [B, T, H] = u!.shape;
  const L = k!.shape[1];
  const y = new Float64Array(B * T * H);
  for (let b = 0; b < B; b++) {
    for (let t = 0; t < T; t++) {
      for (let h = 0; h < H; h++) {
        let sum = D ? D.data[h] * u!.data[(b * T + t) * H + h] : 0;
        for (let s = 0; s <= Math.min(t, L - 1); s++)
          sum += k!.data[h * L + s] * u!.data[(b * T + t - s) * H + h];
        y[(b * T + t) * H + h] = sum;
      }
    }
  }
  return [y];
}

export function fftConvBackwardReference({ u, k, D, dy }: Inputs): Float64Array[] {
  const [B, T, H] = u!.shape;
  const L = k!.shape[1];
  const du = new Float64Array(B * T * H);
  const dk = new Float64Array(H * L);
  const dD = new Float64Array(H);
  for (let b = 0; b < B; b++) {
    for (let t = 0; t < T; t++) {
      for (let h = 0; h < H; h++) {
        const at = (b * T + t) * H + h;
        dD[h] += dy!.data[at] * u!.data[at];
        if (D) du[at] += dy!.data[at] * D.data[h];
        for (let s = 0; s <= Math.min(t, L - 1); s++) {
          du[at - s * H] += dy!.data[at] * k!.data[h * L + s];
          dk[h * L + s] += dy!.data[at] * u!.data[at - s * H];
        }
      }
    }
  }
  return D ? [du, dk, dD] : [du, dk];
}
