import type { Tensor } from '@tensorflow/tfjs-core';
import { tidied } from '../op/tidied';
import { checkFinite, checkMultiple, checkShapes } from '../tensor/shape';
import { type AdditiveOptions, additiveAttrs, defineAdditive } from './additive';
import { divideByColumn, joinColumn, splitColumn } from './columns';
import { type FeatureMap, featuresOf } from './featureMap';
import type { Recurrent } from './recurrent';
import { readAll } from './states';

export interface LinearAttentionOptions extends AdditiveOptions {
  /** Applied to q and to k; default `identity`. */
  featureMap?: FeatureMap;
  /** Whether outputs are divided by `scale q . (sum of k) + eps`; default false. */
  normalize?: boolean;
  /** Default 1e-10. */
  eps?: number;
  /** Whether a token sees only itself and those before it; default true. */
  isCausal?: boolean;
  /** `[N, 1, HV, K]`, sum of the features of keys before each sequence, with `normalize`; default zeros. */
  initialZ?: Tensor;
}

/** The result of linear attention that was asked for its state. */
export interface LinearAttentionResult extends Recurrent {
  /** `[N, 1, HV, K]`, the sum of the features of keys, with `normalize`. */
  finalZ?: Tensor;
}

const { op } = defineAdditive('linearAttention');

/**
 * Linear attention: softmax's exponential replaced by a product of features phi, so that a state `[K, V]` stands for all
 * tokens before, `S_t = S_{t-1} + phi(k_t) v_t^T`, `o_t = scale S_t^T phi(q_t)`; with `normalize` divided by
 * `scale phi(q_t) . z_t + eps`, `z_t = z_{t-1} + phi(k_t)`.
 *
 * @param q `[B, T, H, K]`
 * @param k `[B, T, H, K]`
 * @param v `[B, T, HV, V]`, HV a multiple of H: value head h has key head `h / (HV / H)`, rounded down
 * @param options.featureMap `identity` (default), `elu` for elu(x) + 1, `relu`, or a function of tensors `[B, T, H, D]` to
 * `[B, T, H, K]`, such as `taylorFeatures`
 * @param options.normalize divides by the sum of weights; default false
 * @param options.eps added to that sum; default 1e-10
 * @param options.isCausal false lets every token see its whole sequence; there is no state then. Default true
 * @param options.scale multiplies the output; default `K ** -0.5`, K the number of features
 * @param options.initialState `[N, HV, K, V]`, zeros by default
 * @param options.initialZ `[N, 1, HV, K]`, zeros by default
 * @param options.outputFinalState returns `{ output, finalState }`, and `finalZ` with `normalize`
 * @param options.cuSeqlens bounds of sequences packed along T, with B = 1
 * @param options.reverse runs every sequence from its last token to its first; default false
 * @returns `[B, T, HV, V]`
 * @throws TypeError, RangeError for a wrong dtype or shape, or a state where there is none
 * @see Katharopoulos et al., "Transformers are RNNs: Fast Autoregressive Transformers with Linear Attention", equations 4 to 12
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { linearAttention, ready } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 64, 2, 16]);
 * const k = randomNormal([1, 64, 2, 16]);
 * const v = randomNormal([1, 64, 4, 32]);
 * const output = linearAttention(q, k, v, { featureMap: 'elu', normalize: true }); // [1, 64, 4, 32]
 * ```
 */
export function linearAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: LinearAttentionOptions & { outputFinalState: true },
): LinearAttentionResult;
export function linearAttention(q: Tensor, k: Tensor, v: Tensor, options?: LinearAttentionOptions): Tensor;
export function linearAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: LinearAttentionOptions = {},
): Tensor | LinearAttentionResult {
  return runLinearAttention('linearAttention', q, k, v, options);
}

/** The same under the name of another op that is made of it. */
export function runLinearAttention(
  name: string,
  givenQ: Tensor,
  givenK: Tensor,
  givenV: Tensor,
  options: LinearAttentionOptions,
): Tensor | LinearAttentionResult {
  const { featureMap = 'identity', normalize = false, eps = 1e-10, isCausal = true } = options;
  const { initialState, initialZ } = options;
  const outputFinalState = options.outputFinalState === true;
  checkShapes(name, [
    ['q', givenQ, 'B T H D'],
    ['k', givenK, 'B T H D'],
    ['v', givenV, 'B T HV V'],
  ]);
  checkFinite(name, 'eps', eps);
  return tidied(() => {
    const [q, k] = [givenQ, givenK].map((x) => featuresOf(featureMap, x));
    const sizes = checkShapes(name, [
      ['v', givenV, 'B T HV V'],
      ['the features of q', q, 'B T H K'],
      ['the features of k', k, 'B T H K'],
    ]);
    checkMultiple(name, 'HV', sizes.HV, 'H', sizes.H);
    const attrs = additiveAttrs(name, options, sizes);
    const N = attrs.offsets.length - 1;
    const { HV, K, V } = sizes;
    checkShapes(name, [
      ['initialState?', initialState, `${N} ${HV} ${K} ${V}`],
      ['initialZ?', initialZ, `${N} 1 ${HV} ${K}`],
    ]);
    if (!isCausal && (initialState || initialZ || outputFinalState))
      throw new RangeError(`${name}: isCausal is false, so there is no state to start from or to return`);
    if (normalize ? (initialState === undefined) !== (initialZ === undefined) : initialZ !== undefined)
      throw new RangeError(`${name}: initialZ goes with initialState and normalize`);
    const v = normalize ? joinColumn(givenV) : givenV;
    const read = (output: Tensor) => (normalize ? divideByColumn(output, eps) : output);
    if (!isCausal) return read(readAll({ q, k, v }, attrs));
    const state = initialState && initialZ ? joinColumn(initialState, initialZ) : initialState;
    const [output, final] = op.run({ q, k, v, initialState: state }, attrs);
    if (!outputFinalState) return read(output);
    if (!normalize) return { output, finalState: final };
    const [finalState, finalZ] = splitColumn(final, [N, 1, HV, K]);
    return { output: read(output), finalState, finalZ };
  });
}
