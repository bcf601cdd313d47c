export { deltaForward } from './deltaForward';
export { deltaStep } from './deltaStep';
export { deltaBackward } from './deltaBackward';
export { kdaGate, kdaGateBackward } from './kdaGate';
export { gatedOjaRule, gatedOjaRuleBackward } from './oja';
export { edgeTokens, tokenShift } from './tokenShift';
