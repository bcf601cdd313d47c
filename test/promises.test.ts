import {
  backend,
  dispose,
  engine,
  grad,
  memory,
  ones,
  type Tensor,
  tensor,
  zeros,
} from '@tensorflow/tfjs-core';
import { afterAll, describe, expect, it } from 'vitest';
import { catalog } from '../src/catalog';
import { drawInputs } from '../src/catalog/numerics';
import * as linnet from '../src/ops';
import { memoryOf, type WasmBackend } from '../src/runtime/heap';
import { difference, outputsAndGradients } from './bits';
import { blocksInUse, damagedBlocks } from './guard';
import { recordKernels, replayAtEndOfMemory, replayMemory } from './replay';

const CALLS = 1000;
const wasm = () => backend() as unknown as WasmBackend & { numDataIds(): number };

const listOf = (result: Tensor | Tensor[]) => (Array.isArray(result) ? result : [result]);

for (const { name, cases } of catalog) {
  describe(name, () => {
    it('is bit-identical from run to run, outputs and gradients, and leaves its inputs as they were', () => {
      for (const c of cases) {
        const tensors = drawInputs(c.inputs);
        const before = Object.values(tensors).map((t) => t.dataSync().slice());
        const first = outputsAndGradients(c, tensors);
        expect(difference(outputsAndGradients(c, tensors), first), c.id).toBeUndefined();
        const after = Object.values(tensors).map((t) => t.dataSync());
        expect(difference(after, before), c.id).toBeUndefined();
        dispose(tensors as never);
      }
    });

    it('writes nothing outside its outputs and scratch, whatever the scratch held', () => {
      for (const c of cases) {
        const tensors = drawInputs(c.inputs);
        const expected = outputsAndGradients(c, tensors);
        let actual: Float64Array[] = [];
        const damaged = damagedBlocks(() => {
          actual = outputsAndGradients(c, tensors);
        });
        expect(damaged, c.id).toBe(0);
        expect(difference(actual, expected), c.id).toBeUndefined();
        dispose(tensors as never);
      }
    });

    it('reads nothing past the end of memory and nothing that it has not written', () => {
      const memory = replayMemory();
      for (const c of cases) {
        const tensors = drawInputs(c.inputs);
        for (const call of recordKernels(() => outputsAndGradients(c, tensors))) {
          for (let last = 0; last < call.inputs.length; last++) {
            const outputs = replayAtEndOfMemory(memory, call, last);
            expect(
              difference(outputs, call.outputs),
              `${c.id}: ${call.kernel}, input ${last}`,
            ).toBeUndefined();
          }
        }
        dispose(tensors as never);
      }
    });

    it(`leaves nothing behind after ${CALLS} calls`, () => {
      const [c] = cases;
      const tensors = drawInputs(c.inputs);
      outputsAndGradients(c, tensors);
      const before = [memory().numTensors, memory().numDataBuffers, wasm().numDataIds()];
      const blocks = blocksInUse(() => {
        for (let i = 0; i < CALLS; i++) dispose(listOf(engine().tidy(() => c.call(linnet, tensors))));
        for (let i = 0; i < 10; i++) outputsAndGradients(c, tensors);
      });
      expect(blocks).toBe(0);
      expect([memory().numTensors, memory().numDataBuffers, wasm().numDataIds()]).toEqual(before);
      dispose(tensors as never);
    });
  });
}

it('results are the same after the heap grew', () => {
  const all = catalog.map(({ cases: [c] }) => {
    const tensors = drawInputs(c.inputs);
    return { c, tensors, expected: outputsAndGradients(c, tensors) };
  });
  const before = memoryOf(wasm()).buffer.byteLength;
  const large = zeros([(before + 2 ** 20) / 4]);
  large.dataSync();
  expect(memoryOf(wasm()).buffer.byteLength).toBeGreaterThan(before);
  for (const { c, tensors, expected } of all) {
    expect(difference(outputsAndGradients(c, tensors), expected), c.id).toBeUndefined();
    dispose(tensors as never);
  }
  large.dispose();
});

afterAll(() => {
  expect(tensor([1, 2, 3]).dataSync()).toEqual(Float32Array.of(1, 2, 3));
});

it('kernels are recorded, in and out of gradients', () => {
  const x = ones([2, 3]);
  const kernels = recordKernels(() => {
    linnet.rmsNorm(x);
    grad((y: Tensor) => linnet.rmsNorm(y))(x);
  }).map(({ kernel }) => kernel);
  expect(kernels).toEqual(['linnet.rmsNorm', 'linnet.rmsNorm', 'linnet.rmsNormBackward']);
  x.dispose();
});
