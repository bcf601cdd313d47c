/** @module linnet/models */

export { architectures } from './architectures';
export type { FileLike } from './bytes';
export { Cache, type CacheOptions, type MixerState } from './cache';
export * from './diffusion';
export { type GenerateOptions, type Generation, generate } from './generate';
export { attentionTransferLoss, type LinearizeOptions, linearize } from './linearize';
export { createModel, type LoadModelOptions, loadModel } from './loadModel';
export type { Comparison, MixerSpec } from './mixers';
export { type ForwardOptions, Model } from './model';
export type { LoadProgress, Parameter } from './parameters';
export type { Safetensors } from './safetensors';
export { type SamplingOptions, sampleToken } from './sampling';
export type { BranchSpec, KeyValueSpec, LayerSpec, ModelSpec, NormSpec } from './spec';
