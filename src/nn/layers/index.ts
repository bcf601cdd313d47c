/** @module linnet/nn */

export { splitChannels } from '../channels';
export { type ActivationName, activationName, activations, silu } from './activation';
export { bidirectionalScan, type Scan } from './bidirectionalScan';
export { embedding } from './embedding';
export { type LinearWeights, linear, linearParts } from './linear';
export { type JoinedMlpWeights, type MlpWeights, mlp } from './mlp';
export { groupNorm, layerNorm, type NormWeights } from './norm';
export {
  crossMerge,
  crossScan,
  type Grid,
  inverseOrder,
  permuteTokens,
  type ZigzagOptions,
  zigzagOrder,
} from './order';
export { type QShiftOptions, qShift } from './qShift';
export { channels, fromHeads, repeatHeads, toHeads, tokens } from './shape';
