import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import * as linnet from '../../src/index';

const { andMasks, masks, notMask } = linnet;
const options = { Tq: 96, blockSize: 8 };

const drawn = {
  causal: masks.causal(options),
  slidingWindow: masks.slidingWindow({ ...options, window: 20 }),
  prefixLm: masks.prefixLm({ ...options, prefix: 24 }),
  document: masks.document({
    ...options,
    ids: Array.from({ length: 96 }, (_, i) => +(i > 20) + +(i > 57)),
    isCausal: true,
  }),
  globalWindow: masks.globalWindow({ ...options, window: 8, globalTokens: 4 }),
  bigBird: masks.bigBird({ ...options, block: 8, randomBlocks: 1, seed: 1 }),
  strided: masks.strided({ ...options, stride: 12 }),
  fixed: masks.fixed({ ...options, stride: 12, summary: 2 }),
  dilated: masks.dilated({ ...options, window: 6, dilation: 4 }),
  longNet: masks.longNet({
    ...options,
    segments: [
      [16, 1],
      [64, 4],
    ],
  }),
  blockLocal: masks.blockLocal({ ...options, block: 12, left: 1 }),
  blockDiffusion: masks.blockDiffusion({ length: 48, block: 8, blockSize: 8 }),
  axial: masks.axial({ ...options, grid: [8, 12] }),
  neighborhood: masks.neighborhood({ ...options, size: 15 }),
  neighborhood2d: masks.neighborhood2d({ ...options, grid: [8, 12], size: [3, 5] }),
  star: masks.star(options),
  combined: andMasks(masks.causal(options), notMask(masks.slidingWindow({ ...options, window: 20 }))),
};
const page = readFileSync(new URL('../../docs/sparse.md', import.meta.url), 'utf8');

describe('docs/sparse.md', () => {
  it.each(Object.entries(drawn))('shows %s as it is', async (name, mask) => {
    expect(page).toContain(`](masks/${name}.svg)`);
    await expect(mask.toSvg({ size: 192 })).toMatchFileSnapshot(`../../docs/masks/${name}.svg`);
  });

  it('names every pattern and score modification', () => {
    for (const name of [...Object.keys(masks), ...Object.keys(linnet.scoreMods)]) {
      if (name !== 'full') expect(page).toMatch(new RegExp(`(masks\\.|\`)${name}\\b`));
    }
  });
});
