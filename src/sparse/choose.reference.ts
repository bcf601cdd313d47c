import type { NdArray } from '../op/define';
import type { ChooseAttrs } from './choose';

type Inputs = { readonly q?: NdArray; readonly k?: NdArray; readonly weights?: NdArray };

/** Score of each block [lo, hi) for the heads of a set, summed. */
function scoresOf(x: Inputs, attrs: ChooseAttrs, b: number, i: number, set: number): number[] {
  const [, T, Hq, D] = x.q!.shape;
  const [, C, Hkv] = x.k!.shape;
  const share = Hq / attrs.sets;
  const [lo, hi] = attrs.plan.subarray(3 * i);
  const sums: number[] = Array(Math.max(hi - lo, 0)).fill(0);
  for (let h = set * share; h < (set + 1) * share; h++) {
    const scores = sums.map((_, n) => {
      const k = ((b * C + lo + n) * Hkv + Math.floor(h / (Hq / Hkv))) * D;
      let score = 0;
      for (let d = 0; d < D; d++) score += x.q!.data[((b * T + i) * Hq + h) * D + d] * x.k!.data[k + d];
      return score * attrs.scale;
    });
    const max = Math.max(...scores);
    const total = scores.reduce((sum, score) => sum + Math.exp(score - max), 0);
    const weight = x.weights?.data[(b * T + i) * Hq + h] ?? 1;
    scores.forEach((score, n) => {
      if (attrs.by === 'probability') sums[n] += Math.exp(score - max) / total;
      else sums[n] += attrs.by === 'relu' ? weight * Math.max(score, 0) : score;
    });
  }
  return sums;
}

/** The `count` blocks with the greatest scores, ascending, ties to the lower one; what is always chosen comes first. */
export function chooseReference(x: Inputs, attrs: ChooseAttrs): number[] {
  const [B, T] = x.q!.shape;
  const chosen: number[] = [];
  for (let b = 0; b < B; b++) {
    for (let i = 0; i < T; i++) {
      const [lo, hi, own] = attrs.plan.subarray(3 * i);
      for (let set = 0; set < attrs.sets; set++) {
        const scores = scoresOf(x, attrs, b, i, set);
        const always = own < 0 ? [] : attrs.by === 'probability' ? [own, lo, Math.max(own - 1, lo)] : [own];
        const rank = (block: number) => (always.includes(block) ? always.indexOf(block) : always.length);
        const value = (block: number) => (Number.isNaN(scores[block - lo]) ? -Infinity : scores[block - lo]);
        const blocks = Array.from({ length: Math.max(hi, own + 1) - lo }, (_, n) => lo + n)
          .sort((a, c) => rank(a) - rank(c) || value(c) - value(a) || a - c)
          .slice(0, attrs.count)
          .sort((a, c) => a - c);
        chosen.push(...blocks, ...Array(attrs.count - blocks.length).fill(-1));
      }
    }
  }
  return chosen;
}
