import { dispose } from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { contendersOf } from '../../bench/contenders';
import type { Workload } from '../../bench/types';
import { drawInputs } from '../../src/catalog/numerics';
import { ready } from '../../src/index';
import { simdLevel } from '../../src/runtime/modules';

it('the bench times the plain binaries beside the relaxed ones', async () => {
  await ready({ simd: 'relaxed' });
  const levels: string[] = [];
  const workload: Workload = {
    op: 'l2Norm',
    id: 'small',
    inputs: { x: { shape: [2, 8] } },
    flops: 0,
    call: (ops, { x }) => {
      levels.push(simdLevel());
      return ops.l2Norm(x);
    },
  };
  const tensors = drawInputs(workload.inputs);
  const contenders = await contendersOf(workload, tensors, 1);
  for (const contender of contenders) if ('run' in contender) contender.run();
  expect(contenders.map(({ name }) => name)).toEqual(['linnet', 'plain SIMD']);
  expect([...levels, simdLevel()]).toEqual(['relaxed', 'simd', 'relaxed']);
  dispose(tensors as never);
});
