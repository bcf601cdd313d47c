export type { Activation } from './activation';
export { baseRouting } from './baseRouting';
export { expertChoiceRouting } from './expertChoiceRouting';
export { type GroupedMatMulOptions, groupedMatMul } from './groupedMatMul';
export { type HashRoutingOptions, hashRouting } from './hashRouting';
export {
  globalBatchBalanceLoss,
  type LoadBalancingLossOptions,
  loadBalancingLoss,
  type RouterLossOptions,
  routerZLoss,
} from './losses';
export { mixtureOfDepths, type TokenBlock } from './mixtureOfDepths';
export { type MixtureOfHeadsOptions, mixtureOfHeads } from './mixtureOfHeads';
export {
  type ExpertChoice,
  type ExpertWeights,
  type MoeMlpOptions,
  moeMlp,
  type Routing,
  type SharedExpert,
} from './moeMlp';
export { moLora } from './moLora';
export { type PeerExpertsOptions, peerExperts } from './peerExperts';
export { productKeyRouting } from './productKeyRouting';
export { reluRouting } from './reluRouting';
export { routerLogits } from './routerLogits';
export { type RoutingWeightsOptions, routingWeights } from './routingWeights';
export type { Scoring } from './scoring';
export { type SinkhornRoutingOptions, sinkhornRouting } from './sinkhornRouting';
export { type SlotExperts, softMoe } from './softMoe';
export { type SwitchRoutingOptions, switchRouting } from './switchRouting';
export { gatherTokens, scatterTokens } from './tokens';
export { type TopkRoutingOptions, topkRouting } from './topkRouting';
export { type TopPRoutingOptions, topPRouting } from './topPRouting';
export { updateRouterBias } from './updateRouterBias';
export { type ZeroComputationOptions, zeroComputationExperts } from './zeroComputationExperts';
