export {
  type CausalConv1dOptions,
  type CausalConv1dResult,
  type CausalConv1dUpdateOptions,
  type CausalConv1dUpdateResult,
  type ConvActivation,
  causalConv1d,
  causalConv1dUpdate,
} from './causalConv1d';
export type { Complex } from './complex';
export { type ComplexRecurrent, type ComplexScanOptions, complexScan } from './complexScan';
export { type FftConvOptions, fftConv } from './fftConv';
export { type LinearScanOptions, linearScan } from './linearScan';
export { lru } from './lru';
export type { ModalOptions, ModalRecurrent } from './modal';
export { type RgLruOptions, rgLru } from './rgLru';
export { type RmsNormGatedOptions, rmsNormGated } from './rmsNormGated';
export { type S4dKernelOptions, s4dKernel } from './s4dKernel';
export { type S5Options, s5 } from './s5';
export {
  type SelectiveScanOptions,
  type SelectiveScanResult,
  type SelectiveStateUpdateOptions,
  type SelectiveStateUpdateResult,
  selectiveScan,
  selectiveStateUpdate,
} from './selectiveScan';
export { type SsdOptions, ssd } from './ssd';
