export { type RandomProjectionOptions, randomProjection } from './randomProjection';
