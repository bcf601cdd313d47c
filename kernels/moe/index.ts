export { groupedMatMul, groupedOuter, groupedSum } from './groupedMatMul';
export { moeActivationBackward, moeCombine, moeMlp, moeSlotWeights } from './moeMlp';
export { routingWeights, routingWeightsBackward, topkRouting } from './topkRouting';
export { columnTiles, halfTile, rowTiles } from './panel';
export {
  balanceLoss, balanceLossBackward, routerZLoss, routerZLossBackward, updateRouterBias,
} from './losses';
export {
  expertChoice, expertChoiceScatter, expertScores, gatherRows, productKeyRouting, productKeyRoutingBackward,
  scatterRowsBackward, softmaxColumns, softmaxColumnsBackward, softmaxRows, softmaxRowsBackward,
} from './choices';
