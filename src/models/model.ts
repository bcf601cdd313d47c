import { add, mul, type Tensor, tanh, tidy, Variable } from '@tensorflow/tfjs-core';
import { addRmsNorm } from '../nn/addRmsNorm';
import { embedding } from '../nn/layers/embedding';
import { linear } from '../nn/layers/linear';
import { layerNorm } from '../nn/layers/norm';
import { toHeads, tokens } from '../nn/layers/shape';
import { rmsNorm, rope, routerLogits } from '../ops';
import { Cache, type CacheOptions, forgetful } from './cache';
import { type Comparison, type Mixer, type MixerFactory, type MixerSpec, mixers, type Step } from './mixers';
import { type Parameter, Weights } from './parameters';
import type { BranchSpec, KeyValueSpec, LayerSpec, ModelSpec, NormSpec } from './spec';

/** The residual stream, `x + update`: the sum is taken by the norm that reads it. */
interface Stream {
  x: Tensor;
  update?: Tensor;
}
type Block = (stream: Stream, step: (name: string) => Step) => Stream;

function mixer(weights: Weights, spec: MixerSpec): Mixer {
  return (mixers[spec.type] as MixerFactory<MixerSpec>)(weights, spec);
}

const settled = ({ x, update }: Stream) => (update === undefined ? x : add(x, update));

/** The stream as one tensor, and its norm. */
function norm(weights: Weights, spec: NormSpec): (stream: Stream) => { x: Tensor; normed: Tensor } {
  const { type, name, otherNames = [], size, eps, weightOffset, bias = type === 'layer' } = spec;
  const weight = weights.tensor(`${name}.weight`, [size], ...otherNames.map((other) => `${other}.weight`));
  const shift = bias ? weights.tensor(`${name}.bias`, [size]) : undefined;
  return (stream) => {
    if (type === 'rms' && stream.update !== undefined) {
      const [x, normed] = addRmsNorm(stream.x, stream.update, weight.value, { eps, weightOffset });
      return { x, normed };
    }
    const x = settled(stream);
    const normed =
      type === 'rms'
        ? rmsNorm(x, weight.value, { eps, weightOffset })
        : layerNorm(x, { weight: weight.value, bias: shift?.value }, { eps });
    return { x, normed };
  };
}

const lastToken = (x: Tensor) => (x.shape[1] === 1 ? x : tokens(x, x.shape[1]! - 1, 1));
const lastOf = ({ x, update }: Stream): Stream => ({ x: lastToken(x), update: update && lastToken(update) });
const scaled = (x: Tensor, scale = 1) => (scale === 1 ? x : mul(x, scale));

function unchanged(stream: Stream): { x: Tensor; normed: Tensor } {
  const x = settled(stream);
  return { x, normed: x };
}

function branch(weights: Weights, layer: string, spec: BranchSpec): Block {
  const before = spec.preNorm && norm(weights, spec.preNorm);
  const mix = mixer(weights.at(spec.name), spec.mixer);
  const after = spec.postNorm && norm(weights, spec.postNorm);
  const stateName = `${layer}.${spec.name}`;
  return (stream, step) => {
    const { x, normed: input } = before === undefined ? unchanged(stream) : before(stream);
    const mixed = mix(input, step(stateName));
    const output = after === undefined ? mixed : after({ x: mixed }).normed;
    const past = spec.residual === 'normed' ? input : x;
    return { x: scaled(past, spec.residualScale), update: scaled(output, spec.outputScale) };
  };
}

function block(root: Weights, spec: LayerSpec): Block {
  const weights = root.at(spec.name);
  const before = spec.inputNorm && norm(weights, spec.inputNorm);
  const token = branch(weights, spec.name, spec.token);
  const channel = spec.channel && branch(weights, spec.name, spec.channel);
  return (stream, step) => {
    const mixed = token(before === undefined ? stream : { x: before(stream).normed }, step);
    return channel === undefined ? mixed : channel(mixed, step);
  };
}

/** Leaves keys and values for layers with `crossAttention`, in the cache if there is one. */
function keyValues(root: Weights, spec: KeyValueSpec): (x: Tensor, step: Step) => void {
  const { name, size, heads, headDim: D } = spec;
  const weights = root.at(name);
  const before = spec.norm && norm(weights, spec.norm);
  const [kProj, vProj] = ['k_proj', 'v_proj'].map((part) => weights.linear(part, size, heads * D));
  return (x, { position, shared, stateAt }) => {
    const input = before === undefined ? x : before({ x }).normed;
    const key = toHeads(linear(input, kProj), D);
    const k = spec.rope === undefined ? key : rope(key, { ...spec.rope, offset: position });
    const v = toHeads(linear(input, vProj), D);
    shared.set(`${name}.keys`, k).set(`${name}.values`, v);
    stateAt(name).keyValues()?.append(k, v);
  };
}

/** Whether a layer's output for a token depends on no other token of its input. */
const isTokenwise = ({ token, channel }: LayerSpec) =>
  token.mixer.type === 'crossAttention' &&
  (channel === undefined || ['feedForward', 'moe'].includes(channel.mixer.type));

/** The first layer from which on the last token needs no others but by their keys and values. */
function firstOfLastOnly(layers: readonly LayerSpec[]): number {
  let i = layers.length;
  while (i > 0 && isTokenwise(layers[i - 1])) if (layers[--i].keyValues !== undefined) break;
  return i;
}

export interface ForwardOptions {
  /** Goes on from the tokens it has seen, and remembers these. */
  cache?: Cache;
  /** Logits of the last token only, `[B, 1, V]`; default false. */
  last?: boolean;
}

/** A language model made from its description; its parameters are there once they are loaded. */
export class Model {
  readonly parameters: readonly Parameter[];
  private readonly embed: (ids: Tensor) => Tensor;
  private readonly blocks: readonly Block[];
  private readonly published: readonly (ReturnType<typeof keyValues> | undefined)[];
  private readonly lastOnly: number;
  private readonly head: (stream: Stream) => Tensor;

  constructor(readonly spec: ModelSpec) {
    const weights = Weights.empty();
    const table = weights.tensor(`${spec.embedding.name}.weight`, [spec.vocabSize, spec.size]);
    this.embed = (ids) => scaled(embedding(ids, table.value), spec.embedding.scale);
    this.blocks = spec.layers.map((layer) => block(weights, layer));
    this.published = spec.layers.map((layer) => layer.keyValues && keyValues(weights, layer.keyValues));
    this.lastOnly = firstOfLastOnly(spec.layers);
    const last = spec.norm === undefined ? unchanged : norm(weights, spec.norm);
    const { name, bias, scale, softcap } = spec.head;
    const own = name === undefined ? undefined : weights.linear(name, spec.size, spec.vocabSize, bias);
    this.head = (stream) => {
      const { normed } = last(stream);
      const scores = own === undefined ? routerLogits(normed, table.value) : linear(normed, own);
      const logits = scaled(scores, scale);
      return softcap === undefined ? logits : mul(softcap, tanh(mul(logits, 1 / softcap)));
    };
    this.parameters = weights.parameters;
  }

  /**
   * Scores of every next token.
   *
   * @param ids int32 `[B, T]`
   * @returns `[B, T, V]`
   */
  forward(ids: Tensor, { cache, last = false }: ForwardOptions = {}): Tensor {
    return tidy(() => {
      const stream = this.hidden(ids, { cache, last });
      return this.head(last ? lastOf(stream) : stream);
    });
  }

  /** What each linearized layer makes of the inputs that the layers get from softmax attention below them. */
  compareAttention(ids: Tensor): Comparison[] {
    return tidy(() => {
      const compared: Comparison[] = [];
      this.hidden(ids, { compared });
      return compared as never;
    });
  }

  private hidden(
    ids: Tensor,
    { cache, compared, last = false }: ForwardOptions & { compared?: Comparison[] },
  ): Stream {
    const T = ids.shape[1]!;
    let position = cache?.position ?? 0;
    const shared = new Map<string, Tensor>();
    const stateAt = (name: string) => cache?.of(name) ?? forgetful;
    const step = (name: string): Step => ({
      position,
      shared,
      compared,
      state: stateAt(name),
      stateOf: (part) => stateAt(`${name}.${part}`),
      stateAt,
    });
    let stream: Stream = { x: this.embed(ids) };
    shared.set('embeddings', stream.x);
    this.blocks.forEach((run, i) => {
      const publish = this.published[i];
      if (publish !== undefined) {
        stream = { x: settled(stream) };
        publish(stream.x, step(''));
      }
      if (last && i === this.lastOnly) {
        position += T - 1;
        stream = lastOf(stream);
      }
      stream = run(stream, step);
    });
    if (cache !== undefined) cache.position += T;
    return stream;
  }

  /** The parameters that are tfjs variables, which optimizers change. */
  get variables(): Variable[] {
    return this.parameters.map(({ value }) => value).filter((value) => value instanceof Variable);
  }

  /** An empty cache for `forward`; dispose it when it is done with. */
  createCache(options?: CacheOptions): Cache {
    return new Cache(options);
  }

  dispose(): void {
    for (const parameter of this.parameters) parameter.dispose();
  }
}
