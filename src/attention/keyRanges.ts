import type { AttentionAttrs } from './scaledDotProductAttention.attrs';

/**
 * For every (batch, query) the keys it may see, [lo, hi), and its own position among the keys: three int32 each.
 * Causality, windows, lengths and packed sequences all come down to such a range; the kernels know nothing else.
 */
export function keyRanges(attrs: AttentionAttrs, B: number, Tq: number, Tk: number): Int32Array {
  const { isCausal, causalAlign, queryOffset, kvLengths, cuSeqlens } = attrs;
  const [left, right] = attrs.window ?? [Infinity, Infinity];
  const table = new Int32Array(B * Tq * 3);
  const segments = cuSeqlens ?? { q: [0, Tq], k: [0, Tk] };
  for (let b = 0; b < B; b++) {
    for (let s = 0; s + 1 < segments.q.length; s++) {
      const [q0, q1] = [segments.q[s], segments.q[s + 1]];
      const [k0, k1] = [segments.k[s], segments.k[s + 1]];
      const aligned = k0 - q0 + (causalAlign === 'bottom-right' ? k1 - k0 - (q1 - q0) : 0);
      const shift = queryOffset?.[b] ?? aligned;
      for (let i = q0; i < q1; i++) {
        const own = i + shift;
        const end = Math.min(k1, kvLengths?.[b] ?? Tk, own + (isCausal ? 0 : right) + 1);
        const at = (b * Tq + i) * 3;
        table[at] = Math.max(k0, own - left + 1);
        table[at + 1] = Math.max(end, table[at]);
        table[at + 2] = own;
      }
    }
  }
  return table;
}
