export { copyRows } from '../core/copyRows';
export { sumRows } from '../core/sumRows';
export { addRmsNorm, rmsNorm } from './rmsNorm';
export { rmsNormBackward } from './rmsNormBackward';
export { rope } from './rope';
