export { rmsNorm } from './rmsNorm';
export { rmsNormBackward, sumRows } from './rmsNormBackward';
export { rope } from './rope';
