import { expect, it } from 'vitest';
import { compileKernels } from '../../kernels/compile.mjs';

const planted = (name: string) => compileKernels(`test/kernels/planted/${name}.kernel.ts`, 'simd');

it('a kernel with static data does not build', async () => {
  await expect(planted('table')).rejects.toThrow(
    'test/kernels/planted/table.kernel.ts (simd): the binary has a data section; the memory is shared with tfjs',
  );
});

it('a kernel with a start function does not build', async () => {
  await expect(planted('start')).rejects.toThrow(
    'test/kernels/planted/start.kernel.ts (simd): the binary has a start section; the memory is shared with tfjs',
  );
});

it('a kernel that imports more than the memory does not build', async () => {
  await expect(planted('import')).rejects.toThrow(
    'test/kernels/planted/import.kernel.ts (simd): the binary imports import.kernel.log; only the memory may be imported',
  );
});

it('a kernel that does not compile says where', async () => {
  await expect(planted('missing')).rejects.toThrow('test/kernels/planted/missing.kernel.ts: ');
});
