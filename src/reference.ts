import { asReference } from './op/define';
import * as ops from './ops';

/** Every op under its own name, always running the float64 reference, in its gradients too. */
const reference = Object.fromEntries(
  Object.entries(ops).map(([name, op]) => [name, asReference(op)]),
) as unknown as typeof ops;

export const {
  comba,
  deltaRule,
  dplrDeltaRule,
  gatedDeltaProduct,
  gatedDeltaRule,
  gatedOjaRule,
  globalBatchBalanceLoss,
  groupedMatMul,
  iplrDeltaRule,
  kda,
  kdaGate,
  loadBalancingLoss,
  moeMlp,
  rmsNorm,
  routerLogits,
  routerZLoss,
  routingWeights,
  rwkv7,
  topkRouting,
  updateRouterBias,
} = reference;
