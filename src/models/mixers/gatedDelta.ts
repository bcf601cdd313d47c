import { concat, mul, reshape, sigmoid, slice } from '@tensorflow/tfjs-core';
import { splitChannels } from '../../nn/channels';
import { activations } from '../../nn/layers/activation';
import { type LinearWeights, linear, linearParts } from '../../nn/layers/linear';
import { fromHeads, toHeads } from '../../nn/layers/shape';
import { gatedDeltaRule, kdaGate } from '../../ops';
import { LinearParameter, type Weights } from '../parameters';
import { convolution } from './convolution';
import type { MixerFactory } from './mixer';
import { type GatedNormSpec, gatedNorm } from './output';

export interface GatedDeltaSpec {
  type: 'gatedDelta';
  size: number;
  keyHeads: number;
  valueHeads: number;
  keyDim: number;
  valueDim: number;
  /** Width of the convolutions; default none. */
  convolution?: { width: number; bias?: boolean; names: readonly string[]; together?: string };
  /** Whether step sizes go up to 2. */
  negativeEigenvalues?: boolean;
  /** Projections of their own, `q_proj`, `k_proj`, `v_proj`, `a_proj`, `b_proj`, `g_proj`, or joined ones by key head. */
  joined?: boolean;
  output: GatedNormSpec & { name: string };
}

/** Projections whose rows lie by key head, part after part in each, as one whose parts follow each other. */
function regrouped(
  weights: Weights,
  size: number,
  heads: number,
  layers: readonly (readonly [name: string, parts: readonly number[]])[],
): LinearWeights {
  const rowsOf = (parts: readonly number[]) => parts.reduce((a, b) => a + b, 0);
  const parameter = weights.made(`${layers.map(([name]) => name)} regrouped`, [
    {
      sources: layers.map(([name, parts]) => ({
        name: `${name}.weight`,
        shape: [heads * rowsOf(parts), size],
      })),
      prepare: (stored) => {
        const separate = layers.flatMap(([, parts], i) => {
          const byHead = reshape(stored[i], [heads, rowsOf(parts), size]);
          let begin = 0;
          return parts.map((count) => {
            begin += count;
            return reshape(slice(byHead, [0, begin - count, 0], [heads, count, size]), [heads * count, size]);
          });
        });
        return concat(separate, 0);
      },
    },
  ]);
  return new LinearParameter(parameter);
}

/** Gated DeltaNet: convolved queries, keys and values, and a state that decays and is corrected. */
export const gatedDelta: MixerFactory<GatedDeltaSpec> = (weights, spec) => {
  const { size, keyHeads, valueHeads, keyDim, valueDim, negativeEigenvalues = false, output } = spec;
  const [keys, values, group] = [keyHeads * keyDim, valueHeads * valueDim, valueHeads / keyHeads];
  const gated = output.gate !== undefined;
  const sizes = [keys, keys, values];
  const project = spec.joined
    ? regrouped(weights, size, keyHeads, [
        ['in_proj_qkvz', [keyDim, keyDim, group * valueDim, group * valueDim]],
        ['in_proj_ba', [group, group]],
      ])
    : weights.joined(
        [
          ['q_proj', keys],
          ['k_proj', keys],
          ['v_proj', values],
          ...(gated ? [['g_proj', values] as const] : []),
          ['b_proj', valueHeads],
          ['a_proj', valueHeads],
        ],
        size,
      );
  const projected = [2 * keys + values, gated ? values : 0, valueHeads, valueHeads];
  const conv =
    spec.convolution &&
    convolution(weights, {
      ...spec.convolution,
      parts: spec.convolution.names.map((name, i, { length }) => [
        name,
        length === 1 ? 2 * keys + values : sizes[i],
      ]),
      activation: 'silu',
    });
  const aLog = weights.tensor('A_log', [valueHeads]);
  const dtBias = weights.tensor('dt_bias', [valueHeads]);
  const norm = gatedNorm(weights, valueDim, output);
  const out = weights.linear(output.name, values, size);

  return (x, { state }) => {
    const [qkv, z, b, a] = linearParts(x, project, projected);
    const mixed = conv === undefined ? activations.silu(qkv) : conv(qkv, state);
    const [q, k, v] = splitChannels(mixed, sizes);
    const rate = kdaGate(toHeads(a, 1), aLog.value, dtBias.value);
    const { output: read, finalState } = gatedDeltaRule(
      toHeads(q, keyDim),
      toHeads(k, keyDim),
      toHeads(v, valueDim),
      fromHeads(rate),
      negativeEigenvalues ? mul(2, sigmoid(b)) : b,
      {
        useQkL2norm: true,
        betaSigmoid: !negativeEigenvalues,
        initialState: state.get('state'),
        outputFinalState: true,
      },
    );
    state.set('state', finalState);
    return linear(norm(read, gated ? z : undefined), out);
  };
};
