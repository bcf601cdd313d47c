export type { Activation } from './activation';
export { type GroupedMatMulOptions, groupedMatMul } from './groupedMatMul';
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
