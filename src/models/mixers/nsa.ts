import { reshape, sigmoid, type Tensor, transpose, unstack, zeros } from '@tensorflow/tfjs-core';
import { linear } from '../../nn/layers/linear';
import { fromHeads, toHeads } from '../../nn/layers/shape';
import { nativeSparseAttention, rope } from '../../ops';
import { blockMeans } from '../../sparse/blockMeans';
import { boundsOf, nsaOver } from '../../sparse/nativeSparseAttention';
import type { RopeSpec } from '../rope';
import type { MixerFactory } from './mixer';

export interface NsaSpec {
  type: 'nsa';
  size: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  rope: RopeSpec;
  blockSize: number;
  blockCounts: number;
  windowSize: number;
  bias: boolean;
}

/**
 * Native sparse attention: block means, chosen blocks and a window, gated. Keys and values are remembered, and the means of
 * complete blocks, so that a token reads the means and the blocks it chooses.
 */
export const nsa: MixerFactory<NsaSpec> = (weights, spec) => {
  const { size, heads: H, kvHeads, headDim: D, blockSize, blockCounts, windowSize, bias } = spec;
  const [qProj, kProj, vProj] = ['q_proj', 'k_proj', 'v_proj'].map((name, i) =>
    weights.linear(name, size, (i === 0 ? H : kvHeads) * D, bias),
  );
  const gates = weights.linear('g_proj', size, 3 * H);
  const out = weights.linear('o_proj', H * D, size);
  return (x, { state, position }) => {
    const rotated = (part: typeof x) => rope(toHeads(part, D), { ...spec.rope, offset: position });
    const [B, T] = x.shape as [number, number];
    const byBranch = transpose(reshape(sigmoid(linear(x, gates)), [B * T, H, 3]), [2, 0, 1]);
    const [gCmp, gSlc, gSwa] = unstack(byBranch).map((g) => reshape(g, [B, T, H]));
    const [q, k, v] = [rotated(linear(x, qProj)), rotated(linear(x, kProj)), toHeads(linear(x, vProj), D)];
    const seen = state.keyValues();
    if (seen === undefined) {
      const options = { blockSize, blockCounts, windowSize };
      return linear(fromHeads(nativeSparseAttention(q, k, v, gCmp, gSlc, gSwa, options)), out);
    }
    seen.append(k, v);
    const end = position + T;
    const means = (name: string, tokens: Tensor) => {
      const rows = state.rows(name, blockSize)!;
      const complete = Math.floor(end / blockSize);
      if (complete > rows.length) rows.append(blockMeans(tokens, boundsOf(rows.length, complete, blockSize)));
      return complete === 0 ? zeros([B, 0, kvHeads, D]) : rows.all;
    };
    const { keys, values } = seen;
    const output = nsaOver(
      q,
      { k: keys, v: values, kCmp: means('key means', keys), vCmp: means('value means', values) },
      seen.attend(q, { window: windowSize }),
      [gCmp, gSlc, gSwa],
      {
        blockSize,
        blockCounts: Math.min(blockCounts, Math.floor(end / blockSize) + 1),
        scale: D ** -0.5,
        queryOffset: position,
      },
    );
    return linear(fromHeads(output), out);
  };
};
