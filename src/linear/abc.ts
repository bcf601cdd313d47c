import type { Tensor } from '@tensorflow/tfjs-core';
import { tidied } from '../op/tidied';
import { checkShapes } from '../tensor/shape';
import type { AdditiveOptions } from './additive';
import { defineLinearOp } from './family';
import { runSlots } from './gsa';
import { sequenceOffsets } from './recurrent';
import { heapOffsets } from './workspace';

export type AbcOptions = Pick<AdditiveOptions, 'scale' | 'cuSeqlens'>;

interface Attrs {
  /** Bounds of the sequences in the flattened [B T] axis. */
  offsets: readonly number[];
}

const NAME = 'abc';

const channelsOf = ([, , H, M]: readonly number[]) => H * M;

/** y_t = e^(s_t - z_t) and g_t = z_{t-1} - z_t, 0 for the first token, with z the running log-sum-exp of s. */
const gates = defineLinearOp<'s', Attrs>({
  name: 'slotGates',
  outputs: ({ s }) => [s!, s!],
  kernel: (call) => {
    const { input, output, shape, attrs, launch } = call;
    const C = channelsOf(shape.s!);
    const items = (attrs.offsets.length - 1) * Math.ceil(C / 4);
    launch('slotGates', items, input.s, output[0], output[1], heapOffsets(call, attrs.offsets), C);
  },
  reference: ({ s }, { offsets }) => {
    const C = channelsOf(s!.shape);
    const [y, g] = [new Float64Array(s!.data.length), new Float64Array(s!.data.length)];
    for (let n = 0; n + 1 < offsets.length; n++) {
      for (let i = 0; i < C; i++) {
        let z = Number.NEGATIVE_INFINITY;
        for (let t = offsets[n]; t < offsets[n + 1]; t++) {
          const x = s!.data[t * C + i];
          const next = Math.max(z, x) + Math.log1p(Math.exp(-Math.abs(z - x)));
          y[t * C + i] = Math.exp(x - next);
          g[t * C + i] = t === offsets[n] ? 0 : z - next;
          z = next;
        }
      }
    }
    return [y, g];
  },
  saveOutputs: [true, true],
  gradient: ({ outputs: [y, g], dy: [dy, dg], attrs }) => ({
    s: () => backward.run({ y, g, dy, dg }, attrs)[0],
  }),
});

/** c_t = -dy_t y_t - dg_t + dg_{t+1} + e^g_{t+1} c_{t+1}, ds_t = y_t (dy_t + c_t), with dg of the first token 0. */
const backward = defineLinearOp<'y' | 'g' | 'dy' | 'dg', Attrs>({
  name: 'slotGatesBackward',
  outputs: ({ y }) => [y!],
  kernel: (call) => {
    const { input, output, shape, attrs, launch } = call;
    const C = channelsOf(shape.y!);
    const items = (attrs.offsets.length - 1) * Math.ceil(C / 4);
    const { y, g, dy, dg } = input;
    launch('slotGatesBackward', items, y, g, dy, dg, output[0], heapOffsets(call, attrs.offsets), C);
  },
  reference: ({ y, g, dy, dg }, { offsets }) => {
    const C = channelsOf(y!.shape);
    const ds = new Float64Array(y!.data.length);
    for (let n = 0; n + 1 < offsets.length; n++) {
      for (let i = 0; i < C; i++) {
        let carry = 0;
        for (let t = offsets[n + 1] - 1; t >= offsets[n]; t--) {
          const at = t * C + i;
          const gate = t === offsets[n] ? 0 : dg!.data[at];
          const c = carry - gate - dy!.data[at] * y!.data[at];
          ds[at] = y!.data[at] * (dy!.data[at] + c);
          carry = gate + Math.exp(g!.data[at]) * c;
        }
      }
    }
    return [ds];
  },
});

/**
 * Attention with bounded-memory control: M slots, each a running mean of keys and of values weighted by `exp(s)`, read by a
 * softmax over the slots. With z the running log-sum-exp of s it is `gsa` with `exp(s_t - z_t)` and `g_t = z_{t-1} - z_t`.
 *
 * @param q `[B, T, H, K]`
 * @param k `[B, T, H, K]`
 * @param v `[B, T, H, V]`
 * @param s `[B, T, H, M]`, logits of how much of a token each slot takes
 * @param options.scale multiplies the scores; default `K ** -0.5`
 * @param options.cuSeqlens bounds of sequences packed along T, with B = 1
 * @returns `[B, T, H, V]`
 * @throws TypeError, RangeError for a wrong dtype or shape
 * @see Peng et al., "ABC: Attention with Bounded-memory Control", section 3
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { abc, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 64, 4, 16]);
 * const k = randomNormal([1, 64, 4, 16]);
 * const v = randomNormal([1, 64, 4, 32]);
 * const s = randomNormal([1, 64, 4, 8]);
 * const output = abc(q, k, v, s); // [1, 64, 4, 32]
 * ```
 */
export function abc(q: Tensor, k: Tensor, v: Tensor, s: Tensor, options: AbcOptions = {}): Tensor {
  const sizes = checkShapes(NAME, [
    ['q', q, 'B T H K'],
    ['k', k, 'B T H K'],
    ['v', v, 'B T H V'],
    ['s', s, 'B T H M'],
  ]);
  const offsets = sequenceOffsets(NAME, options.cuSeqlens, sizes.B, sizes.T);
  return tidied(() => {
    const [share, g] = gates.run({ s }, { offsets });
    return runSlots(NAME, { q, k, v, s: share, g }, options, sizes) as Tensor;
  });
}
