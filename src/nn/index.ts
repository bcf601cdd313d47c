export { type L2NormOptions, l2Norm } from './l2Norm';
export { type RmsNormOptions, rmsNorm } from './rmsNorm';
export { type RopeOptions, rope } from './rope';
