export type { Complex } from './complex';
export { type ComplexRecurrent, type ComplexScanOptions, complexScan } from './complexScan';
export { type LinearScanOptions, linearScan } from './linearScan';
export { type RgLruOptions, rgLru } from './rgLru';
export { type RmsNormGatedOptions, rmsNormGated } from './rmsNormGated';
export { type SelectiveScanOptions, type SelectiveScanResult, selectiveScan } from './selectiveScan';
