export { type RmsNormGatedOptions, rmsNormGated } from './rmsNormGated';
