export { rmsNorm } from './nn/rmsNorm';
