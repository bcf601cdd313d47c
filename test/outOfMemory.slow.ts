import { backend, memory, ones, type Tensor, tidy, zeros } from '@tensorflow/tfjs-core';
import { afterAll, expect, it } from 'vitest';
import { catalog } from '../src/catalog';
import { drawInputs } from '../src/catalog/numerics';
import * as linnet from '../src/ops';
import type { WasmBackend } from '../src/runtime/heap';

const { wasm } = backend() as unknown as WasmBackend;
const blocks: number[] = [];

/** Takes everything that malloc still gives. */
function fillHeap(): void {
  for (let bytes = 2 ** 28; bytes >= 1; bytes /= 2) {
    try {
      for (;;) blocks.push(wasm._malloc(bytes));
    } catch {
      // none of this size is left
    }
  }
}

function empty(): void {
  for (const block of blocks) wasm._free(block);
  blocks.length = 0;
}
afterAll(empty);

const valuesOf = (result: Tensor | Tensor[]) => [result].flat().map((t) => t.dataSync().slice());

it.each(catalog.map((entry) => [entry.name, entry] as const))(
  '%s on a full heap throws, leaves nothing behind and works afterwards',
  (_, { cases: [first] }) => {
    const inputs = drawInputs(first.inputs);
    const run = () => tidy(() => valuesOf(first.call(linnet, inputs)));
    const expected = run();
    const before = [memory().numTensors, memory().numDataBuffers];
    fillHeap();
    let failure: unknown;
    try {
      run();
    } catch (error) {
      failure = error;
    }
    empty();
    expect(String(failure)).toMatch(/RangeError: .* more on the wasm heap, which holds at most 4 GiB in all/);
    expect([memory().numTensors, memory().numDataBuffers]).toEqual(before);
    expect(run()).toEqual(expected);
    for (const tensor of Object.values(inputs)) tensor.dispose();
  },
);

it('tensors of tfjs that do not fit are refused as well, not written over what is there', () => {
  const canary = ones([1024]);
  fillHeap();
  expect(() => zeros([2 ** 16])).toThrow(/more on the wasm heap/);
  empty();
  expect(canary.dataSync().every((value) => value === 1)).toBe(true);
  canary.dispose();
});
