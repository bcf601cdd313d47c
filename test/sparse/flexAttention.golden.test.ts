import { cast, type Tensor } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { SOFTMAX_ATTENTION } from '../../src/catalog/bounds';
import { type BlockMask, blockMaskFromDense, blockMaskFromIndices, masks } from '../../src/index';
import * as linnet from '../../src/ops';
import * as reference from '../../src/reference';
import { expectGolden, type GoldenCase, golden } from '../golden';

const cases = golden('sparse').filter(({ op }) => op === 'sparse_attention');

function rowsOf(tensor: Tensor): number[][] {
  return tensor.arraySync() as number[][];
}

/** The mask of a case from our constructor of the pattern, in blocks of the given size. */
function maskOf({ attrs, in: given }: GoldenCase, blockSize: number): BlockMask {
  const a = attrs as Record<string, never>;
  const options = { Tq: given.q.shape[1]!, blockSize };
  const constructors: Record<string, () => BlockMask> = {
    dilated_window: () => masks.dilated({ ...options, window: a.window, dilation: a.dilation }),
    longformer: () => masks.globalWindow({ ...options, window: a.radius, globalTokens: a.globalTokens }),
    longformer_causal: () =>
      masks.globalWindow({ ...options, window: [a.window, 0], globalTokens: a.globalTokens, isCausal: true }),
    bigbird: () =>
      masks.bigBird({
        ...options,
        block: a.blockSize,
        radius: a.radius,
        globalBlocks: a.globalBlocks,
        randomBlocks: rowsOf(given.random_blocks),
      }),
    strided: () => masks.strided({ ...options, stride: a.stride }),
    fixed: () => masks.fixed({ ...options, stride: a.stride, summary: a.c }),
    prefix_lm: () => masks.prefixLm({ ...options, prefix: a.prefix }),
    document: () => masks.document({ ...options, ids: given.doc_ids, isCausal: true }),
    block_table: () =>
      blockMaskFromIndices(
        rowsOf(given.block_mask).map((row) => row.flatMap((on, block) => (on ? [block] : []))),
        { ...options, blockSize: a.blockSize },
      ),
    block_diffusion: () => masks.blockDiffusion({ length: a.halfLength, block: a.blockSize, blockSize }),
  };
  return constructors[a.pattern]();
}

describe.each(cases.map((c) => [c.case, c] as const))('%s', (_, c) => {
  const blockMask = maskOf(c, 16);

  it('has the visible pairs of the stored mask', () => {
    for (const blockSize of [1, 5, 16, 64]) {
      expect([...maskOf(c, blockSize).toDense().dataSync()]).toEqual([...c.in.mask.dataSync()]);
    }
  });

  it.each([
    ['kernel', linnet],
    ['reference', reference as typeof linnet],
  ])('%s equals other peoples masked attention', (_name, ops) => {
    for (const mask of [blockMask, blockMaskFromDense(cast(c.in.mask, 'bool'), { blockSize: 32 })]) {
      expectGolden(
        c,
        ({ q, k, v }) => {
          const { scale } = c.attrs as Record<string, never>;
          const { output, lse } = ops.flexAttention(q, k, v, { blockMask: mask, scale, returnLse: true });
          return { o: output, lse };
        },
        SOFTMAX_ATTENTION,
      );
    }
  });
});
