import type { MixerSpec } from './mixers';
import type { RopeSpec } from './rope';

export interface NormSpec {
  type: 'rms' | 'layer';
  /** Of its weights, within the layer or the model. */
  name: string;
  /** What some checkpoints call it. */
  otherNames?: readonly string[];
  size: number;
  eps: number;
  /** Added to the weight. */
  weightOffset?: number;
  /** Of a layer norm; default true. */
  bias?: boolean;
}

/** One step of the residual stream: `x = residualScale x + outputScale postNorm(mixer(preNorm(x)))`. */
export interface BranchSpec {
  /** Where the weights of the mixer lie within the layer; empty for the layer itself. */
  name: string;
  mixer: MixerSpec;
  preNorm?: NormSpec;
  postNorm?: NormSpec;
  /** What goes past the mixer: the stream (default), or what the norm before the mixer made of it (MiniMax). */
  residual?: 'stream' | 'normed';
  residualScale?: number;
  outputScale?: number;
}

/** Keys and values made once, of the stream before a layer, for all layers with `crossAttention` from it on (YOCO). */
export interface KeyValueSpec {
  /** Where `k_proj`, `v_proj` and the norm lie, and what `crossAttention` calls it. */
  name: string;
  size: number;
  heads: number;
  headDim: number;
  /** Before the projections. */
  norm?: NormSpec;
  /** Default none. */
  rope?: RopeSpec;
}

/** A token mixer and, mostly, a channel mixer. */
export interface LayerSpec {
  keyValues?: KeyValueSpec;
  /** Where its weights lie: `model.layers.0`. */
  name: string;
  /** Before anything else. */
  inputNorm?: NormSpec;
  token: BranchSpec;
  channel?: BranchSpec;
}

/** A decoder language model as data. */
export interface ModelSpec {
  vocabSize: number;
  size: number;
  embedding: { name: string; scale?: number };
  layers: readonly LayerSpec[];
  norm?: NormSpec;
  /** Without a name it is the embedding again. Scores are scaled, then capped: `softcap tanh(score / softcap)`. */
  head: { name?: string; bias?: boolean; scale?: number; softcap?: number };
  /** Tokens that end a text. */
  endTokens?: readonly number[];
  /** Tensors of checkpoints that hold nothing to load. */
  ignored?: readonly RegExp[];
}
