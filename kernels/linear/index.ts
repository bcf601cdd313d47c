export { deltaForward } from './deltaForward';
export { deltaStep } from './deltaStep';
export { deltaBackward } from './deltaBackward';
export { kdaGate, kdaGateBackward } from './kdaGate';
export { gatedOjaRule } from './oja';
export { edgeTokens, tokenShift } from './tokenShift';
export { additiveForward } from './additiveForward';
export { additiveStep } from './additiveStep';
export { additiveBackward } from './additiveBackward';
export { additiveColumns } from './additiveColumns';
export { sumRows } from '../core/sumRows';
export { featureMap, featureMapBackward } from './featureMap';
export {
  divideByColumn, divideByColumnBackward, joinColumn, readState, splitColumn, turnStates, writeState,
} from './states';
export { mLstm, mLstmBackward } from './mLstm';
export { tttLinear, tttLinearBackward } from './ttt';
export { titansLinear, titansLinearBackward } from './titans';
export { mesaNet, mesaNetBackward } from './mesa';
export { sLstm, sLstmBackward } from './sLstm';
export { logLinearAttention, logLinearAttentionBackward } from './logLinear';
export { pathAttention, pathAttentionBackward } from './path';
export { hgrn, hgrnBackward } from './hgrn';
export { rwkv4, rwkv4Backward } from './rwkv4';
export { slotGates, slotGatesBackward } from './slots';
export { monomials, monomialsBackward } from './monomials';
export { projectedFeatures, projectedFeaturesBackward } from './projected';
