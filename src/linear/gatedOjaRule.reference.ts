import type { NdArray } from '../op/define';
import type { OjaAttrs, OjaInput } from './gatedOjaRule';

type Inputs = { readonly [name in OjaInput]?: NdArray };

/** S' = S diag(e^gv), S_t = S' + beta (k - S' v) v^T, o_t = scale S_t^T q_t, and the final states. */
export function gatedOjaRuleReference(
  { q, k, v, gv, beta, initialState }: Inputs,
  { offsets, scale, finalState }: OjaAttrs,
): Float64Array[] {
  const [, , H, K] = k!.shape;
  const V = v!.shape[3];
  const output = new Float64Array(v!.data.length);
  const states = new Float64Array((offsets.length - 1) * H * K * V);
  if (initialState) states.set(initialState.data);
  for (let n = 0; n + 1 < offsets.length; n++) {
    for (let head = 0; head < H; head++) {
      const S = states.subarray((n * H + head) * K * V, (n * H + head + 1) * K * V);
      for (let t = offsets[n]; t < offsets[n + 1]; t++) {
        const row = t * H + head;
        for (let i = 0; i < K; i++) {
          let error = k!.data[row * K + i];
          for (let j = 0; j < V; j++) {
            S[i * V + j] *= Math.exp(gv!.data[row * V + j]);
            error -= S[i * V + j] * v!.data[row * V + j];
          }
          for (let j = 0; j < V; j++) {
            S[i * V + j] += beta!.data[row] * error * v!.data[row * V + j];
            output[row * V + j] += scale * q!.data[row * K + i] * S[i * V + j];
          }
        }
      }
    }
  }
  return finalState ? [output, states] : [output];
}
