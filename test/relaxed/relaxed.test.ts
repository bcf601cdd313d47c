import { dispose } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { catalog } from '../../src/catalog';
import { deviation, drawInputs } from '../../src/catalog/numerics';
import { info, ready } from '../../src/index';
import { outputsAndGradients } from '../bits';

/** Fused multiply-adds round once where a product and a sum round twice. */
const LARGEST_DIFFERENCE = 1e-6;

it('relaxed SIMD is chosen where the engine has it', async () => {
  await ready();
  expect(info().simd).toEqual({ level: 'relaxed', reason: 'the engine has relaxed SIMD' });
  await ready({ simd: 'simd' });
  expect(info().simd).toEqual({ level: 'simd', reason: "asked for by ready({ simd: 'simd' })" });
});

describe('plain and relaxed SIMD agree', () => {
  it.each(catalog.map((entry) => [entry.name, entry] as const))('%s', async (_, { cases }) => {
    for (const c of cases) {
      const tensors = drawInputs(c.inputs);
      await ready({ simd: 'simd' });
      const plain = outputsAndGradients(c, tensors);
      await ready({ simd: 'relaxed' });
      const relaxed = outputsAndGradients(c, tensors);
      plain.forEach((values, i) => {
        expect(deviation(relaxed[i], values).r, `${c.id}, array ${i}`).toBeLessThanOrEqual(
          LARGEST_DIFFERENCE,
        );
      });
      dispose(tensors as never);
    }
  });
});
