export type { Denoiser, SamplerOptions } from './denoiser';
export { type MaskedDiffusionLossOptions, maskedDiffusionLoss, type TimeOptions } from './maskedLoss';
export {
  type MaskedDiffusionSampleOptions,
  maskedDiffusionSample,
  type Remasking,
  type UnmaskOptions,
} from './maskedSample';
export { type MaskSchedule, maskSchedules } from './schedules';
