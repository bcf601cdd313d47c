export { rmsNorm } from './rmsNorm';
export { rmsNormBackward, rmsNormBackwardWeight } from './rmsNormBackward';
