export type { Complex } from './complex';
export { type ComplexRecurrent, type ComplexScanOptions, complexScan } from './complexScan';
export { type LinearScanOptions, linearScan } from './linearScan';
export { type RmsNormGatedOptions, rmsNormGated } from './rmsNormGated';
