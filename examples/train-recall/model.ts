// Two layers, each a short convolution and a mixer, as the models of the Zoology paper; no feed-forward networks.
import {
  add,
  cast,
  oneHot,
  randomNormal,
  reshape,
  type Tensor,
  type Tensor1D,
  type Variable,
  variable,
} from '@tensorflow/tfjs-core';
import {
  causalConv1d,
  gatedDeltaRule,
  gla,
  kdaGate,
  linearAttention,
  rmsNorm,
  scaledDotProductAttention,
} from 'linnet';
import { fromHeads, linear, toHeads } from 'linnet/nn';
import './gradients';

export interface Sizes {
  vocabulary: number;
  /** Channels of the residual stream. */
  size: number;
  heads: number;
  /** Of a head; its state is keyDim x valueDim. */
  keyDim: number;
  valueDim: number;
  /** Tokens that the sliding window sees. */
  window: number;
  seed: number;
}

type Draw = { mean?: number; std?: number };

/** What a mixer has of its layer. */
interface Layer {
  sizes: Sizes;
  weight(name: string, shape: number[], draw?: Draw): Tensor;
  /** A projection of the input of the layer, `[B, T, heads, width]`. */
  project(name: string, width: number): Tensor;
}
type Mixer = (q: Tensor, k: Tensor, v: Tensor, layer: Layer) => Tensor;

const CONVOLUTION = 4;

/** Without the last axis, which has one element. */
const perHead = (x: Tensor) => reshape(x, x.shape.slice(0, 3));

/** One decay per head, `-exp(aLog) softplus(projection + bias)`, as Mamba-2 and Gated DeltaNet have it. */
function decayPerHead({ project, weight, sizes: { heads } }: Layer): Tensor {
  return perHead(
    kdaGate(project('decay', 1), weight('aLog', [heads]), weight('bias', [heads], { mean: -4 })),
  );
}

/** One decay per channel, `logSigmoid(-projection) / 16`, as GLA has it. */
function decayPerChannel({ project, weight, sizes: { heads, keyDim } }: Layer): Tensor {
  return kdaGate(project('decay', keyDim), weight('aLog', [heads], { mean: -Math.log(16) }));
}

export const mixers = {
  softmax: (q, k, v) => scaledDotProductAttention(q, k, v, { isCausal: true }),
  'sliding window': (q, k, v, { sizes: { window } }) =>
    scaledDotProductAttention(q, k, v, { isCausal: true, window }),
  linear: (q, k, v) => linearAttention(q, k, v, { featureMap: 'elu', normalize: true }),
  gla: (q, k, v, layer) => gla(q, k, v, decayPerChannel(layer)),
  gatedDeltaRule: (q, k, v, layer) =>
    gatedDeltaRule(q, k, v, decayPerHead(layer), perHead(layer.project('beta', 1)), {
      scale: 1,
      useQkL2norm: true,
      betaSigmoid: true,
    }),
} satisfies Record<string, Mixer>;
export type MixerName = keyof typeof mixers;

/** Weights are drawn from the seed when they are first used. */
export class RecallModel {
  private readonly weights = new Map<string, Variable>();

  constructor(
    private readonly mixer: MixerName,
    private readonly sizes: Sizes,
  ) {}

  get variables(): Variable[] {
    return [...this.weights.values()];
  }

  /** int32 ids `[B, T]` to logits `[B, T, vocabulary]`. */
  forward(ids: Tensor): Tensor {
    const { vocabulary, size } = this.sizes;
    const [B, T] = ids.shape;
    const rows = cast(oneHot(reshape(ids, [-1]) as Tensor1D, vocabulary), 'float32');
    const embedding = this.weight('embedding', [vocabulary, size], { std: 1 });
    let x = reshape(linear(rows, { weight: embedding }), [B, T, size]);
    for (const name of ['first', 'second']) x = add(x, this.layer(this.norm(x, `${name} norm`), name));
    return this.project(this.norm(x, 'norm'), 'head', vocabulary);
  }

  private layer(x: Tensor, layer: string): Tensor {
    const { sizes } = this;
    const { size, heads, keyDim, valueDim } = sizes;
    const project = (name: string, width: number) =>
      toHeads(this.project(x, `${layer} ${name}`, heads * width), width);
    const convolved = (name: string, width: number) => {
      const filter = this.weight(`${layer} ${name} filter`, [heads * width, CONVOLUTION], { std: 0.5 });
      return toHeads(
        causalConv1d(this.project(x, `${layer} ${name}`, heads * width), filter, { activation: 'silu' }),
        width,
      );
    };
    const mixed = mixers[this.mixer](
      convolved('q', keyDim),
      convolved('k', keyDim),
      convolved('v', valueDim),
      {
        sizes,
        project,
        weight: (name, shape, draw) => this.weight(`${layer} ${name}`, shape, draw),
      },
    );
    return this.project(fromHeads(this.norm(mixed, `${layer} output norm`)), `${layer} output`, size);
  }

  private weight(name: string, shape: number[], { mean = 0, std = 0 }: Draw = {}): Tensor {
    let weight = this.weights.get(name);
    if (weight === undefined) {
      weight = variable(randomNormal(shape, mean, std, 'float32', this.sizes.seed + this.weights.size));
      this.weights.set(name, weight);
    }
    return weight;
  }

  private norm(x: Tensor, name: string): Tensor {
    return rmsNorm(x, this.weight(name, [x.shape.at(-1)!], { mean: 1 }));
  }

  private project(x: Tensor, name: string, width: number): Tensor {
    const into = x.shape.at(-1)!;
    return linear(x, { weight: this.weight(name, [into, width], { std: into ** -0.5 }) });
  }

  dispose(): void {
    for (const weight of this.variables) weight.dispose();
  }
}
