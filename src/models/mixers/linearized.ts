import {
  add,
  concat,
  customGrad,
  div,
  expandDims,
  type GradSaveFunc,
  log,
  logSigmoid,
  mul,
  neg,
  sigmoid,
  sub,
  sum,
  type Tensor,
  zeros,
} from '@tensorflow/tfjs-core';
import { divideByColumn, joinColumn, splitColumn } from '../../linear/columns';
import { channels, repeatHeads, tokens } from '../../nn/layers/shape';
import { gla, linearAttention, scaledDotProductAttention } from '../../ops';
import type { MixerState } from '../cache';
import { type AttentionSpec, projections } from './attention';
import { type LearnedMap, learnedMap } from './featureMap';
import type { MixerFactory } from './mixer';

export interface LinearizedSpec {
  type: 'linearized';
  /** The softmax attention it stands for, whose projections it uses. */
  attention: AttentionSpec;
  featureMap: LearnedMap;
  /** Rows of the maps' weights, of each head. */
  features: number;
  /** The last tokens get softmax attention, by one of two ways. */
  window?: {
    size: number;
    /**
     * `'after'`: tokens are in the linear part once they have left the window, and both parts have one normaliser
     * (LoLCATs). `'beside'`: all tokens are in the linear part, and the outputs are averaged by head (Liger).
     */
    linear: 'after' | 'beside';
  };
  /** Decays made of the key projection, `logSigmoid(k) / normalizer` (Liger); needs a Hedgehog map of `headDim` features. */
  gates?: { normalizer: number };
}

const EPS = 1e-10;

const column = (x: Tensor): Tensor => expandDims(x, -1);

/**
 * `lin + share (window - lin)` of the linear part `lin = sums[.., :V] / sums[.., V]`: the share is `sigmoid(factor)`, or,
 * given the log of the window's sum of weights, that of `sigmoid(factor) exp(lse)` in all weights. Differentiable in the sums
 * and the factors, `[H]`.
 */
function blended(sums: Tensor, factor: Tensor, window: Tensor, lse: Tensor | undefined): Tensor {
  const forward = (sums: Tensor, factor: Tensor, save: GradSaveFunc) => {
    const [top, weight] = splitColumn(sums, sums.shape.slice(0, 3));
    const divisor = add(weight, EPS);
    const lin = div(top, column(divisor));
    const share = sigmoid(lse === undefined ? factor : sub(add(lse, logSigmoid(factor)), log(divisor)));
    save([lin, divisor, share, factor, window]);
    return {
      value: add(lin, mul(column(share), sub(window, lin))),
      gradFunc: (dy: Tensor, [lin, divisor, share, factor, window]: Tensor[]) => {
        const dLogit = mul(sum(mul(dy, sub(window, lin)), 3), mul(share, sub(1, share)));
        const dTop = div(mul(dy, column(sub(1, share))), column(divisor));
        const dDivisor = lse === undefined ? 0 : div(dLogit, divisor);
        const dWeight = neg(add(sum(mul(dTop, lin), 3), dDivisor));
        const dFactor = sum(dLogit, [0, 1]);
        return [joinColumn(dTop, dWeight), lse === undefined ? dFactor : mul(dFactor, sigmoid(neg(factor)))];
      },
    };
  };
  return (customGrad(forward as never) as (...inputs: Tensor[]) => Tensor)(sums, factor);
}

/** Softmax attention made linear in the length of the sequence: learned features, a state, and maybe a softmax window. */
export const linearized: MixerFactory<LinearizedSpec> = (weights, spec) => {
  const { attention, featureMap, features, window, gates } = spec;
  const { heads: H, kvHeads, headDim: D, scale = D ** -0.5, softcap } = attention;
  const { into, out } = projections(weights, attention);
  const [mapQ, mapK] = ['q', 'k'].map((name) =>
    learnedMap(weights.at(`feature_map_${name}`), featureMap, [H, features, D], scale),
  );
  const factors = window && weights.tensor('window_factors', [H]);
  const ofHead = (x: Tensor) => repeatHeads(x, H / kvHeads);

  /** Sums of weighted values and, in the last column, of weights. */
  function read(q: Tensor, k: Tensor, v: Tensor, unrotated: Tensor, state: MixerState): Tensor {
    const options = { scale: 1, initialState: state.get('state'), outputFinalState: true } as const;
    const given = [mapQ(q), mapK(ofHead(k)), ofHead(v)] as const;
    const { output, finalState } =
      gates === undefined ? linearAttention(...given, options) : gla(...given, decays(unrotated), options);
    state.set('state', finalState);
    return output;
  }

  function decays(unrotated: Tensor): Tensor {
    const g = mul(logSigmoid(ofHead(unrotated)), 1 / gates!.normalizer);
    return concat([g, g], 3);
  }

  /** Keys or values behind the last ones before them, as many as the window has; zeros where there are none. */
  function withLast(name: string, x: Tensor, state: MixerState): Tensor {
    const [B, T, ...rest] = x.shape as [number, number, number, number];
    const all = concat([state.get(name) ?? zeros([B, window!.size, ...rest]), x], 1);
    state.set(name, tokens(all, T, window!.size));
    return all;
  }

  function linear(q: Tensor, k: Tensor, v: Tensor, unrotated: Tensor, state: MixerState, position: number) {
    const values = joinColumn(v);
    if (window === undefined) return divideByColumn(read(q, k, values, unrotated, state), EPS);
    const { size } = window;
    const T = q.shape[1]!;
    const [allKeys, allValues] = [withLast('keys', k, state), withLast('values', values, state)];
    const seen = Math.min(position, size - 1);
    const near = [allKeys, channels(allValues, 0, v.shape[3]!)].map((x) => tokens(x, size - seen, seen + T));
    const { output, lse } = scaledDotProductAttention(q, near[0], near[1], {
      isCausal: true,
      window: size,
      scale,
      softcap,
      returnLse: true,
    });
    const isAfter = window.linear === 'after';
    const [keys, weighted] = isAfter ? [allKeys, allValues].map((x) => tokens(x, 0, T)) : [k, values];
    return blended(
      read(q, keys, weighted, unrotated, state),
      factors!.value,
      output,
      isAfter ? lse : undefined,
    );
  }

  return (x, { state, position, compared }) => {
    const { q, k, v, unrotated, gate } = into(x, position);
    const output = linear(q, k, v, unrotated, state, position);
    if (compared === undefined) return out(output, gate);
    const { window } = attention;
    const softmax = scaledDotProductAttention(q, k, v, { isCausal: true, scale, softcap, window });
    compared.push({ linear: output, softmax });
    return out(softmax, gate);
  };
};
