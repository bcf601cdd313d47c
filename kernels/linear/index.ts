export { deltaForward } from './deltaForward';
export { deltaBackward } from './deltaBackward';
export { kdaGate, kdaGateBackward } from './kdaGate';
export { gatedOjaRule, gatedOjaRuleBackward } from './oja';
