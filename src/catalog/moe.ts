import { logSumExp, matMul, mean, softmax, square } from '@tensorflow/tfjs-core';
import type { Routing } from '../moe';
import { MOE } from './bounds';
import type { CatalogEntry, InputSpec } from './types';

const SPARSE_MOE = {
  title: 'Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer',
  url: 'https://arxiv.org/abs/1701.06538',
};

/** Stacked weights of E experts, D to F to M, as linear layers or the other way round. */
function expertSpecs(E: number, D: number, F1: number, F: number, M: number, inOut = false) {
  return {
    gateUp: { shape: inOut ? [E, D, F1] : [E, F1, D], scale: 0.4 } as InputSpec,
    down: { shape: inOut ? [E, F, M] : [E, M, F], scale: 0.4 } as InputSpec,
  };
}

const listOf = ({ weights, indices }: Routing) => [weights, indices];

export const moe: CatalogEntry[] = [
  {
    name: 'routerLogits',
    family: 'moe',
    summary: 'Scores of tokens for experts',
    paper: SPARSE_MOE,
    bounds: MOE,
    cases: [
      {
        id: 'N70-D37-E9-bias',
        inputs: { hidden: { shape: [2, 35, 37] }, weight: { shape: [9, 37] }, bias: { shape: [9] } },
        call: (ops, { hidden, weight, bias }) => ops.routerLogits(hidden, weight, bias),
      },
      {
        id: 'N2-D8-E4',
        inputs: { hidden: { shape: [2, 8] }, weight: { shape: [4, 8] } },
        call: (ops, { hidden, weight }) => ops.routerLogits(hidden, weight),
        naive: ({ hidden, weight }) => matMul(hidden, weight, false, true),
      },
    ],
  },
  {
    name: 'topkRouting',
    family: 'moe',
    summary: 'The best experts of every token and their weights',
    paper: SPARSE_MOE,
    bounds: MOE,
    cases: [
      {
        id: 'mixtral-E8-k2',
        inputs: { logits: { shape: [2, 9, 8] } },
        call: (ops, { logits }) => {
          const { weights, indices } = ops.topkRouting(logits, { topK: 2, normTopkProb: true });
          return [weights, indices];
        },
      },
      {
        id: 'olmoe-E13-k5',
        inputs: { logits: { shape: [11, 13] } },
        call: (ops, { logits }) => {
          const { weights, indices } = ops.topkRouting(logits, { topK: 5 });
          return [weights, indices];
        },
      },
      {
        id: 'gpt-oss-E6-k4',
        inputs: { logits: { shape: [7, 6], scale: 3 } },
        call: (ops, { logits }) => {
          const { weights, indices } = ops.topkRouting(logits, { topK: 4, softmaxAfterTopK: true });
          return [weights, indices];
        },
      },
      {
        id: 'deepseek-v3-E16-k4',
        inputs: { logits: { shape: [9, 16] }, correctionBias: { shape: [16], scale: 0.2 } },
        differentiable: ['logits'],
        call: (ops, { logits, correctionBias }) => {
          const { weights, indices } = ops.topkRouting(logits, {
            topK: 4,
            scoring: 'sigmoid',
            normTopkProb: true,
            correctionBias,
            numGroups: 4,
            topkGroups: 2,
            routedScalingFactor: 2.5,
          });
          return [weights, indices];
        },
      },
      {
        id: 'all-E5-max-of-groups',
        inputs: { logits: { shape: [6, 15] } },
        call: (ops, { logits }) => {
          const { weights, indices } = ops.topkRouting(logits, {
            topK: 5,
            numGroups: 3,
            topkGroups: 1,
            groupScore: 'max',
          });
          return [weights, indices];
        },
      },
    ],
  },
  {
    name: 'routingWeights',
    family: 'moe',
    summary: 'Weights of experts chosen by any rule',
    paper: SPARSE_MOE,
    bounds: MOE,
    cases: [
      {
        id: 'softmax-all-E3',
        inputs: {
          logits: { shape: [2, 3] },
          indices: { shape: [2, 3], dtype: 'int32', values: [0, 1, 2, 0, 1, 2] },
        },
        call: (ops, { logits, indices }) => ops.routingWeights(logits, indices),
        naive: ({ logits }) => softmax(logits),
      },
      {
        id: 'relu-normalised',
        inputs: {
          logits: { shape: [3, 6], shift: 0.5 },
          indices: { shape: [3, 3], dtype: 'int32', values: [5, 1, 0, 2, -1, 3, -1, -1, -1] },
        },
        call: (ops, { logits, indices }) =>
          ops.routingWeights(logits, indices, {
            scoring: 'relu',
            normTopkProb: true,
            routedScalingFactor: 3,
          }),
      },
      {
        id: 'sigmoid',
        inputs: {
          logits: { shape: [3, 6] },
          indices: { shape: [3, 2], dtype: 'int32', values: [5, 1, 2, -1, 0, 4] },
        },
        call: (ops, { logits, indices }) => ops.routingWeights(logits, indices, { scoring: 'sigmoid' }),
      },
      {
        id: 'chosen-softmax',
        inputs: {
          logits: { shape: [3, 6] },
          indices: { shape: [3, 3], dtype: 'int32', values: [5, 1, -1, 2, -1, 3, -1, -1, -1] },
        },
        call: (ops, { logits, indices }) => ops.routingWeights(logits, indices, { scoring: 'chosenSoftmax' }),
      },
    ],
  },
  {
    name: 'groupedMatMul',
    family: 'moe',
    summary: 'Products of groups of rows with a matrix each',
    paper: {
      title: 'MegaBlocks: Efficient Sparse Training with Mixture-of-Experts',
      url: 'https://arxiv.org/abs/2211.15841',
    },
    bounds: MOE,
    cases: [
      {
        id: 'S154-E4-D20-F36',
        inputs: { x: { shape: [154, 20] }, weights: { shape: [4, 20, 36] } },
        call: (ops, { x, weights }) => ops.groupedMatMul(x, weights, [9, 0, 144, 1]),
      },
      {
        id: 'S12-E3-D7-F5-transposed-bias',
        inputs: { x: { shape: [12, 7] }, weights: { shape: [3, 5, 7] }, bias: { shape: [3, 5] } },
        call: (ops, { x, weights, bias }) =>
          ops.groupedMatMul(x, weights, [2, 6, 4], { transposeWeights: true, bias }),
      },
      {
        id: 'S2-E1-D21-F19-bias',
        inputs: { x: { shape: [2, 21] }, weights: { shape: [1, 21, 19] }, bias: { shape: [1, 19] } },
        call: (ops, { x, weights, bias }) => ops.groupedMatMul(x, weights, [2], { bias }),
      },
      {
        id: 'S1-E1-D23-F6-transposed',
        inputs: { x: { shape: [1, 23] }, weights: { shape: [1, 6, 23] } },
        call: (ops, { x, weights }) => ops.groupedMatMul(x, weights, [1], { transposeWeights: true }),
      },
      {
        id: 'S4-E1-D3-F1',
        inputs: { x: { shape: [4, 3] }, weights: { shape: [1, 3, 1] } },
        call: (ops, { x, weights }) => ops.groupedMatMul(x, weights, [4]),
      },
    ],
  },
  {
    name: 'moeMlp',
    family: 'moe',
    summary: 'A layer of expert networks over routed tokens',
    paper: SPARSE_MOE,
    bounds: MOE,
    cases: [
      {
        id: 'swiglu-N13-D8-F12-E4-k2',
        inputs: {
          hidden: { shape: [13, 8] },
          ...expertSpecs(4, 8, 24, 12, 8),
          weights: { shape: [13, 2], draw: 'sigmoid' },
          indices: {
            shape: [13, 2],
            dtype: 'int32',
            values: [0, 1, 1, 3, 3, 1, 1, 0, 1, 3, 0, 1, 3, 1, 1, 3, 1, 0, 0, 1, 1, 3, -1, 1, -1, -1],
          },
          residual: { shape: [13, 8] },
        },
        call: (ops, { hidden, gateUp, down, weights, indices, residual }) =>
          ops.moeMlp(hidden, { gateUp, down }, { weights, indices }, { residual }),
      },
      {
        id: 'gpt-oss-N6-D6-F10-E3-k2',
        inputs: {
          hidden: { shape: [2, 3, 6], scale: 2 },
          ...expertSpecs(3, 6, 20, 10, 6, true),
          gateUpBias: { shape: [3, 20] },
          downBias: { shape: [3, 6] },
          weights: { shape: [2, 3, 2], draw: 'sigmoid' },
          indices: { shape: [2, 3, 2], dtype: 'int32', values: [0, 1, 1, 2, 0, 1, 2, 1, 1, 0, 1, 2] },
        },
        call: (ops, { hidden, weights, indices, ...experts }) =>
          ops.moeMlp(
            hidden,
            experts as never,
            { weights, indices },
            {
              activation: 'swigluOss',
              limit: 2,
            },
          ),
      },
      {
        id: 'geglu-shared-N5-D7-F5-M3-E2',
        inputs: {
          hidden: { shape: [5, 7] },
          ...expertSpecs(2, 7, 10, 5, 3),
          weights: { shape: [5, 1], draw: 'sigmoid' },
          indices: { shape: [5, 1], dtype: 'int32', values: [1, 1, 0, 1, 1] },
          sharedGateUp: { shape: [8, 7] },
          sharedDown: { shape: [3, 4] },
          sharedWeight: { shape: [5, 1], draw: 'sigmoid' },
        },
        call: (
          ops,
          { hidden, gateUp, down, weights, indices, sharedGateUp, sharedDown, sharedWeight: weight },
        ) =>
          ops.moeMlp(
            hidden,
            { gateUp, down },
            { weights, indices },
            { activation: 'geglu', shared: { gateUp: sharedGateUp, down: sharedDown, weight } },
          ),
      },
      {
        id: 'geluTanh-experts-choose-E3-C4',
        inputs: {
          hidden: { shape: [6, 5] },
          ...expertSpecs(3, 5, 9, 9, 5),
          gateUpBias: { shape: [3, 9] },
          weights: { shape: [3, 4], draw: 'sigmoid' },
          tokens: { shape: [3, 4], dtype: 'int32', values: [0, 3, 5, 2, 3, -1, 3, 0, 4, 5, 0, 3] },
        },
        call: (ops, { hidden, gateUp, down, gateUpBias, weights, tokens }) =>
          ops.moeMlp(hidden, { gateUp, down, gateUpBias }, { weights, tokens }, { activation: 'geluTanh' }),
      },
      {
        id: 'relu-inOut-N3',
        inputs: {
          hidden: { shape: [3, 4] },
          ...expertSpecs(2, 4, 6, 6, 4, true),
          weights: { shape: [3, 1], draw: 'sigmoid' },
          indices: { shape: [3, 1], dtype: 'int32', values: [1, 1, 1] },
        },
        call: (ops, { hidden, gateUp, down, weights, indices }) =>
          ops.moeMlp(hidden, { gateUp, down }, { weights, indices }, { activation: 'relu', layout: 'inOut' }),
      },
    ],
  },
  {
    name: 'loadBalancingLoss',
    family: 'moe',
    summary: 'Auxiliary loss that spreads tokens over experts',
    paper: { title: 'Switch Transformers', url: 'https://arxiv.org/abs/2101.03961' },
    bounds: MOE,
    cases: [
      {
        id: 'N5-E3-k2-masked',
        inputs: {
          logits: { shape: [5, 3] },
          indices: { shape: [5, 2], dtype: 'int32', values: [0, 1, 2, 1, 0, 2, 1, -1, 0, 1] },
          mask: { shape: [5], dtype: 'int32', values: [1, 1, 0, 1, 1] },
        },
        call: (ops, { logits, indices, mask }) => ops.loadBalancingLoss(logits, indices, { mask }),
      },
      {
        id: 'B2-T3-E5-sigmoid-per-sequence',
        inputs: {
          logits: { shape: [2, 3, 5] },
          indices: { shape: [2, 3, 1], dtype: 'int32', values: [4, 1, 4, 0, 0, 2] },
        },
        call: (ops, { logits, indices }) =>
          ops.loadBalancingLoss(logits, indices, { scoring: 'sigmoid', perSequence: true }),
      },
    ],
  },
  {
    name: 'globalBatchBalanceLoss',
    family: 'moe',
    summary: 'Balance loss with the counts of a whole batch',
    paper: { title: 'Demons in the Detail', url: 'https://arxiv.org/abs/2501.11873' },
    bounds: MOE,
    cases: [
      {
        id: 'N6-E4',
        inputs: {
          logits: { shape: [6, 4] },
          counts: { shape: [4], dtype: 'int32', values: [12, 3, 0, 9] },
        },
        call: (ops, { logits, counts }) => ops.globalBatchBalanceLoss(logits, counts, 12),
      },
      {
        id: 'B2-T2-E3-sigmoid-masked',
        inputs: {
          logits: { shape: [2, 2, 3] },
          counts: { shape: [3], dtype: 'int32', values: [5, 3, 4] },
          mask: { shape: [2, 2], dtype: 'int32', values: [1, 0, 1, 1] },
        },
        call: (ops, { logits, counts, mask }) =>
          ops.globalBatchBalanceLoss(logits, counts, 12, { scoring: 'sigmoid', mask }),
      },
    ],
  },
  {
    name: 'routerZLoss',
    family: 'moe',
    summary: 'Auxiliary loss that keeps router logits small',
    paper: { title: 'ST-MoE', url: 'https://arxiv.org/abs/2202.08906' },
    bounds: MOE,
    cases: [
      {
        id: 'N7-E13',
        inputs: { logits: { shape: [7, 13], scale: 4 } },
        call: (ops, { logits }) => ops.routerZLoss(logits),
        naive: ({ logits }) => mean(square(logSumExp(logits, -1))),
      },
      {
        id: 'B2-T2-E3-masked',
        inputs: {
          logits: { shape: [2, 2, 3] },
          mask: { shape: [2, 2], dtype: 'int32', values: [1, 0, 1, 1] },
        },
        call: (ops, { logits, mask }) => ops.routerZLoss(logits, { mask }),
      },
    ],
  },
  {
    name: 'updateRouterBias',
    family: 'moe',
    summary: 'Balance without a loss: a bias that follows the load',
    paper: {
      title: 'Auxiliary-Loss-Free Load Balancing Strategy for Mixture-of-Experts',
      url: 'https://arxiv.org/abs/2408.15664',
    },
    bounds: MOE,
    cases: [
      {
        id: 'E5',
        inputs: {
          bias: { shape: [5] },
          counts: { shape: [5], dtype: 'int32', values: [2, 9, 4, 1, 4] },
        },
        differentiable: [],
        call: (ops, { bias, counts }) => ops.updateRouterBias(bias, counts, 0.25),
      },
    ],
  },
  {
    name: 'switchRouting',
    family: 'moe',
    summary: 'Top-1 routing with a capacity',
    paper: { title: 'Switch Transformers', url: 'https://arxiv.org/abs/2101.03961' },
    bounds: MOE,
    cases: [
      {
        id: 'B2-T6-E3-capacity1',
        inputs: { logits: { shape: [2, 6, 3] } },
        call: (ops, { logits }) => listOf(ops.switchRouting(logits, { capacity: 1 })),
      },
      {
        id: 'T7-E4-factor',
        inputs: { logits: { shape: [7, 4] } },
        call: (ops, { logits }) => listOf(ops.switchRouting(logits, { capacityFactor: 1.25 })),
      },
    ],
  },
  {
    name: 'expertChoiceRouting',
    family: 'moe',
    summary: 'Experts choose tokens',
    paper: {
      title: 'Mixture-of-Experts with Expert Choice Routing',
      url: 'https://arxiv.org/abs/2202.09368',
    },
    bounds: MOE,
    cases: [
      {
        id: 'B2-T9-E3-C4',
        inputs: { logits: { shape: [2, 9, 3] } },
        call: (ops, { logits }) => {
          const { weights, tokens } = ops.expertChoiceRouting(logits, { capacity: 4 });
          return [weights, tokens];
        },
      },
      {
        id: 'N5-E2-C5',
        inputs: { logits: { shape: [5, 2] } },
        call: (ops, { logits }) => ops.expertChoiceRouting(logits, { capacity: 5 }).weights,
      },
    ],
  },
  {
    name: 'topPRouting',
    family: 'moe',
    summary: 'As many experts as a token needs',
    paper: {
      title: 'Harder Tasks Need More Experts: Dynamic Routing in MoE Models',
      url: 'https://arxiv.org/abs/2403.07652',
    },
    bounds: MOE,
    cases: [
      {
        id: 'N8-E6',
        inputs: { logits: { shape: [8, 6] } },
        call: (ops, { logits }) => listOf(ops.topPRouting(logits, { topP: 0.5 })),
      },
      {
        id: 'N5-E4-max2-normalised',
        inputs: { logits: { shape: [5, 4] } },
        call: (ops, { logits }) =>
          listOf(ops.topPRouting(logits, { topP: 0.9, maxExperts: 2, normTopkProb: true })),
      },
    ],
  },
  {
    name: 'hashRouting',
    family: 'moe',
    summary: 'Fixed experts by token id',
    paper: { title: 'Hash Layers For Large Sparse Models', url: 'https://arxiv.org/abs/2106.04426' },
    bounds: MOE,
    cases: [
      {
        id: 'B2-T3-E5-k2',
        inputs: { ids: { shape: [2, 3], dtype: 'int32', values: [7, 0, 511, 7, 12, 99] } },
        differentiable: [],
        call: (ops, { ids }) => listOf(ops.hashRouting(ids, { numExperts: 5, topK: 2 })),
      },
    ],
  },
  {
    name: 'baseRouting',
    family: 'moe',
    summary: 'Balanced assignment of tokens to experts',
    paper: {
      title: 'BASE Layers: Simplifying Training of Large, Sparse Models',
      url: 'https://arxiv.org/abs/2103.16716',
    },
    bounds: MOE,
    cases: [
      {
        id: 'N12-E4',
        inputs: { logits: { shape: [12, 4] } },
        call: (ops, { logits }) => listOf(ops.baseRouting(logits)),
      },
      {
        id: 'B2-T5-E3',
        inputs: { logits: { shape: [2, 5, 3] } },
        call: (ops, { logits }) => listOf(ops.baseRouting(logits)),
      },
    ],
  },
  {
    name: 'sinkhornRouting',
    family: 'moe',
    summary: 'Choices of balanced scores',
    paper: {
      title: 'Unified Scaling Laws for Routed Language Models',
      url: 'https://arxiv.org/abs/2202.01169',
    },
    bounds: MOE,
    cases: [
      {
        id: 'N9-E4',
        inputs: { logits: { shape: [9, 4] } },
        call: (ops, { logits }) => listOf(ops.sinkhornRouting(logits)),
      },
      {
        id: 'N6-E5-k2',
        inputs: { logits: { shape: [6, 5] } },
        call: (ops, { logits }) => listOf(ops.sinkhornRouting(logits, { topK: 2 })),
      },
    ],
  },
  {
    name: 'reluRouting',
    family: 'moe',
    summary: 'Routing by positive logits',
    paper: {
      title: 'ReMoE: Fully Differentiable Mixture-of-Experts with ReLU Routing',
      url: 'https://arxiv.org/abs/2412.14711',
    },
    bounds: MOE,
    cases: [
      {
        id: 'N6-E7',
        inputs: { logits: { shape: [6, 7] } },
        call: (ops, { logits }) => listOf(ops.reluRouting(logits)),
      },
    ],
  },
  {
    name: 'productKeyRouting',
    family: 'moe',
    summary: 'The best of n squared experts from 2 n scores',
    paper: { title: 'Large Memory Layers with Product Keys', url: 'https://arxiv.org/abs/1907.05242' },
    bounds: MOE,
    cases: [
      {
        id: 'N5-n6-k3',
        inputs: { a: { shape: [5, 6] }, b: { shape: [5, 6] } },
        call: (ops, { a, b }) => listOf(ops.productKeyRouting(a, b, { topK: 3 })),
      },
      {
        id: 'B2-H2-n4-k4',
        inputs: { a: { shape: [2, 2, 4] }, b: { shape: [2, 2, 4] } },
        call: (ops, { a, b }) => listOf(ops.productKeyRouting(a, b, { topK: 4 })),
      },
    ],
  },
  {
    name: 'peerExperts',
    family: 'moe',
    summary: 'Up to a million experts of one neuron',
    paper: { title: 'Mixture of A Million Experts', url: 'https://arxiv.org/abs/2407.04153' },
    bounds: MOE,
    cases: [
      {
        id: 'N4-D6-E9-k3',
        inputs: {
          hidden: { shape: [4, 6] },
          up: { shape: [9, 6] },
          down: { shape: [9, 5] },
          weights: { shape: [4, 3], draw: 'sigmoid' },
          indices: { shape: [4, 3], dtype: 'int32', values: [0, 8, 3, 3, 1, 2, 8, 7, 6, 3, -1, 0] },
        },
        call: (ops, { hidden, up, down, weights, indices }) =>
          ops.peerExperts(hidden, up, down, { weights, indices }),
      },
      {
        id: 'N7-one-expert-relu',
        inputs: {
          hidden: { shape: [7, 3] },
          up: { shape: [2, 3] },
          down: { shape: [2, 3] },
          weights: { shape: [7, 1] },
          indices: { shape: [7, 1], dtype: 'int32', values: [1, 1, 1, 1, 1, 1, 1] },
        },
        call: (ops, { hidden, up, down, weights, indices }) =>
          ops.peerExperts(hidden, up, down, { weights, indices }, { activation: 'relu' }),
      },
    ],
  },
  {
    name: 'moLora',
    family: 'moe',
    summary: 'A mixture of low-rank adapters',
    paper: { title: 'Pushing Mixture of Experts to the Limit', url: 'https://arxiv.org/abs/2309.05444' },
    bounds: MOE,
    cases: [
      {
        id: 'N5-D6-r2-M4-E3',
        inputs: {
          hidden: { shape: [5, 6] },
          a: { shape: [3, 2, 6] },
          b: { shape: [3, 4, 2] },
          weights: { shape: [5, 2], draw: 'sigmoid' },
          indices: { shape: [5, 2], dtype: 'int32', values: [0, 1, 2, 1, 1, 0, 0, 2, 2, 1] },
          output: { shape: [5, 4] },
        },
        call: (ops, { hidden, a, b, weights, indices, output }) =>
          ops.moLora(hidden, a, b, { weights, indices }, output),
      },
    ],
  },
  {
    name: 'softMoe',
    family: 'moe',
    summary: 'Experts on weighted means of all tokens',
    paper: { title: 'From Sparse to Soft Mixtures of Experts', url: 'https://arxiv.org/abs/2308.00951' },
    bounds: MOE,
    cases: [
      {
        id: 'B2-T7-D5-E3-S2',
        inputs: { hidden: { shape: [2, 7, 5] }, phi: { shape: [5, 3, 2] }, w: { shape: [3, 5, 4] } },
        call: (ops, { hidden, phi, w }) =>
          ops.softMoe(hidden, phi, (slots, sizes) => ops.groupedMatMul(slots, w, sizes)),
      },
      {
        id: 'B1-T1-E1-S1',
        inputs: { hidden: { shape: [1, 1, 3] }, phi: { shape: [3, 1, 1] }, w: { shape: [1, 3, 3] } },
        differentiable: ['hidden', 'w'],
        call: (ops, { hidden, phi, w }) =>
          ops.softMoe(hidden, phi, (slots, sizes) => ops.groupedMatMul(slots, w, sizes)),
      },
    ],
  },
  {
    name: 'gatherTokens',
    family: 'moe',
    summary: 'Rows of chosen tokens',
    paper: { title: 'Mixture-of-Depths', url: 'https://arxiv.org/abs/2404.02258' },
    bounds: MOE,
    cases: [
      {
        id: 'B2-T3-D5',
        inputs: {
          hidden: { shape: [2, 3, 5] },
          indices: { shape: [2, 2], dtype: 'int32', values: [5, 0, -1, 0] },
        },
        call: (ops, { hidden, indices }) => ops.gatherTokens(hidden, indices),
      },
    ],
  },
  {
    name: 'scatterTokens',
    family: 'moe',
    summary: 'Weighted rows back to their tokens',
    paper: { title: 'Mixture-of-Depths', url: 'https://arxiv.org/abs/2404.02258' },
    bounds: MOE,
    cases: [
      {
        id: 'C4-N3-D5',
        inputs: {
          y: { shape: [2, 2, 5] },
          weights: { shape: [2, 2] },
          indices: { shape: [2, 2], dtype: 'int32', values: [2, 0, -1, 2] },
          residual: { shape: [3, 5] },
        },
        call: (ops, { y, weights, indices, residual }) => ops.scatterTokens(y, weights, indices, residual),
      },
      {
        id: 'C3-plain',
        inputs: {
          y: { shape: [3, 4] },
          indices: { shape: [3], dtype: 'int32', values: [1, 1, 0] },
          residual: { shape: [2, 4] },
        },
        call: (ops, { y, indices, residual }) => ops.scatterTokens(y, undefined, indices, residual),
      },
    ],
  },
  {
    name: 'mixtureOfDepths',
    family: 'moe',
    summary: 'Some tokens through a block, the rest past it',
    paper: {
      title: 'Mixture-of-Depths: Dynamically allocating compute in transformer-based language models',
      url: 'https://arxiv.org/abs/2404.02258',
    },
    bounds: MOE,
    cases: [
      {
        id: 'B2-T5-D4-C2',
        inputs: { hidden: { shape: [2, 5, 4] }, weights: { shape: [2, 5] }, w: { shape: [4, 4] } },
        call: (ops, { hidden, weights, w }) =>
          ops.mixtureOfDepths(hidden, weights, (x) => ops.routerLogits(x, w), { capacity: 2 }),
      },
    ],
  },
  {
    name: 'mixtureOfHeads',
    family: 'moe',
    summary: 'Attention heads as experts',
    paper: {
      title: 'MoH: Multi-Head Attention as Mixture-of-Head Attention',
      url: 'https://arxiv.org/abs/2410.11842',
    },
    bounds: MOE,
    cases: [
      {
        id: 'B2-T2-H4-D3-k2-shared1',
        inputs: {
          heads: { shape: [2, 2, 4, 3] },
          weights: { shape: [2, 2, 2], draw: 'sigmoid' },
          indices: { shape: [2, 2, 2], dtype: 'int32', values: [1, 3, 2, 1, -1, 3, 3, 2] },
          shared: { shape: [2, 2, 1] },
        },
        call: (ops, { heads, weights, indices, shared }) =>
          ops.mixtureOfHeads(heads, { weights, indices }, { shared }),
      },
      {
        id: 'N3-H2-D5',
        inputs: {
          heads: { shape: [3, 2, 5] },
          weights: { shape: [3, 1] },
          indices: { shape: [3, 1], dtype: 'int32', values: [1, 0, 1] },
        },
        call: (ops, { heads, weights, indices }) => ops.mixtureOfHeads(heads, { weights, indices }),
      },
    ],
  },
  {
    name: 'zeroComputationExperts',
    family: 'moe',
    summary: 'Null, copy and constant experts',
    paper: {
      title: 'MoE++: Accelerating Mixture-of-Experts Methods with Zero-Computation Experts',
      url: 'https://arxiv.org/abs/2410.07348',
    },
    bounds: MOE,
    cases: [
      {
        id: 'N4-D3-k3',
        inputs: {
          hidden: { shape: [4, 3] },
          weights: { shape: [4, 3], draw: 'sigmoid' },
          indices: { shape: [4, 3], dtype: 'int32', values: [0, 2, 3, 5, 4, 1, 3, 0, 1, 5, 2, 3] },
          constants: { shape: [2, 3] },
          residual: { shape: [4, 3] },
        },
        call: (ops, { hidden, weights, indices, constants, residual }) => {
          const { output, routing } = ops.zeroComputationExperts(
            hidden,
            { weights, indices },
            { numExperts: 2, numZero: 1, numCopy: 1, constants, residual },
          );
          return [output, routing.indices];
        },
      },
      {
        id: 'N2-D2-copy',
        inputs: {
          hidden: { shape: [2, 2] },
          weights: { shape: [2, 1] },
          indices: { shape: [2, 1], dtype: 'int32', values: [1, 0] },
        },
        call: (ops, { hidden, weights, indices }) =>
          ops.zeroComputationExperts(hidden, { weights, indices }, { numExperts: 1, numCopy: 1 }).output,
      },
    ],
  },
];
