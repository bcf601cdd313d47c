export { absorbingRatios } from './absorbingRatios';
export { type AnnealedMaskOptions, annealedMask, shiftLogits } from './adaptation';
export {
  type BlockDiffusionLossOptions,
  type BlockDiffusionModel,
  type BlockDiffusionSampleOptions,
  type BlockDiffusionView,
  type BlockReader,
  blockDiffusionLoss,
  blockDiffusionSample,
} from './blockDiffusion';
export {
  type DiffusionLmLossOptions,
  type DiffusionLmSampleOptions,
  diffusionLmLoss,
  diffusionLmSample,
  type EmbeddingDenoiser,
  gaussianSchedules,
  type PlaidLossOptions,
  plaidLoss,
  roundToEmbeddings,
} from './continuous';
export type { Denoiser, SamplerOptions } from './denoiser';
export {
  absorbingGraph,
  type DiffusionGraph,
  type NoiseSchedule,
  noiseSchedules,
  uniformGraph,
} from './graphs';
export { type MaskedDiffusionLossOptions, maskedDiffusionLoss, type TimeOptions } from './maskedLoss';
export {
  type MaskedDiffusionSampleOptions,
  maskedDiffusionSample,
  type Remasking,
  type UnmaskOptions,
} from './maskedSample';
export { type MaskSchedule, maskSchedules } from './schedules';
export { type ScoreEntropyLossOptions, scoreEntropyLoss } from './scoreEntropy';
export { type SeddSampleOptions, seddSample } from './seddSample';
export {
  type DiffusionForwardOptions,
  DiffusionTransformer,
  type DiffusionTransformerOptions,
} from './transformer';
