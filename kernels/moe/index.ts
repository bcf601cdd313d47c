export { activated, activatedBackward } from './activated';
export { groupedMatMul, groupedSum, rowProducts } from './groupedMatMul';
export { groupedOuter } from '../core/groupedOuter';
export { moeActivationBackward, moeCombine, moeMlp, moeSlotWeights } from './moeMlp';
export { routingWeights, routingWeightsBackward, topkRouting } from './topkRouting';
export { columnTiles, halfTile, rowTiles, sixTiles } from '../core/panel';
export {
  balanceLoss, balanceLossBackward, routerZLoss, routerZLossBackward, updateRouterBias,
} from './losses';
export {
  expertChoice, expertChoiceScatter, expertScores, gatherRows, productKeyRouting, productKeyRoutingBackward,
  scatterRowsBackward, softmaxColumns, softmaxColumnsBackward, softmaxRows, softmaxRowsBackward,
} from './choices';
