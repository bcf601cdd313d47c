export { architectures } from './architectures';
export type { FileLike } from './bytes';
export { Cache, type MixerState } from './cache';
export { createModel, type LoadModelOptions, loadModel } from './loadModel';
export type { MixerSpec } from './mixers';
export { type ForwardOptions, Model } from './model';
export type { LoadProgress, Parameter } from './parameters';
export type { Safetensors } from './safetensors';
export type { BranchSpec, LayerSpec, ModelSpec, NormSpec } from './spec';
