export { type RmsNormOptions, rmsNorm } from './rmsNorm';
