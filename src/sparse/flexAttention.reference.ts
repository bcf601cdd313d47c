import type { NdArray } from '../op/define';
import { FULL, queryBlocks } from './blockTable';
import type { FlexAttrs, FlexBackwardInput, FlexInput } from './flexAttention.attrs';

type Inputs<I extends string> = { readonly [name in I]?: NdArray };

function sizesOf({ q, k, v }: Inputs<FlexInput>) {
  const [B, Tq, Hq, D] = q!.shape;
  const [, Tkv, Hkv] = k!.shape;
  return { B, Tq, Hq, D, Tkv, Hkv, Dv: v!.shape[3], group: Hq / Hkv };
}

/** The keys that query i of head h sees. */
function visibleKeys({ table }: FlexAttrs, b: number, h: number, i: number, Hq: number): number[] {
  const { offsets, runs, bitmaps, blockQ } = table;
  const head = (table.B === 1 ? 0 : b) * table.H + Math.floor((h * table.H) / Hq);
  const row = head * queryBlocks(table) + Math.floor(i / blockQ);
  const keys: number[] = [];
  for (let run = offsets[row]; run < offsets[row + 1]; run++) {
    const [lo, hi, code] = runs.subarray(3 * run, 3 * run + 3);
    for (let j = lo; j < hi; j++) if (code === FULL || bitmaps.has(code, i % blockQ, j - lo)) keys.push(j);
  }
  return keys;
}

/** score = cap(scale q k + before) + after, with the slope of the cap and where the terms of the pair stand. */
function scoresOf(x: Inputs<FlexInput>, attrs: FlexAttrs, b: number, i: number, h: number) {
  const { Tq, Hq, D, Tkv, Hkv, group } = sizesOf(x);
  const q = ((b * Tq + i) * Hq + h) * D;
  return visibleKeys(attrs, b, h, i, Hq).map((j) => {
    const k = ((b * Tkv + j) * Hkv + Math.floor(h / group)) * D;
    const at = h * (Tq + Tkv - 1) + i - j + Tkv - 1;
    let score = 0;
    for (let d = 0; d < D; d++) score += x.q!.data[q + d] * x.k!.data[k + d];
    score = score * attrs.scale + (x.before?.data[at] ?? 0);
    let slope = 1;
    if (attrs.softcap > 0) {
      const t = Math.tanh(score / attrs.softcap);
      score = attrs.softcap * t;
      slope = 1 - t * t;
    }
    return { j, at, slope, score: score + (x.after?.data[at] ?? 0) };
  });
}

/** output = softmax(scores) V and lse = log sum exp(scores) over the visible keys, query by query. */
export function flexAttentionReference(
  x: Inputs<FlexInput>,
  attrs: FlexAttrs,
): [output: Float64Array, lse: Float64Array] {
  const { B, Tq, Hq, Tkv, Hkv, Dv, group } = sizesOf(x);
  const output = new Float64Array(B * Tq * Hq * Dv);
  const lse = new Float64Array(B * Tq * Hq);
  for (let b = 0; b < B; b++) {
    for (let i = 0; i < Tq; i++) {
      for (let h = 0; h < Hq; h++) {
        const row = (b * Tq + i) * Hq + h;
        const visible = scoresOf(x, attrs, b, i, h);
        const max = visible.reduce((most, { score }) => Math.max(most, score), Number.NEGATIVE_INFINITY);
        const sum = visible.reduce((total, { score }) => total + Math.exp(score - max), 0);
        lse[row] = visible.length === 0 ? max : max + Math.log(sum);
        for (const { j, score } of visible) {
          const p = Math.exp(score - max) / sum;
          const v = ((b * Tkv + j) * Hkv + Math.floor(h / group)) * Dv;
          for (let d = 0; d < Dv; d++) output[row * Dv + d] += p * x.v!.data[v + d];
        }
      }
    }
  }
  return [output, lse];
}

/** With delta = dO O - dlse: dS = P (dO V - delta), dV = P dO, dQ = scale dS K, dK = scale dS Q, the terms the sum of dS. */
export function flexBackwardReference(x: Inputs<FlexBackwardInput>, attrs: FlexAttrs): Float64Array[] {
  const { B, Tq, Hq, D, Tkv, Hkv, Dv, group } = sizesOf(x);
  const [dq, dk, dv, dBefore, dAfter] = [x.q, x.k, x.v, x.before, x.after].map(
    (input) => new Float64Array(input?.data.length ?? 0),
  );
  for (let b = 0; b < B; b++) {
    for (let i = 0; i < Tq; i++) {
      for (let h = 0; h < Hq; h++) {
        const row = (b * Tq + i) * Hq + h;
        let delta = -x.dLse!.data[row];
        for (let d = 0; d < Dv; d++) delta += x.dOutput!.data[row * Dv + d] * x.output!.data[row * Dv + d];
        for (const { j, at, score, slope } of scoresOf(x, attrs, b, i, h)) {
          const p = Math.exp(score - x.lse!.data[row]);
          const key = (b * Tkv + j) * Hkv + Math.floor(h / group);
          let dp = 0;
          for (let d = 0; d < Dv; d++) {
            dp += x.dOutput!.data[row * Dv + d] * x.v!.data[key * Dv + d];
            dv[key * Dv + d] += p * x.dOutput!.data[row * Dv + d];
          }
          const dScore = p * (dp - delta);
          if (x.after !== undefined) dAfter[at] += dScore;
          if (x.before !== undefined) dBefore[at] += dScore * slope;
          for (let d = 0; d < D; d++) {
            dq[row * D + d] += attrs.scale * slope * dScore * x.k!.data[key * D + d];
            dk[key * D + d] += attrs.scale * slope * dScore * x.q!.data[row * D + d];
          }
        }
      }
    }
  }
  return [dq, dk, dv, dBefore, dAfter];
}
