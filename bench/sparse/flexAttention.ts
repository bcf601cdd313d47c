import type { Tensor } from '@tensorflow/tfjs-core';
import { scaledDotProductAttention } from '../../src/attention';
import { uniform } from '../../src/random';
import type { BlockMask } from '../../src/sparse/blockMask';
import { blockMaskFromIndices } from '../../src/sparse/createBlockMask';
import * as masks from '../../src/sparse/masks';
import * as scoreMods from '../../src/sparse/scoreMods';
import { blockedAttention } from '../onnx/attention';
import type { Workload } from '../types';

type Tensors = Readonly<Record<string, Tensor>>;

/** A share of the key blocks, drawn anew for every query block. */
function randomBlocks(T: number, blockSize: number, density: number): BlockMask {
  const random = uniform(1);
  const blocks = T / blockSize;
  const lists = Array.from({ length: blocks }, () => {
    const order = Array.from({ length: blocks }, (_, block) => [random(), block]).sort((a, b) => a[0] - b[0]);
    return order
      .slice(0, Math.round(blocks * density))
      .map(([, block]) => block)
      .sort((a, b) => a - b);
  });
  return blockMaskFromIndices(lists, { Tq: T, blockSize });
}

const dense = ({ q, k, v }: Tensors) => scaledDotProductAttention(q, k, v);
const inputs = (T: number, H: number, D = 64) => {
  const x = { shape: [1, T, H, D] };
  return { q: x, k: x, v: x };
};

function workload(
  id: string,
  T: number,
  H: number,
  mask: () => BlockMask,
  more: Partial<Workload> = {},
): Workload {
  let made: BlockMask | undefined;
  const blockMask = () => {
    made ??= mask();
    return made;
  };
  return {
    op: 'flexAttention',
    id: `${id} H${H} D64`,
    inputs: inputs(T, H),
    get flops() {
      return 4 * 64 * H * T * T * blockMask().visible;
    },
    call: (ops, { q, k, v }) => ops.flexAttention(q, k, v, { blockMask: blockMask() }),
    ...more,
  };
}

const WINDOW = { Tq: 4096, window: 256 };

export const flexAttention: Workload[] = [
  workload('window 256 T4096', 4096, 8, () => masks.slidingWindow(WINDOW), {
    onnx: { blocked: (tensors) => blockedAttention(tensors, { isCausal: true, window: 256 }) },
    differentiable: ['q', 'k', 'v'],
  }),
  ...[16, 32, 64, 128].map((blockSize) =>
    workload(
      `density 1/8 in blocks of ${blockSize} T8192`,
      8192,
      1,
      () => randomBlocks(8192, blockSize, 1 / 8),
      { rivals: { dense } },
    ),
  ),
  workload('all blocks T2048', 2048, 4, () => masks.full({ Tq: 2048 }), {
    rivals: { dense },
    differentiable: ['q', 'k', 'v'],
  }),
  workload('causal T1024', 1024, 8, () => masks.causal({ Tq: 1024 }), {
    quick: true,
    rivals: { dense: ({ q, k, v }) => scaledDotProductAttention(q, k, v, { isCausal: true }) },
    differentiable: ['q', 'k', 'v'],
  }),
  workload('causal alibi T1024', 1024, 8, () => masks.causal({ Tq: 1024 }), {
    call: (ops, { q, k, v }) =>
      ops.flexAttention(q, k, v, {
        blockMask: masks.causal({ Tq: 1024 }),
        scoreMod: scoreMods.alibi(),
      }),
    differentiable: ['q', 'k', 'v'],
  }),
];
