import { concat, mul, reshape, slice, type Tensor, tile } from '@tensorflow/tfjs-core';
import { splitChannels } from '../../nn/channels';
import { linear, linearParts } from '../../nn/layers/linear';
import { layerNorm } from '../../nn/layers/norm';
import { channels, fromHeads, toHeads } from '../../nn/layers/shape';
import { deepseekSparseAttention, rmsNorm, rope, scaledDotProductAttention } from '../../ops';
import { attendToChosen } from '../../sparse/deepseekSparseAttention';
import type { Weights } from '../parameters';
import type { RopeSpec } from '../rope';
import type { MixerFactory } from './mixer';
import { perHead } from './perHead';

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
  /** Chooses the `topk` tokens a query sees (DeepSeek-V3.2); default all. It needs `qRank`. */
  indexer?: { heads: number; headDim: number; topk: number; rope: RopeSpec };
}

/** Queries, keys and weights of the lightning indexer, by which tokens are chosen. */
function indexerOf(weights: Weights, size: number, qRank: number, spec: NonNullable<LatentSpec['indexer']>) {
  const { heads, headDim } = spec;
  const query = weights.linear('wq_b', qRank, heads * headDim);
  const key = weights.linear('wk', size, headDim);
  const norm = [weights.tensor('k_norm.weight', [headDim]), weights.tensor('k_norm.bias', [headDim])];
  const share = weights.linear('weights_proj', size, heads);
  return (x: Tensor, qLatent: Tensor, position: number) => {
    const rotated = (part: Tensor) => rope(toHeads(part, headDim), { ...spec.rope, offset: position });
    const keys = layerNorm(linear(x, key), { weight: norm[0].value, bias: norm[1].value }, { eps: 1e-6 });
    return {
      q: rotated(linear(qLatent, query)),
      k: fromHeads(rotated(keys)),
      w: mul(linear(x, share), heads ** -0.5),
    };
  };
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

  const choose = spec.indexer && indexerOf(weights.at('indexer'), size, qRank!, spec.indexer);

  function expanded(c: Tensor, kRope: Tensor): [k: Tensor, v: Tensor] {
    const kv = toHeads(linear(c, kvUp), nopeDim + valueDim);
    const k = concat([channels(kv, 0, nopeDim), tile(kRope, [1, 1, H, 1])], 3);
    return [k, channels(kv, nopeDim, valueDim)];
  }

  return (x, { state, position }) => {
    const rotated = (heads: Tensor) =>
      spec.rope === undefined ? heads : rope(heads, { ...spec.rope, offset: position });
    const qLatent =
      query.down === undefined ? undefined : rmsNorm(linear(x, query.down), query.norm.value, { eps });
    const projected = qLatent === undefined ? linear(x, query.direct!) : linear(qLatent, query.up!);
    const [qNope, qRope] = splitChannels(toHeads(projected, qkDim), [nopeDim, ropeDim]);
    const q = rotated(qRope);
    const [down, key] = linearParts(x, kvDown, [kvRank, ropeDim]);
    const kRope = rotated(toHeads(key, ropeDim));
    const c = rmsNorm(down, kvNorm.value, { eps });
    const index = choose?.(x, qLatent!, position);
    const shared = toHeads(c, kvRank);
    const seen = state.keyValues();
    seen?.append(concat([shared, kRope], 3), shared);
    const indexed = index && state.rows('index');
    if (index !== undefined) indexed?.append(toHeads(index.k, index.k.shape[2]!));
    if (seen !== undefined && position > 0) {
      const absorbed = concat([perHead(qNope, keyUp.value, false), q], 3);
      const mixed =
        index === undefined
          ? seen.attend(absorbed, { scale })
          : attendToChosen(
              { q: absorbed, k: seen.keys, v: seen.values },
              { q: index.q, k: indexed!.all, weights: index.w },
              {
                topk: Math.min(spec.indexer!.topk, position + x.shape[1]!),
                scale,
                indexScale: spec.indexer!.headDim ** -0.5,
                queryOffset: position,
              },
            ).output;
      return linear(fromHeads(perHead(mixed, valueUp.value, true)), oProj);
    }
    const [k, v] = expanded(c, kRope);
    const queries = concat([qNope, q], 3);
    const output =
      index === undefined
        ? scaledDotProductAttention(queries, k, v, { isCausal: true, scale })
        : deepseekSparseAttention(queries, k, v, index.q, index.k, index.w, {
            topk: Math.min(spec.indexer!.topk, x.shape[1]!),
            scale,
          });
    return linear(fromHeads(output), oProj);
  };
};
