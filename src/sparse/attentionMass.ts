import type { Tensor } from '@tensorflow/tfjs-core';
import type { NdArray } from '../op/define';
import { checkFinite, checkMultiple, checkShapes } from '../tensor/shape';
import { defineSparseOp } from './family';

export interface AttentionMassOptions {
  /** Keys in use; default all. */
  kvLength?: number;
  /** Position of query 0 among the keys; default `kvLength - Tq`. A query sees keys up to its own position. */
  queryOffset?: number;
  /** Default `D ** -0.5`. */
  scale?: number;
  /** Sum over keys at one distance from their query rather than over one key; default false. */
  byDistance?: boolean;
}

interface Attrs {
  ranges: Int32Array;
  scale: number;
  byDistance: boolean;
}

const op = defineSparseOp<'q' | 'k', Attrs>({
  name: 'attentionMass',
  outputs: ({ k }) => [[k![0], k![2], k![1]]],
  kernel: ({ input, shape, output, attrs, scratch, workspace, buffer, launch }) => {
    const { ranges, scale, byDistance } = attrs;
    const [B, Tq, Hq, D] = shape.q!;
    const [, Tk, Hkv] = shape.k!;
    const table = scratch(ranges.byteLength);
    new Int32Array(buffer(), table, ranges.length).set(ranges);
    // biome-ignore format: one argument list per line of the entry point
    launch('attentionMass', B * Hkv, input.q, input.k, table, output[0],
      Tq, Tk, Hq, Hkv, D, scale, byDistance ? 1 : 0, workspace(32 * (D + Tk) + 64));
  },
  reference: ({ q, k }, attrs) => [massReference(q!, k!, attrs)],
});

function massReference(q: NdArray, k: NdArray, { ranges, scale, byDistance }: Attrs): Float64Array {
  const [B, Tq, Hq, D] = q.shape;
  const [, Tk, Hkv] = k.shape;
  const mass = new Float64Array(B * Hkv * Tk);
  for (let b = 0; b < B; b++) {
    for (let i = 0; i < Tq; i++) {
      const [lo, hi] = ranges.subarray(2 * i);
      for (let h = 0; h < Hq; h++) {
        const kv = Math.floor(h / (Hq / Hkv));
        const scores = Array.from({ length: Math.max(hi - lo, 0) }, (_, n) => {
          let score = 0;
          for (let d = 0; d < D; d++) {
            score += q.data[((b * Tq + i) * Hq + h) * D + d] * k.data[((b * Tk + lo + n) * Hkv + kv) * D + d];
          }
          return scale * score;
        });
        const max = Math.max(...scores);
        const sum = scores.reduce((total, score) => total + Math.exp(score - max), 0);
        scores.forEach((score, n) => {
          const at = byDistance ? hi - 1 - lo - n : lo + n;
          mass[(b * Hkv + kv) * Tk + at] += Math.exp(score - max) / sum;
        });
      }
    }
  }
  return mass;
}

/**
 * How much of the attention of queries falls on each key, `mass_j = sum over i and h of softmax_j(scale q_hi k_j)` over the
 * queries i and the query heads h of a key head: what cache policies and prefill patterns decide by. No gradient.
 *
 * @param q `[B, Tq, Hq, D]`
 * @param k `[B, Tk, Hkv, D]`
 * @returns `[B, Hkv, Tk]`; with `byDistance` entry d belongs to the keys d before their query
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see Zhang et al., "H2O: Heavy-Hitter Oracle for Efficient Generative Inference of Large Language Models"
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { attentionMass, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 16, 4, 32]);
 * const k = randomNormal([1, 128, 2, 32]);
 * const mass = attentionMass(q, k); // [1, 2, 128]
 * ```
 */
export function attentionMass(q: Tensor, k: Tensor, options: AttentionMassOptions = {}): Tensor {
  const name = 'attentionMass';
  const { Tq, Hq, D, Tk, Hkv } = checkShapes(name, [
    ['q', q, 'B Tq Hq D'],
    ['k', k, 'B Tk Hkv D'],
  ]);
  checkMultiple(name, 'Hq', Hq, 'Hkv', Hkv);
  const { kvLength = Tk, scale = D ** -0.5, byDistance = false } = options;
  if (!Number.isInteger(kvLength) || kvLength < 0 || kvLength > Tk) {
    throw new RangeError(`${name}: kvLength is ${kvLength}; expected an integer from 0 to Tk = ${Tk}`);
  }
  const { queryOffset = kvLength - Tq } = options;
  if (!Number.isInteger(queryOffset))
    throw new RangeError(`${name}: queryOffset must be an integer; got ${queryOffset}`);
  checkFinite(name, 'scale', scale);
  const ranges = new Int32Array(2 * Tq);
  for (let i = 0; i < Tq; i++) ranges[2 * i + 1] = Math.max(0, Math.min(kvLength, queryOffset + i + 1));
  return op.run({ q, k }, { ranges, scale, byDistance })[0];
}
