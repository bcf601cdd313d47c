import { asReference } from './op/define';
import * as ops from './ops';

/** Every op under its own name, always running the float64 reference, in its gradients too. */
const reference = Object.fromEntries(
  Object.entries(ops).map(([name, op]) => [name, asReference(op)]),
) as unknown as typeof ops;

export const {
  baseRouting,
  comba,
  deltaRule,
  dplrDeltaRule,
  expertChoiceRouting,
  gatedDeltaProduct,
  gatedDeltaRule,
  gatedOjaRule,
  gatherTokens,
  globalBatchBalanceLoss,
  groupedMatMul,
  hashRouting,
  iplrDeltaRule,
  kda,
  kdaGate,
  l2Norm,
  loadBalancingLoss,
  mixtureOfDepths,
  mixtureOfHeads,
  moeMlp,
  moLora,
  peerExperts,
  productKeyRouting,
  reluRouting,
  rmsNorm,
  rope,
  routerLogits,
  routerZLoss,
  routingWeights,
  rwkv7,
  scaledDotProductAttention,
  scatterTokens,
  sinkhornRouting,
  softMoe,
  switchRouting,
  topkRouting,
  topPRouting,
  updateRouterBias,
  zeroComputationExperts,
} = reference;
