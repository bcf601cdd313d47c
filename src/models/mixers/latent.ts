import { concat, reshape, slice, type Tensor, tile, transpose } from '@tensorflow/tfjs-core';
import { linear } from '../../nn/layers/linear';
import { channels, fromHeads, splitChannels, toHeads } from '../../nn/layers/shape';
import { groupedMatMul, rmsNorm, rope, scaledDotProductAttention } from '../../ops';
import type { RopeSpec } from '../rope';
import type { MixerFactory } from './mixer';

export interface LatentSpec {
  type: 'latent';
  size: number;
  heads: number;
  /** Channels of a head's query and key without and with positions, and of its value. */
  nopeDim: number;
  ropeDim: number;
  valueDim: number;
  /** Channels of the latent that keys and values come from, and of that of queries; default none for queries. */
  kvRank: number;
  qRank?: number;
  /** Default none. */
  rope?: RopeSpec;
  /** Multiplies the scores; default `(nopeDim + ropeDim) ** -0.5`. */
  scale?: number;
  eps: number;
  /** Of the projections to latents and of the output; default false. */
  bias?: boolean;
}

/** `[B, T, H, D]` times a matrix `[D, F]` per head, `[H, D, F]`, or its transpose. */
function perHead(x: Tensor, weights: Tensor, transposeWeights: boolean): Tensor {
  const [B, T, H, D] = x.shape;
  const rows = reshape(transpose(x, [2, 0, 1, 3]), [H * B * T, D]);
  const y = groupedMatMul(rows, weights, Array(H).fill(B * T), { transposeWeights });
  return transpose(reshape(y, [H, B, T, y.shape[1]!]), [1, 2, 0, 3]);
}

/**
 * Multi-head latent attention (DeepSeek). What is remembered per token is one latent and one rotated key for all heads.
 * Later tokens read it with queries that the keys' projection has been moved into, so nothing is expanded again.
 */
export const latent: MixerFactory<LatentSpec> = (weights, spec) => {
  const { size, heads: H, nopeDim, ropeDim, valueDim, kvRank, qRank, eps, bias = false } = spec;
  const qkDim = nopeDim + ropeDim;
  const scale = spec.scale ?? qkDim ** -0.5;
  const query =
    qRank === undefined
      ? { direct: weights.linear('q_proj', size, H * qkDim) }
      : {
          down: weights.linear('q_a_proj', size, qRank, bias),
          norm: weights.tensor('q_a_layernorm.weight', [qRank]),
          up: weights.linear('q_b_proj', qRank, H * qkDim),
        };
  const kvDown = weights.linear('kv_a_proj_with_mqa', size, kvRank + ropeDim, bias);
  const kvNorm = weights.tensor('kv_a_layernorm.weight', [kvRank]);
  const kvUp = weights.linear('kv_b_proj', kvRank, H * (nopeDim + valueDim));
  const stored = { name: 'kv_b_proj.weight', shape: [H * (nopeDim + valueDim), kvRank] };
  const part = (name: string, begin: number, count: number) =>
    weights.made(name, [
      {
        sources: [stored],
        prepare: ([w]) =>
          slice(reshape(w, [H, nopeDim + valueDim, kvRank]), [0, begin, 0], [H, count, kvRank]),
      },
    ]);
  const [keyUp, valueUp] = [part('kv_b_proj keys', 0, nopeDim), part('kv_b_proj values', nopeDim, valueDim)];
  const oProj = weights.linear('o_proj', H * valueDim, size, bias);

  function queries(x: Tensor): Tensor {
    if (query.direct !== undefined) return linear(x, query.direct);
    return linear(rmsNorm(linear(x, query.down), query.norm.value, { eps }), query.up);
  }

  return (x, { state, position }) => {
    const rotated = (heads: Tensor) =>
      spec.rope === undefined ? heads : rope(heads, { ...spec.rope, offset: position });
    const [qNope, qRope] = splitChannels(toHeads(queries(x), qkDim), [nopeDim, ropeDim]);
    const q = rotated(qRope);
    const [down, key] = splitChannels(linear(x, kvDown), [kvRank, ropeDim]);
    const kRope = rotated(toHeads(key, ropeDim));
    const c = rmsNorm(down, kvNorm.value, { eps });
    const shared = toHeads(c, kvRank);
    const seen = state.keyValues();
    seen?.append(concat([shared, kRope], 3), shared);
    if (seen !== undefined && position > 0) {
      const absorbed = concat([perHead(qNope, keyUp.value, false), q], 3);
      const mixed = seen.attend(absorbed, { scale });
      return linear(fromHeads(perHead(mixed, valueUp.value, true)), oProj);
    }
    const kv = toHeads(linear(c, kvUp), nopeDim + valueDim);
    const k = concat([channels(kv, 0, nopeDim), tile(kRope, [1, 1, H, 1])], 3);
    const output = scaledDotProductAttention(concat([qNope, q], 3), k, channels(kv, nopeDim, valueDim), {
      isCausal: true,
      scale,
    });
    return linear(fromHeads(output), oProj);
  };
};
