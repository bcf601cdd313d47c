import type { NdArray } from '../op/define';
import type { AttentionAttrs, AttentionInput } from './scaledDotProductAttention.attrs';

type Inputs<I extends string> = { readonly [name in I]?: NdArray };
type BackwardInput = AttentionInput | 'output' | 'lse' | 'dOutput' | 'dLse';

function segmentOf(bounds: readonly number[], i: number): number {
  let segment = 0;
  while (i >= bounds[segment + 1]) segment++;
  return segment;
}

/** Position of query i among the keys, or undefined when key j belongs to another packed sequence. */
function positionOf(
  { causalAlign, queryOffset, cuSeqlens }: AttentionAttrs,
  b: number,
  i: number,
  j: number,
  Tq: number,
  Tk: number,
) {
  if (queryOffset !== undefined) return i + queryOffset[b];
  const q = cuSeqlens?.q ?? [0, Tq];
  const k = cuSeqlens?.k ?? [0, Tk];
  const segment = segmentOf(q, i);
  if (segment !== segmentOf(k, j)) return undefined;
  const surplus = k[segment + 1] - k[segment] - (q[segment + 1] - q[segment]);
  return i - q[segment] + k[segment] + (causalAlign === 'bottom-right' ? surplus : 0);
}

function isVisible(attrs: AttentionAttrs, b: number, own: number, j: number): boolean {
  if (attrs.isCausal && j > own) return false;
  if (attrs.kvLengths !== undefined && j >= attrs.kvLengths[b]) return false;
  if (attrs.window === undefined) return true;
  const [left, right] = attrs.window;
  return j > own - left && j <= own + right;
}

/** Index into a [B|1, H|1, Tq|1, Tk|1] array, or one that lacks leading axes. */
function broadcastIndex(shape: readonly number[], ...indices: number[]): number {
  const own = indices.slice(-shape.length);
  return shape.reduce((at, size, axis) => at * size + (size === 1 ? 0 : own[axis]), 0);
}

/** F_j = g_0 + ... + g_j, of gates [B, Tk, Hq]. */
function gateSums(gate: NdArray | undefined): Float64Array | undefined {
  if (gate === undefined) return undefined;
  const [B, Tk, Hq] = gate.shape;
  const sums = Float64Array.from(gate.data);
  for (let b = 0; b < B; b++) {
    for (let at = (b * Tk + 1) * Hq; at < (b + 1) * Tk * Hq; at++) sums[at] += sums[at - Hq];
  }
  return sums;
}

function sizesOf({ q, k, v }: Inputs<AttentionInput>) {
  const [B, Tq, Hq, D] = q!.shape;
  const [, Tk, Hkv] = k!.shape;
  return { B, Tq, Hq, D, Tk, Hkv, Dv: v!.shape[3], group: Hq / Hkv };
}

/**
 * The keys one query of one head sees, with their scores and, for the gradient, d score / d (scale q k):
 * score = softcap(scale q k) + slope (j - own) + F_own - F_j + bias.
 */
function scoresOf(
  x: Inputs<AttentionInput>,
  attrs: AttentionAttrs,
  F: Float64Array | undefined,
  b: number,
  i: number,
  h: number,
) {
  const { Tq, Hq, D, Tk, Hkv, group } = sizesOf(x);
  const visible: { j: number; own: number; score: number; slope: number }[] = [];
  const q = ((b * Tq + i) * Hq + h) * D;
  for (let j = 0; j < Tk; j++) {
    const own = positionOf(attrs, b, i, j, Tq, Tk);
    if (own === undefined || !isVisible(attrs, b, own, j)) continue;
    if (x.mask !== undefined && x.mask.data[broadcastIndex(x.mask.shape, b, h, i, j)] === 0) continue;
    const k = ((b * Tk + j) * Hkv + Math.floor(h / group)) * D;
    let score = 0;
    for (let d = 0; d < D; d++) score += x.q!.data[q + d] * x.k!.data[k + d];
    score *= attrs.scale;
    let slope = 1;
    if (attrs.softcap > 0) {
      const t = Math.tanh(score / attrs.softcap);
      score = attrs.softcap * t;
      slope = 1 - t * t;
    }
    if (x.alibiSlopes !== undefined) score += x.alibiSlopes.data[h] * (j - own);
    if (F !== undefined) score += F[(b * Tk + own) * Hq + h] - F[(b * Tk + j) * Hq + h];
    if (x.bias !== undefined) score += x.bias.data[broadcastIndex(x.bias.shape, b, h, i, j)];
    visible.push({ j, own, score, slope });
  }
  return visible;
}

/** output = softmax(scores) V and lse = log sum exp(scores), query by query. */
export function scaledDotProductAttentionReference(
  x: Inputs<AttentionInput>,
  attrs: AttentionAttrs,
): [output: Float64Array, lse: Float64Array] {
  const { B, Tq, Hq, Tk, Hkv, Dv, group } = sizesOf(x);
  const output = new Float64Array(B * Tq * Hq * Dv);
  const lse = new Float64Array(B * Tq * Hq);
  const F = gateSums(x.gate);
  for (let b = 0; b < B; b++) {
    for (let i = 0; i < Tq; i++) {
      for (let h = 0; h < Hq; h++) {
        const row = (b * Tq + i) * Hq + h;
        const visible = scoresOf(x, attrs, F, b, i, h);
        const logits = visible.map(({ score }) => score);
        if (x.sink !== undefined) logits.push(x.sink.data[h]);
        const max = Math.max(...logits);
        if (max === Number.NEGATIVE_INFINITY) {
          lse[row] = max;
          continue;
        }
        const sum = logits.reduce((total, logit) => total + Math.exp(logit - max), 0);
        lse[row] = max + Math.log(sum);
        for (const { j, score } of visible) {
          const p = Math.exp(score - max) / sum;
          if (p === 0) continue;
          const v = ((b * Tk + j) * Hkv + Math.floor(h / group)) * Dv;
          for (let d = 0; d < Dv; d++) output[row * Dv + d] += p * x.v!.data[v + d];
        }
      }
    }
  }
  return [output, lse];
}

export interface AttentionGradients {
  q: Float64Array;
  k: Float64Array;
  v: Float64Array;
  bias: Float64Array;
  sink: Float64Array;
  gate: Float64Array;
}

/** With delta = dO O - dlse: dS = P (dO V - delta), dV = P dO, dQ = scale dS K, dK = scale dS Q, dsink = -P_sink delta. */
export function attentionBackwardReference(
  x: Inputs<BackwardInput>,
  attrs: AttentionAttrs,
): AttentionGradients {
  const { B, Tq, Hq, D, Tk, Hkv, Dv, group } = sizesOf(x);
  const dq = new Float64Array(x.q!.data.length);
  const dk = new Float64Array(x.k!.data.length);
  const dv = new Float64Array(x.v!.data.length);
  const dbias = new Float64Array(x.bias?.data.length ?? 0);
  const dsink = new Float64Array(x.sink?.data.length ?? 0);
  const dgate = new Float64Array(x.gate?.data.length ?? 0);
  const F = gateSums(x.gate);
  for (let b = 0; b < B; b++) {
    for (let i = 0; i < Tq; i++) {
      for (let h = 0; h < Hq; h++) {
        const row = (b * Tq + i) * Hq + h;
        const lse = x.lse!.data[row];
        if (lse === Number.NEGATIVE_INFINITY) continue;
        let delta = -x.dLse!.data[row];
        for (let d = 0; d < Dv; d++) delta += x.dOutput!.data[row * Dv + d] * x.output!.data[row * Dv + d];
        if (x.sink !== undefined) dsink[h] -= Math.exp(x.sink.data[h] - lse) * delta;
        for (const { j, own, score, slope } of scoresOf(x, attrs, F, b, i, h)) {
          const p = Math.exp(score - lse);
          if (p === 0) continue;
          const key = (b * Tk + j) * Hkv + Math.floor(h / group);
          let dp = 0;
          for (let d = 0; d < Dv; d++) {
            dp += x.dOutput!.data[row * Dv + d] * x.v!.data[key * Dv + d];
            dv[key * Dv + d] += p * x.dOutput!.data[row * Dv + d];
          }
          const ds = p * (dp - delta);
          if (x.bias !== undefined) dbias[broadcastIndex(x.bias.shape, b, h, i, j)] += ds;
          if (x.gate !== undefined) {
            dgate[(b * Tk + own) * Hq + h] += ds;
            dgate[(b * Tk + j) * Hq + h] -= ds;
          }
          for (let d = 0; d < D; d++) {
            dq[row * D + d] += attrs.scale * slope * ds * x.k!.data[key * D + d];
            dk[key * D + d] += attrs.scale * slope * ds * x.q!.data[row * D + d];
          }
        }
      }
    }
  }
  // from the sums to the gates
  for (let b = 0; x.gate !== undefined && b < B; b++) {
    for (let at = (b + 1) * Tk * Hq - Hq - 1; at >= b * Tk * Hq; at--) dgate[at] += dgate[at + Hq];
  }
  return { q: dq, k: dk, v: dv, bias: dbias, sink: dsink, gate: dgate };
}
