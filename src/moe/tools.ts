export {
  branchTrainMix,
  type ConvertOptions,
  type MoefyOptions,
  moefy,
  type NamedTensors,
  type SparseUpcycleOptions,
  sparseUpcycle,
} from './convert';
export { type RoutingStats, routingStats } from './routingStats';
