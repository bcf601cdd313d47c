export { causalConv1d, causalConv1dBackward, causalConv1dState, transposeMatrix } from './causalConv1d';
export { complexScan, complexScanBackward } from './complexScan';
export { linearScan, linearScanBackward } from './linearScan';
export { sumRows } from '../core/sumRows';
export { rmsNormGated, rmsNormGatedBackward } from './rmsNormGated';
export { headProducts, rgLruGates, rgLruGatesBackward, transposeHeads } from './rgLru';
export { selectiveScan } from './selectiveScan';
export { selectiveScanBackward } from './selectiveScanBackward';
export { selectiveScanComplex, selectiveScanComplexBackward } from './selectiveScanComplex';
