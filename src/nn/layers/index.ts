/** @module linnet/nn */

export { type ActivationName, activationName, activations, silu } from './activation';
export { embedding } from './embedding';
export { type LinearWeights, linear } from './linear';
export { type MlpWeights, mlp } from './mlp';
export { groupNorm, layerNorm, type NormWeights } from './norm';
export { channels, fromHeads, repeatHeads, splitChannels, toHeads, tokens } from './shape';
