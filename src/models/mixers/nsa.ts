import { reshape, sigmoid, transpose, unstack } from '@tensorflow/tfjs-core';
import { linear } from '../../nn/layers/linear';
import { fromHeads, toHeads } from '../../nn/layers/shape';
import { nativeSparseAttention, rope } from '../../ops';
import type { RopeSpec } from '../rope';
import { afterPast, appended, behindPast } from './everyToken';
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

/** Native sparse attention: block means, chosen blocks and a window, gated. */
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
    const [gCmp, gSlc, gSwa] = unstack(byBranch).map((g) => behindPast(reshape(g, [B, T, H]), position));
    const output = nativeSparseAttention(
      behindPast(rotated(linear(x, qProj)), position),
      appended(state, 'k', rotated(linear(x, kProj))),
      appended(state, 'v', toHeads(linear(x, vProj), D)),
      gCmp,
      gSlc,
      gSwa,
      { blockSize, blockCounts, windowSize },
    );
    return linear(fromHeads(afterPast(output, position)), out);
  };
};
