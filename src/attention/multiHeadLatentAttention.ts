import type { Tensor } from '@tensorflow/tfjs-core';
import type { AttentionKernels } from '../generated/attention';
import type { KernelCall, Shape } from '../op/define';
import { checkShapes } from '../tensor/shape';
import { attentionBackwardKernel, attentionKernel } from './attentionOp';
import { defineAttentionOp } from './family';
import {
  type LatentBackwardInput,
  type LatentInput,
  multiHeadLatentAttentionBackwardReference,
  multiHeadLatentAttentionReference,
} from './multiHeadLatentAttention.reference';
import { type AttentionOptions, attentionAttrs, broadcastOver } from './scaledDotProductAttention';
import type { AttentionAttrs } from './scaledDotProductAttention.attrs';

export interface LatentAttentionOptions
  extends Pick<
    AttentionOptions,
    'isCausal' | 'causalAlign' | 'queryOffset' | 'mask' | 'window' | 'kvLengths'
  > {
  /** Default `(Dn + Dr) ** -0.5`. */
  scale?: number;
  /** Whether queries read the latents themselves instead of expanded keys and values; default `'auto'`, by flops. */
  absorb?: boolean | 'auto';
}

interface LatentAttrs extends AttentionAttrs {
  absorb: boolean;
}
type Call<I extends LatentInput> = KernelCall<I, LatentAttrs, AttentionKernels>;

const NAME = 'multiHeadLatentAttention';
/** Rows of a work item of `projectRows`. */
const BLOCK_ROWS = 128;

function sizesOf(shape: { readonly [name in LatentInput]?: Shape }) {
  const [B, Tq, H, Dn] = shape.qNope!;
  const [, Tk, C] = shape.latent!;
  const Dr = shape.qRope![3];
  const N = shape.kvUp![1];
  return { B, Tq, H, Dn, Dr, Tk, C, N, Dv: N - Dn, D: Dn + Dr };
}

/** Copies rows of `width` numbers to another pitch, each row `repeat` times. */
function copy<I extends LatentInput>(
  { launch }: Call<I>,
  rows: number,
  width: number,
  [from, pitchFrom]: readonly [pointer: number, pitch: number],
  [to, pitchTo]: readonly [pointer: number, pitch: number],
  repeat = 1,
): void {
  launch('copyRows', rows, from, 4 * pitchFrom, repeat, to, 4 * pitchTo, 4 * width);
}

/** Queries, keys and values of every head, on the heap. */
function expand<I extends LatentInput>(call: Call<I>) {
  const input = call.input as Record<LatentInput, number>;
  const { B, Tq, H, Dn, Dr, Tk, C, N, Dv, D } = sizesOf(call.shape);
  const [queries, keys] = [B * Tq * H, B * Tk * H];
  const q = call.scratch(4 * queries * D);
  const k = call.scratch(4 * keys * D);
  const v = call.scratch(4 * keys * Dv);
  const kv = call.scratch(4 * keys * N);
  const work = call.workspace(512 * (C + H * N) + 64 * C);
  // biome-ignore format: one argument list per line of the entry point
  call.launch('projectRows', Math.ceil((B * Tk) / BLOCK_ROWS),
    input.latent, input.kvUp, 4 * C, 4, kv, work, B * Tk, C, H * N);
  copy(call, queries, Dn, [input.qNope, Dn], [q, D]);
  copy(call, queries, Dr, [input.qRope, Dr], [q + 4 * Dn, D]);
  copy(call, keys, Dn, [kv, N], [k, D]);
  copy(call, keys, Dr, [input.kRope, Dr], [k + 4 * Dn, D], H);
  copy(call, keys, Dv, [kv + 4 * Dn, N], [v, Dv]);
  return { q, k, v };
}

/** Attention within a call of this op, of tensors that lie on the heap. */
function attend(
  call: Call<LatentInput>,
  given: Record<'q' | 'k' | 'v', number>,
  shape: Record<'q' | 'k' | 'v', Shape>,
  output: number,
): void {
  const { mask } = call.input;
  attentionKernel({
    ...call,
    input: { ...given, mask } as never,
    shape: { ...shape, mask: call.shape.mask },
    output: [output, call.output[1]],
  });
}

function expandedKernel(call: Call<LatentInput>): void {
  const { B, Tq, H, Tk, Dv, D } = sizesOf(call.shape);
  const shape = { q: [B, Tq, H, D], k: [B, Tk, H, D], v: [B, Tk, H, Dv] };
  attend(call, expand(call), shape, call.output[0]);
}

/** One head of keys [latent; kRope] and values latent, for queries [W_k^T qNope; qRope]; W_v comes last. */
function absorbedKernel(call: Call<LatentInput>): void {
  const { input, output, launch } = call;
  const { B, Tq, H, Dn, Dr, Tk, C, N, Dv } = sizesOf(call.shape);
  const D = C + Dr;
  const queries = B * Tq * H;
  const q = call.scratch(4 * queries * D);
  const k = call.scratch(4 * B * Tk * D);
  const mixed = call.scratch(4 * queries * C);
  // biome-ignore format: one argument list per line of the entry point
  launch('projectHeads', queries, input.qNope, input.kvUp, 4 * N * C, 4, 4 * C, q, 4 * D, B * Tq, H, Dn, C);
  copy(call, queries, Dr, [input.qRope, Dr], [q + 4 * C, D]);
  copy(call, B * Tk, C, [input.latent, C], [k, D]);
  copy(call, B * Tk, Dr, [input.kRope, Dr], [k + 4 * C, D]);
  const shape = { q: [B, Tq, H, D], k: [B, Tk, 1, D], v: [B, Tk, 1, C] };
  attend(call, { q, k, v: input.latent }, shape, mixed);
  // biome-ignore format: one argument list per line of the entry point
  launch('projectHeads', queries,
    mixed, input.kvUp + 4 * Dn * C, 4 * N * C, 4 * C, 4, output[0], 4 * Dv, B * Tq, H, C, Dv);
}

const op = defineAttentionOp<LatentInput, LatentAttrs>({
  name: NAME,
  outputs: (shape) => {
    const { B, Tq, H, Dv } = sizesOf(shape);
    return [
      [B, Tq, H, Dv],
      [B, Tq, H],
    ];
  },
  kernel: (call) => (call.attrs.absorb ? absorbedKernel : expandedKernel)(call),
  reference: multiHeadLatentAttentionReference,
  saveOutputs: [true, true],
  gradient: ({ inputs, outputs: [output, lse], dy: [dOutput, dLse], attrs }) => {
    const given = { ...inputs, output, lse, dOutput, dLse };
    const [qNope, qRope, latent, kRope, kvUp] = backward.run(given, attrs);
    return { qNope, qRope, latent, kRope, kvUp };
  },
});

/** Of both forms, which are one function: the gradients of expanded q, k and v, carried through the expansion. */
const backward = defineAttentionOp<LatentBackwardInput, LatentAttrs>({
  name: 'latentAttentionBackward',
  outputs: ({ qNope, qRope, latent, kRope, kvUp }) => [qNope!, qRope!, latent!, kRope!, kvUp!],
  kernel: (call) => {
    const { input, output, shape, launch } = call;
    const { B, Tq, H, Dn, Dr, Tk, C, N, Dv, D } = sizesOf(shape);
    const [dqNope, dqRope, dlatent, dkRope, dkvUp] = output;
    const [queries, keys] = [B * Tq * H, B * Tk * H];
    if (queries === 0 || keys === 0) {
      const sizes = [queries * Dn, queries * Dr, B * Tk * C, B * Tk * Dr, H * N * C];
      sizes.forEach((size, i) => {
        new Float32Array(call.buffer(), output[i], size).fill(0);
      });
      return;
    }
    const dq = call.scratch(4 * queries * D);
    const dk = call.scratch(4 * keys * D);
    const dv = call.scratch(4 * keys * Dv);
    attentionBackwardKernel({
      ...call,
      input: { ...input, ...expand(call) } as never,
      shape: { q: [B, Tq, H, D], k: [B, Tk, H, D], v: [B, Tk, H, Dv], mask: shape.mask },
      output: [dq, dk, dv, 0, 0],
    });
    copy(call, queries, Dn, [dq, D], [dqNope, Dn]);
    copy(call, queries, Dr, [dq + 4 * Dn, D], [dqRope, Dr]);
    launch('sumHeads', B * Tk, dk + 4 * Dn, 4 * D, H, Dr, dkRope);
    const dkv = call.scratch(4 * keys * N);
    copy(call, keys, Dn, [dk, D], [dkv, N]);
    copy(call, keys, Dv, [dv, Dv], [dkv + 4 * Dn, N]);
    const work = call.workspace(512 * (C + H * N) + 64 * H * N);
    // biome-ignore format: one argument list per line of the entry point
    launch('projectRows', Math.ceil((B * Tk) / BLOCK_ROWS),
      dkv, input.kvUp, 4, 4 * C, dlatent, work, B * Tk, H * N, C);
    const rows = call.scratch(8);
    new Int32Array(call.buffer(), rows, 2).set([0, B * Tk]);
    launch(
      'groupedOuter',
      1,
      dkv,
      0,
      input.latent,
      0,
      dkvUp,
      rows,
      call.workspace(512 * (H * N + 12) + 128),
      H * N,
      C,
    );
  },
  reference: multiHeadLatentAttentionBackwardReference,
});

/**
 * Multi-head latent attention (MLA): keys and values of all heads are projections of one latent per token, beside one
 * key with positions that all heads share. With `kvUp` of head h as rows `[W_k; W_v]`:
 *
 * `k = [W_k latent; kRope]`, `v = W_v latent`, `output = softmax(scale [qNope; qRope] k^T) v`
 *
 * Because `q (W_k latent) = (W_k^T q) latent`, the same comes from the latents without expanding them: `absorb: true` asks
 * queries `[W_k^T qNope; qRope]` for `[latent; kRope]`, mixes latents, and applies W_v to the mixture. That is cheaper for
 * few queries. By default it is chosen when it takes fewer multiplications per head and batch entry,
 * `Tq (C (Dn + Dv) + Tk (2 C + Dr)) < Tk (C (Dn + Dv) + Tq (Dn + Dr + Dv))`.
 *
 * A cache holds `latent` and `kRope`, nothing per head. When Tq < Tk the last query stands at the last key.
 * Differentiable in all five tensors.
 *
 * @param qNope `[B, Tq, H, Dn]`, the part of the queries without positions
 * @param qRope `[B, Tq, H, Dr]`, the part with positions, `rope` applied
 * @param latent `[B, Tk, C]`, normalized as the model asks
 * @param kRope `[B, Tk, Dr]`, `rope` applied
 * @param kvUp `[H, Dn + Dv, C]`, rows of the keys first: a checkpoint's `kv_b_proj.weight` reshaped
 * @returns `[B, Tq, H, Dv]`
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see DeepSeek-AI, "DeepSeek-V2", section 2.1 and equations 9 to 19
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { multiHeadLatentAttention, ready } from 'linnet';
 *
 * await ready();
 * const qNope = randomNormal([1, 128, 4, 32]);
 * const qRope = randomNormal([1, 128, 4, 16]);
 * const latent = randomNormal([1, 128, 64]);
 * const kRope = randomNormal([1, 128, 16]);
 * const kvUp = randomNormal([4, 64, 64]);
 * const output = multiHeadLatentAttention(qNope, qRope, latent, kRope, kvUp, { isCausal: true }); // [1, 128, 4, 32]
 * ```
 */
export function multiHeadLatentAttention(
  qNope: Tensor,
  qRope: Tensor,
  latent: Tensor,
  kRope: Tensor,
  kvUp: Tensor,
  options: LatentAttentionOptions = {},
): Tensor {
  const { mask, absorb = 'auto' } = options;
  const sizes = checkShapes(NAME, [
    ['qNope', qNope, 'B Tq H Dn'],
    ['qRope', qRope, 'B Tq H Dr'],
    ['latent', latent, 'B Tk C'],
    ['kRope', kRope, 'B Tk Dr'],
    ['kvUp', kvUp, 'H Dn+Dv C'],
    ['mask?', mask, broadcastOver(mask, 'H'), 'bool'],
  ]);
  const { B, Tq, Tk, Dn, Dr, C, 'Dn+Dv': N } = sizes;
  if (N < Dn) {
    throw new RangeError(
      `${NAME}: kvUp has shape [${kvUp.shape}]; expected [H, Dn + Dv, C] with Dn = ${Dn} from qNope`,
    );
  }
  const { isCausal, causalAlign, queryOffset, window, kvLengths, scale } = options;
  const D = Dn + Dr;
  const attrs = {
    ...attentionAttrs(
      NAME,
      { B, Tq, Tk, D },
      { isCausal, causalAlign, queryOffset, window, kvLengths, scale },
    ),
    absorb: absorb === 'auto' ? Tq * (C * N + Tk * (2 * C + Dr)) < Tk * (C * N + Tq * (Dr + N)) : absorb,
  };
  const [output, lse] = op.run({ qNope, qRope, latent, kRope, kvUp, mask }, attrs);
  lse.dispose();
  return output;
}
