export { sumRows } from '../core/sumRows';
export { rmsNormGated, rmsNormGatedBackward } from './rmsNormGated';
