import {
  cast,
  dispose,
  oneHot,
  ones,
  type Tensor,
  tensor,
  tidy,
  type Variable,
  variable,
  zeros,
} from '@tensorflow/tfjs-core';
import { scaledDotProductAttention } from '../../attention/scaledDotProductAttention';
import { moeMlp } from '../../moe/moeMlp';
import { rmsNorm } from '../../nn/rmsNorm';
import { rope } from '../../nn/rope';
import { normal, uniform } from '../../random';
import type { BlockMask } from '../../sparse/blockMask';
import { flexAttention } from '../../sparse/flexAttention';
import { KvCache } from '../../sparse/kvCache';
import { blockLocal } from '../../sparse/masks';
import { checkShapes } from '../../tensor/shape';
import type { BlockReader } from './blockDiffusion';
import { checkCount } from './checks';
import { project, reshaped, sum } from './differentiable';

export interface DiffusionTransformerOptions {
  /** Tokens, the mask among them. */
  vocabSize: number;
  /** Channels; default 64. */
  size?: number;
  /** Default 2. */
  layers?: number;
  /** A divisor of `size`; default 4. */
  heads?: number;
  /** Channels within the feed-forward networks; default 2 `size`. */
  intermediate?: number;
  /** Of the first weights; default 0. */
  seed?: number;
}

export interface DiffusionForwardOptions {
  /** Which tokens see which; default all see all. */
  blockMask?: BlockMask;
  /** bool `[T, T]`, true where a key is seen, as of `annealedMask`. Not together with `blockMask`. */
  mask?: Tensor;
  /** Positions of the tokens, `[T]`; default 0, 1, 2, ... */
  positions?: readonly number[];
}

type Attend = (layer: number, q: Tensor, k: Tensor, v: Tensor) => Tensor;

/**
 * A small transformer whose tokens all see each other, for diffusion over tokens: root mean square norms, rotary positions,
 * SwiGLU. It knows no time. Differentiable with tfjs-core alone; its parameters are trainable variables.
 *
 * @throws RangeError for a size that is no positive integer, or heads that do not divide the channels
 */
export class DiffusionTransformer {
  /** By name; linear layers are `[1, in, out]`. */
  readonly parameters: Readonly<Record<string, Variable>>;
  readonly layers: number;
  readonly heads: number;
  readonly size: number;
  readonly vocabSize: number;

  constructor(options: DiffusionTransformerOptions) {
    const { vocabSize, size = 64, layers = 2, heads = 4, intermediate = 2 * size, seed = 0 } = options;
    for (const [name, count] of Object.entries({ vocabSize, size, layers, heads, intermediate }))
      checkCount('DiffusionTransformer', name, count);
    if (size % (2 * heads) !== 0) {
      throw new RangeError(
        `DiffusionTransformer: size is ${size}; expected a multiple of 2 heads = ${2 * heads}`,
      );
    }
    [this.layers, this.heads, this.size, this.vocabSize] = [layers, heads, size, vocabSize];
    const next = normal(uniform(seed));
    const matrix = (into: number, out: number, deviation = into ** -0.5) => {
      const values = Float32Array.from({ length: into * out }, () => deviation * next());
      return variable(tensor(values, [1, into, out]));
    };
    const parameters: Record<string, Variable> = { embedding: matrix(vocabSize, size, 1) };
    for (let layer = 0; layer < layers; layer++) {
      const depth = (2 * layers) ** -0.5;
      Object.assign(parameters, {
        [`${layer}.norm1`]: variable(ones([size])),
        [`${layer}.q`]: matrix(size, size),
        [`${layer}.k`]: matrix(size, size),
        [`${layer}.v`]: matrix(size, size),
        [`${layer}.output`]: matrix(size, size, depth * size ** -0.5),
        [`${layer}.norm2`]: variable(ones([size])),
        [`${layer}.gateUp`]: matrix(size, 2 * intermediate),
        [`${layer}.down`]: matrix(intermediate, size, depth * intermediate ** -0.5),
      });
    }
    parameters.norm = variable(ones([size]));
    parameters.head = matrix(size, vocabSize, 0.5 * size ** -0.5);
    this.parameters = parameters;
  }

  /**
   * Scores of every token at every place.
   *
   * @param ids int32 `[B, T]`
   * @returns `[B, T, V]`
   */
  forward(ids: Tensor, { blockMask, mask, positions }: DiffusionForwardOptions = {}): Tensor {
    return this.run(ids, positions, (_, q, k, v) =>
      blockMask === undefined
        ? scaledDotProductAttention(q, k, v, { mask })
        : flexAttention(q, k, v, { blockMask }),
    );
  }

  /** Scores when tokens see their own block and those before it, in one pass over all. */
  forwardBlocks(ids: Tensor, blockLength: number): Tensor {
    const Tq = ids.shape[1]!;
    return this.forward(ids, {
      blockMask: blockLocal({ Tq, block: blockLength, left: Math.ceil(Tq / blockLength) }),
    });
  }

  /**
   * The model as `blockDiffusionSample` takes it, with the keys and values of finished blocks in a cache; dispose it when it
   * is done with.
   */
  reader(options: { batch: number; capacity: number }): BlockReader & { dispose(): void } {
    const { heads, size } = this;
    const caches = Array.from(
      { length: this.layers },
      () => new KvCache({ ...options, heads, headDim: size / heads }),
    );
    let position = 0;
    const attend: Attend = (layer, q, k, v) => {
      const cache = caches[layer];
      cache.append(k, v);
      const kvLengths = new Array(options.batch).fill(cache.length);
      return scaledDotProductAttention(q, cache.keys, cache.values, { kvLengths });
    };
    const seen = (ids: Tensor) => {
      const T = ids.shape[1]!;
      return this.run(
        ids,
        Array.from({ length: T }, (_, i) => position + i),
        attend,
      );
    };
    return {
      predict: (ids) => {
        const logits = seen(ids);
        for (const cache of caches) cache.truncate(position);
        return logits;
      },
      read: (ids) => {
        seen(ids).dispose();
        position += ids.shape[1]!;
      },
      dispose: () => {
        for (const cache of caches) cache.dispose();
      },
    };
  }

  private run(ids: Tensor, positions: readonly number[] | undefined, attend: Attend): Tensor {
    const { B, T } = checkShapes('DiffusionTransformer', [['ids', ids, 'B T', 'int32']]);
    const { parameters: weights, heads, size, vocabSize } = this;
    const toHeads = (x: Tensor) => reshaped(x, [B, T, heads, size / heads]);
    return tidy(() => {
      const routing = { indices: zeros([B, T, 1], 'int32'), weights: ones([B, T, 1]) };
      let x = project(cast(oneHot(ids, vocabSize), 'float32'), weights.embedding);
      for (let layer = 0; layer < this.layers; layer++) {
        const own = (name: string) => weights[`${layer}.${name}`];
        const h = rmsNorm(x, own('norm1'));
        const [q, k, v] = ['q', 'k', 'v'].map((name) => toHeads(project(h, own(name))));
        const mixed = attend(layer, rope(q, { positions }), rope(k, { positions }), v);
        x = sum(x, project(reshaped(mixed, [B, T, size]), own('output')));
        const experts = { gateUp: own('gateUp'), down: own('down') };
        x = moeMlp(rmsNorm(x, own('norm2')), experts, routing, { layout: 'inOut', residual: x });
      }
      return project(rmsNorm(x, weights.norm), weights.head);
    });
  }

  dispose(): void {
    dispose(Object.values(this.parameters));
  }
}
