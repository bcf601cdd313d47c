import type { NdArray } from '../op/define';
import type { HgrnAttrs, HgrnInput } from './hgrn';

type Inputs = { readonly [name in HgrnInput | 'h' | 'dh' | 'dFinal']?: NdArray };

/** Rows of each sequence in the order of the recurrence. */
function* sequences({ offsets, reverse }: HgrnAttrs): Generator<[n: number, tokens: number[]]> {
  for (let n = 0; n + 1 < offsets.length; n++) {
    const tokens = Array.from({ length: offsets[n + 1] - offsets[n] }, (_, i) => offsets[n] + i);
    yield [n, reverse ? tokens.reverse() : tokens];
  }
}

/** h_t = e^(g_t) h_{t-1} + x_t */
export function hgrnReference({ x, g, initialState }: Inputs, attrs: HgrnAttrs): Float64Array[] {
  const D = x!.shape[2];
  const h = new Float64Array(x!.data.length);
  const final = new Float64Array((attrs.offsets.length - 1) * D);
  for (const [n, tokens] of sequences(attrs)) {
    for (let i = 0; i < D; i++) {
      let state = initialState?.data[n * D + i] ?? 0;
      for (const t of tokens) {
        state = Math.exp(g!.data[t * D + i]) * state + x!.data[t * D + i];
        h[t * D + i] = state;
      }
      final[n * D + i] = state;
    }
  }
  return attrs.finalState ? [h, final] : [h];
}

/** R_t = dh_t + e^(g_{t+1}) R_{t+1}, dx = R, dg_t = R_t e^(g_t) h_{t-1}. */
export function hgrnBackwardReference(inputs: Inputs, attrs: HgrnAttrs): Float64Array[] {
  const { x, g, initialState, h, dh, dFinal } = inputs;
  const D = x!.shape[2];
  const [dx, dg] = [new Float64Array(x!.data.length), new Float64Array(x!.data.length)];
  const dInitial = new Float64Array((attrs.offsets.length - 1) * D);
  for (const [n, tokens] of sequences(attrs)) {
    for (let i = 0; i < D; i++) {
      let R = dFinal?.data[n * D + i] ?? 0;
      for (let step = tokens.length - 1; step >= 0; step--) {
        const at = tokens[step] * D + i;
        const before = step > 0 ? h!.data[tokens[step - 1] * D + i] : (initialState?.data[n * D + i] ?? 0);
        R += dh!.data[at];
        dx[at] = R;
        R *= Math.exp(g!.data[at]);
        dg[at] = R * before;
      }
      dInitial[n * D + i] = R;
    }
  }
  return initialState ? [dx, dg, dInitial] : [dx, dg];
}
