import {
  addN,
  customGrad,
  div,
  type GradSaveFunc,
  keep,
  mean,
  mul,
  reshape,
  type Scalar,
  square,
  sub,
  type Tensor,
  tensor,
  tidy,
  variable,
} from '@tensorflow/tfjs-core';
import { randomProjection } from '../linear/randomProjection';
import type { AttentionSpec } from './mixers/attention';
import type { LinearizedSpec } from './mixers/linearized';
import { Model } from './model';
import type { Parameter } from './parameters';
import type { LayerSpec } from './spec';

export interface LinearizeOptions {
  /**
   * - `'t2r'`: features `relu(W x + b)`;
   * - `'hedgehog'`: features `softmax([W x, -W x])`;
   * - `'performer'`: positive random features, which come closer to softmax the more there are, without training;
   * - `'lolcats'`: Hedgehog's features for tokens that have left a window of softmax attention;
   * - `'liger'`: Hedgehog's features with decays made of the key projections, beside a window of softmax attention.
   */
  mixer: 't2r' | 'hedgehog' | 'performer' | 'lolcats' | 'liger';
  /** Indices of the layers; default all whose token mixer is softmax attention. */
  layers?: readonly number[];
  /** Rows of a map's weight; default `headDim`, of T2R twice that. */
  features?: number;
  /** Tokens with softmax attention in LoLCATs and Liger; default 64. */
  window?: number;
  /** Of what is random in the maps: Performer's, and rows beyond the first `headDim`; default 0. */
  seed?: number;
}

const NORMALIZER = 16;

function linearizedSpec(attention: AttentionSpec, options: LinearizeOptions): LinearizedSpec {
  const { mixer, window: size = 64 } = options;
  const featureMap = mixer === 'lolcats' || mixer === 'liger' ? 'hedgehog' : mixer;
  const spec: LinearizedSpec = {
    type: 'linearized',
    attention,
    featureMap,
    features: options.features ?? (mixer === 't2r' ? 2 : 1) * attention.headDim,
  };
  if (mixer === 'lolcats') return { ...spec, window: { size, linear: 'after' } };
  if (mixer !== 'liger') return spec;
  return { ...spec, window: { size, linear: 'beside' }, gates: { normalizer: NORMALIZER } };
}

/**
 * Feature maps whose products are, to first order, proportional to softmax's `exp(scale q . k)`: groups of orthogonal rows,
 * the first one the axes, each once more with the other sign where the map does not do that itself.
 */
function firstOrder(spec: LinearizedSpec, head: number, seed: number): number[][] {
  const { features, featureMap, attention } = spec;
  const { headDim: D, scale = D ** -0.5 } = attention;
  const gain = Math.sqrt(D * scale);
  const signs = featureMap === 't2r' ? [1, -1] : [1];
  const groups = Math.ceil(features / (signs.length * D));
  const random = tidy(() => randomProjection(groups * D, D, { seed: seed + head }).arraySync()) as number[][];
  const directions = random.map((row, i) =>
    i < D ? row.map((_, column) => (column === i ? 1 : 0)) : row.map((x) => x / Math.hypot(...row)),
  );
  const rows = Array.from({ length: groups }, (_, group) =>
    signs.flatMap((sign) =>
      directions.slice(group * D, (group + 1) * D).map((row) => row.map((x) => sign * gain * x)),
    ),
  );
  return rows.flat().slice(0, features);
}

/** The first value of a parameter that the softmax model has not. */
function initial({ name, recipes }: Parameter, spec: LinearizedSpec, seed: number): Tensor {
  const { shape } = recipes[0].sources[0];
  const [H, m, D] = shape as [number, number, number];
  const filled = (value: number) => tensor(new Float32Array(H * (m ?? 1)).fill(value), [...shape]);
  if (name.endsWith('window_factors')) {
    // exp(scale q . k) is, to first order, the product of Hedgehog's features times their number
    return filled(spec.window!.linear === 'after' ? -Math.log(2 * spec.features - 1) : 0);
  }
  if (name.endsWith('.bias')) return filled(1);
  if (spec.featureMap === 'performer') return randomProjection(m, D, { heads: H, seed });
  return tensor(Array.from({ length: H }, (_, head) => firstOrder(spec, head, seed)));
}

const attentionOf = ({ token }: LayerSpec) => (token.mixer.type === 'attention' ? token.mixer : undefined);

function checkLayer(layer: LayerSpec | undefined, index: number, count: number): void {
  if (layer === undefined)
    throw new RangeError(`linearize: layers hold ${index}; expected indices of the ${count} layers`);
  const { mixer } = layer.token;
  const what = `linearize: layer ${index}`;
  if (mixer.type !== 'attention')
    throw new RangeError(`${what} mixes tokens by ${mixer.type}; expected attention`);
  if (mixer.sinks || mixer.causal === false)
    throw new RangeError(
      `${what} has ${mixer.sinks ? 'sinks' : 'no causal order'}; expected plain causal attention`,
    );
}

/**
 * A model with linear attention in place of softmax attention, whose projections it keeps. It shares all weights with the
 * given model; what is new, feature maps and window factors, are tfjs variables (`variables` of the model) that start where
 * weights are those of softmax to first order, and that `attentionTransferLoss` trains. Cached states are constant in size.
 * Dispose both models.
 *
 * @throws RangeError for a layer that is not there or is no causal softmax attention, or an option out of range
 * @see Kasai et al., "Finetuning Pretrained Transformers into RNNs" (T2R); Zhang et al., "The Hedgehog & the Porcupine"; Zhang
 * et al., "LoLCATs: On Low-Rank Linearizing of Large Language Models"; Lan et al., "Liger: Linearizing Large Language Models
 * to Gated Recurrent Structures"
 */
export function linearize(model: Model, options: LinearizeOptions): Model {
  const { layers } = model.spec;
  const chosen = options.layers ?? layers.flatMap((layer, i) => (attentionOf(layer) ? [i] : []));
  for (const index of chosen) checkLayer(layers[index], index, layers.length);
  for (const name of ['features', 'window'] as const) {
    const value = options[name] ?? 1;
    if (!(Number.isInteger(value) && value > 0))
      throw new RangeError(`linearize: ${name} is ${value}; expected a positive integer`);
  }
  const specs = new Map(
    chosen.map((index) => [layers[index].name, linearizedSpec(attentionOf(layers[index])!, options)]),
  );
  for (const { gates, features, attention } of specs.values()) {
    if (gates !== undefined && features !== attention.headDim)
      throw new RangeError(
        `linearize: features is ${features}; expected headDim = ${attention.headDim} with gates`,
      );
  }
  const result = new Model({
    ...model.spec,
    layers: layers.map((layer) => {
      const mixer = specs.get(layer.name);
      return mixer === undefined ? layer : { ...layer, token: { ...layer.token, mixer } };
    }),
  });
  const held = new Map(model.parameters.map((parameter) => [parameter.id, parameter]));
  for (const parameter of result.parameters) {
    const old = held.get(parameter.id);
    parameter.value = tidy(() => {
      // a reshape shares the data, a clone copies it
      if (old !== undefined) return keep(reshape(old.value, old.value.shape));
      const [, spec] = [...specs].find(([layer]) => parameter.name.startsWith(`${layer}.`))!;
      return variable(initial(parameter, spec, options.seed ?? 0));
    });
  }
  return result;
}

/** The mean over all pairs of their mean squared difference; differentiable in the first of each. */
function meanSquares(given: Tensor[], wanted: Tensor[]): Scalar {
  const share = (difference: Tensor) => div(mean(square(difference)), given.length) as Scalar;
  const forward = (...args: unknown[]) => {
    const save = args.pop() as GradSaveFunc;
    const differences = (args as Tensor[]).map((x, i) => sub(x, wanted[i]));
    save(differences);
    return {
      value: addN(differences.map(share)),
      gradFunc: (dy: Tensor, saved: Tensor[]) =>
        saved.map((difference) => mul(difference, mul(dy, 2 / (given.length * difference.size)))),
    };
  };
  return (customGrad(forward as never) as (...inputs: Tensor[]) => Scalar)(...given);
}

/**
 * How far the outputs of linearized layers are from those of softmax attention on the same inputs: the mean squared
 * difference, averaged over layers. Every layer gets the inputs it has in the softmax model. Differentiable in the
 * `variables` of the model with no gradients of tfjs's own ops registered:
 * `train.adam(0.01).minimize(() => attentionTransferLoss(model, ids))`.
 *
 * @param model from `linearize`
 * @param ids int32 `[B, T]`
 * @throws RangeError for a model without linearized layers
 * @see Zhang et al., "LoLCATs", equation 5
 */
export function attentionTransferLoss(model: Model, ids: Tensor): Scalar {
  return tidy(() => {
    const pairs = model.compareAttention(ids);
    if (pairs.length === 0) throw new RangeError('attentionTransferLoss: the model has no linearized layers');
    return meanSquares(
      pairs.map(({ linear }) => linear),
      pairs.map(({ softmax }) => softmax),
    );
  });
}
