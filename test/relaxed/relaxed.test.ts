import { dispose } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { catalog } from '../../src/catalog';
import { deviation, differentiableInputs, drawInputs } from '../../src/catalog/numerics';
import { info, ready } from '../../src/index';
import { outputsAndGradients } from '../bits';

/** Fused multiply-adds round once where a product and a sum round twice. */
const LARGEST_DIFFERENCE = 1e-6;
/** Gradients that are sums of cancelling terms (that of A in ssd: 4.4e-6) may differ by a tenth of their bound. */
const SHARE_OF_GRADIENT_BOUND = 0.1;

it('relaxed SIMD is chosen where the engine has it', async () => {
  await ready();
  expect(info().simd).toEqual({ level: 'relaxed', reason: 'the engine has relaxed SIMD' });
  await ready({ simd: 'simd' });
  expect(info().simd).toEqual({ level: 'simd', reason: "asked for by ready({ simd: 'simd' })" });
});

describe('plain and relaxed SIMD agree', () => {
  it.each(catalog.map((entry) => [entry.name, entry] as const))('%s', async (_, { cases, bounds }) => {
    for (const c of cases) {
      const tensors = drawInputs(c.inputs);
      await ready({ simd: 'simd' });
      const plain = outputsAndGradients(c, tensors);
      await ready({ simd: 'relaxed' });
      const relaxed = outputsAndGradients(c, tensors);
      const firstGradient = plain.length - differentiableInputs(c).length;
      plain.forEach((values, i) => {
        const share = i < firstGradient ? 0 : SHARE_OF_GRADIENT_BOUND * bounds.gradient;
        const { r } = deviation(relaxed[i], values);
        expect(r, `${c.id}, array ${i}`).toBeLessThanOrEqual(Math.max(LARGEST_DIFFERENCE, share));
      });
      dispose(tensors as never);
    }
  });
});
