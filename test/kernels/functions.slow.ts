import { expect, it } from 'vitest';
import { elementaryFunctions, largestError } from './functions';

it.each(['simd', 'relaxed'] as const)(
  'exp is within 2 ULP for every float32 from -87.33 to 0, %s',
  async (level) => {
    const run = await elementaryFunctions(level);
    const { ulps, at } = largestError((x) => run('expArray', x), Math.exp, [-0, -87.33], 1);
    expect(ulps, `at ${at}`).toBeLessThanOrEqual(2);
  },
  600_000,
);
