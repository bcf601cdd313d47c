export type { Activation } from './activation';
export { type GroupedMatMulOptions, groupedMatMul } from './groupedMatMul';
export {
  globalBatchBalanceLoss,
  type LoadBalancingLossOptions,
  loadBalancingLoss,
  type RouterLossOptions,
  routerZLoss,
} from './losses';
export {
  type ExpertChoice,
  type ExpertWeights,
  type MoeMlpOptions,
  moeMlp,
  type Routing,
  type SharedExpert,
} from './moeMlp';
export { routerLogits } from './routerLogits';
export { type RoutingWeightsOptions, routingWeights } from './routingWeights';
export type { Scoring } from './scoring';
export { type TopkRoutingOptions, topkRouting } from './topkRouting';
export { updateRouterBias } from './updateRouterBias';
